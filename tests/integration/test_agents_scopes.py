"""The private scope of an agent in a user's memory is closed to the user's other agents."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from langgraph.store.base import IndexConfig

from graphs.memory.errors import AccessDenied
from graphs.memory.principal import Principal, acting_as
from graphs.memory.values.namespaces import agent_label
from graphs.memory_manager import MemoryManager

ANN = str(uuid4())
NAMES = ("sales", "financing", "v1.2 50% ünï")
BECOME = (
    "SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)"
)
SHARED = ("users", ANN, "facts")


def own(agent: str) -> tuple[str, ...]:
    return ("users", ANN, agent_label(agent), "notes")


def through(agent: str | None) -> Any:
    return acting_as(Principal.user(ANN).through(agent))


async def fill(store: MemoryManager) -> None:
    """Write twice to each agent's private scope, for history, and once as Ann to a shared one."""
    for agent in NAMES:
        with through(agent):
            for n in range(2):
                await store.aput(own(agent), "k", {"text": f"A secret robot of {agent}, {n}"})
    with through(None):
        await store.aput(SHARED, "k", {"text": "A robot for all"})


@pytest.mark.parametrize("ranking", ["similarity", "hybrid"])
@pytest.mark.parametrize("scope", [(), ("users",), ("users", ANN)])
async def test_an_agent_finds_its_own_and_what_is_for_all(
    database: str, index: IndexConfig, ranking: str, scope: tuple[str, ...]
) -> None:
    config: Any = {**index, "ranking": ranking}
    async with MemoryManager.from_conn_string(database, index=config) as store:
        await fill(store)
        for agent in NAMES:
            with through(agent):
                for query in (None, "secret robot", "of"):
                    found = {item.namespace for item in await store.asearch(scope, query=query)}
                    assert found == {own(agent), SHARED}
                assert set(await store.alist_namespaces(prefix=scope)) == {own(agent), SHARED}
        with through(None):
            found = {item.namespace for item in await store.asearch(scope, query="secret robot")}
            assert found == {*map(own, NAMES), SHARED}, "the user sees everything"


async def test_an_agent_neither_reads_nor_writes_what_another_keeps(
    store: MemoryManager, database: str
) -> None:
    await fill(store)
    for agent in NAMES:
        for other in set(NAMES) - {agent}:
            with through(agent):
                assert await store.aget(own(other), "k") is None
                with pytest.raises(AccessDenied):
                    await store.aput(own(other), "k", {"text": "overwritten"})
                with pytest.raises(AccessDenied):
                    await store.aput(own(other), "new", {"text": "planted"}, index=False)
                await store.adelete(own(other), "k")
    with through(None):
        kept = [(await store.aget(own(agent), "k")) for agent in NAMES]
    assert [item and item.value["text"] for item in kept] == [
        f"A secret robot of {agent}, 1" for agent in NAMES
    ]


async def test_an_agent_sees_the_history_of_its_own_alone(
    store: MemoryManager, database: str
) -> None:
    await fill(store)
    for agent in NAMES:
        async with await psycopg.AsyncConnection.connect(database) as conn:
            await conn.execute(BECOME, (Principal.user(ANN).through(agent).claims,))
            seen = await (
                await conn.execute("SELECT value ->> 'text' FROM memory.memory_history")
            ).fetchall()
        assert seen == [(f"A secret robot of {agent}, 0",)]


async def test_an_agent_may_neither_export_nor_erase_its_person(store: MemoryManager) -> None:
    await fill(store)
    with through("sales"):
        with pytest.raises(AccessDenied):
            await store.erase_user(ANN)
        with pytest.raises(AccessDenied):
            [line async for line in store.export_user(ANN)]
