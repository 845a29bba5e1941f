"""The switch from a LangGraph store: refused if the sides differ, done once, and reversible."""

import psycopg
import pytest
from langgraph.store.base import PutOp
from langgraph.store.postgres.aio import AsyncPostgresStore

from graphs.memory_manager import MemoryManager
from graphs.operations.errors import SwitchRefused
from graphs.operations.operations import Operations
from tests.support.application import ADA, OURS_THERE, Application, both_sides
from tests.support.sql import rows


async def test_reads_and_sweeps_go_on_where_writes_are_refused(
    store: MemoryManager, old: AsyncPostgresStore
) -> None:
    await old.aput(ADA, "k", {"text": "tea"}, ttl=60)
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    await moving.copy(source)
    await moving.switch(source)
    assert (await old.aget(ADA, "k")) is not None
    assert await old.asearch(ADA, query="tea")
    assert await old.sweep_ttl() == 0
    for write in (
        old.aput(ADA, "new", {"a": 1}),
        old.aput(ADA, "k", {"a": 1}),
        old.adelete(ADA, "k"),
    ):
        with pytest.raises(
            psycopg.errors.ReadOnlySqlTransaction, match="have moved to Graph-Native Memory"
        ):
            await write


async def test_a_switch_is_refused_with_the_reason_and_the_store_goes_on(
    store: MemoryManager, old: AsyncPostgresStore
) -> None:
    moving = Operations(store).moving
    with pytest.raises(SwitchRefused, match="has not been copied yet"):
        await moving.switch(await moving.open())
    await old.aput(ADA, "k", {"text": "tea"})
    await old.aput(("notes",), "n", {"text": "nobody's"})
    source = await moving.open(follow=True)
    assert (await moving.copy(source)).rejected == 1
    with pytest.raises(SwitchRefused, match=r"would have no owner.*--map"):
        await moving.switch(source)
    await old.adelete(("notes",), "n")
    await old.aput(ADA, "k" * 2400, {"text": "no place for its key"})
    with pytest.raises(SwitchRefused, match="at most 2300 can be indexed"):
        await moving.switch(source)
    await old.adelete(ADA, "k" * 2400)
    await store.aput(ADA, "k", {"text": "changed here"})
    with pytest.raises(SwitchRefused, match="was written here by another writer"):
        await moving.switch(source)
    await old.aput(ADA, "k", {"text": "still open"})


@pytest.mark.parametrize(
    ("where", "tampering", "told"),
    [
        ("memory.memories", "DELETE FROM memory.memories WHERE key = 'k'", "is not in this store"),
        (
            "public.store",
            "DELETE FROM public.store WHERE key = 'k'",
            "is in this store, but not in the source",
        ),
        (
            "public.store",
            "UPDATE public.store SET value = '{}' WHERE key = 'k'",
            "has a different value here",
        ),
        (
            "public.store",
            "UPDATE public.store SET updated_at = now() WHERE key = 'k'",
            "has different times here",
        ),
        (
            "public.store",
            "UPDATE public.store SET expires_at = '2100-01-01' WHERE key = 'k'",
            "has a different expiry",
        ),
    ],
)
async def test_what_no_trigger_saw_keeps_a_store_from_being_switched(
    where: str,
    tampering: str,
    told: str,
    store: MemoryManager,
    old: AsyncPostgresStore,
    database: str,
) -> None:
    await old.abatch([PutOp(ADA, key, {"text": "tea"}) for key in ("j", "k", "l")])
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    await moving.copy(source)
    for statement in (
        f"ALTER TABLE {where} DISABLE TRIGGER USER",
        tampering,
        f"ALTER TABLE {where} ENABLE TRIGGER USER",
    ):
        await rows(database, statement)
    with pytest.raises(SwitchRefused, match=f'1 of . items.*"users.ada.facts", "k".* {told}'):
        await moving.switch(source)
    await old.aput(ADA, "l", {"text": "open"})


@pytest.mark.parametrize("switched", [False, True])
async def test_a_rollback_leaves_both_sides_as_they_were(
    switched: bool, store: MemoryManager, old: AsyncPostgresStore, database: str
) -> None:
    await store.aput(("users", "eve", "facts"), "k", {"text": "was here"})
    here = await rows(database, "SELECT * FROM memory.memories")
    await Application(old, seed=1).write(50)
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    migration = await moving.copy(source)
    application = Application(old, seed=2)
    await application.write(50)
    there = (await both_sides(database, database))[0]
    if switched:
        await moving.switch(source)
    await moving.roll_back(source, str(migration.id))
    assert await rows(database, "SELECT * FROM memory.memories") == here
    assert await rows(database, "SELECT * FROM memory.migrated_memories") == []
    assert (await both_sides(database, database))[0] == there
    assert await rows(database, OURS_THERE) == [{"ours": 0}]
    await old.aput(ADA, "k", {"text": "open"})


async def test_a_switch_can_be_undone_and_done_again(
    store: MemoryManager, old: AsyncPostgresStore
) -> None:
    await old.aput(ADA, "k", {"text": "tea"})
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    await moving.copy(source)
    await moving.switch(source)
    assert (await moving.switch(source)).migration.status == "finished"
    assert (await moving.undo(source)).status == "running"
    await old.aput(ADA, "k", {"text": "coffee"})
    await moving.switch(source)
    item = await store.aget(ADA, "k")
    assert item is not None
    assert item.value == {"text": "coffee"}


@pytest.mark.parametrize("after", ["stop_writes", "moved"])
async def test_a_switch_that_was_killed_is_done_by_the_next_one(
    after: str, store: MemoryManager, old: AsyncPostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await old.aput(ADA, "k", {"text": "tea"})
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    await moving.copy(source)
    if after == "stop_writes":
        await source.tables.stop_writes()
        with pytest.raises(psycopg.errors.CannotConnectNow, match="no writes for a moment"):
            await old.aput(ADA, "k", {"text": "coffee"})
    else:
        monkeypatch.setattr(source.tables, "moved", None)
        with pytest.raises(TypeError):
            await moving.switch(source)
        monkeypatch.undo()
    assert (await moving.switch(source)).migration.status == "finished"
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await old.aput(ADA, "k", {"text": "coffee"})


async def test_a_switch_that_fails_opens_the_store_again(
    store: MemoryManager, old: AsyncPostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await old.aput(ADA, "k", {"text": "tea"})
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    await moving.copy(source)
    monkeypatch.setattr(source.tables, "digest", None)
    with pytest.raises(TypeError):
        await moving.switch(source)
    await old.aput(ADA, "k", {"text": "open"})
