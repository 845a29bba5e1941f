"""`graph-memory indexes` creates missing and broken indexes while the database is in use."""

import asyncio
import json

import psycopg
from langgraph.store.base import IndexConfig

from graphs.deployment.pools import open_pool
from graphs.memory_manager import MemoryManager
from graphs.operations.operations import Operations
from tests.support.command import command_on
from tests.support.pooler import Pooler
from tests.support.sql import rows

DAMAGE = (
    "DROP INDEX memory.turns_age",
    "DROP INDEX memory.embeddings_vectors_1",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'memory.memories_expiry'::regclass",
)
LACKING = ["memory.embeddings_vectors_1", "memory.memories_expiry", "memory.turns_age"]


def untold(done: int, of: int | None) -> None:
    """Ignore the progress."""


async def test_missing_and_invalid_indexes_are_made_behind_a_pooler_too(
    postgres: str, database: str
) -> None:
    for damage in DAMAGE:
        await rows(database, damage)
    told: list[tuple[int, int | None]] = []
    with Pooler(postgres) as pooler:
        async with MemoryManager.from_conn_string(pooler.url_for(database)) as store:
            assert sorted(await Operations(store).indexes.lacking()) == LACKING
            made = await Operations(store).indexes.create(lambda done, of: told.append((done, of)))
            assert sorted(made) == LACKING
            assert await Operations(store).checks.differences() == []
            assert await Operations(store).indexes.create(untold) == []
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


async def test_writes_go_on_while_an_index_is_made_and_what_is_made_elsewhere_is_left_alone(
    database: str, index: IndexConfig
) -> None:
    """Create an index concurrently while others write; a second call must find nothing to do."""
    await rows(database, "DROP INDEX memory.memories_expiry")
    async with (
        MemoryManager.from_conn_string(database, index=index) as store,
        open_pool(database) as pool,
    ):
        async with pool.connection() as conn:
            async with conn.transaction():
                await conn.execute(
                    "INSERT INTO memory.memories (namespace, key, value) VALUES ('a.', 'b', '{}')"
                )
                making = asyncio.create_task(Operations(store).indexes.create(untold))
                while not any(  # noqa: ASYNC110
                    each.building for each in (await Operations(store).indexes.status()).indexes
                ):
                    await asyncio.sleep(0.01)
                await store.aput(("users", "u1"), "k", {"text": "robot"})
                assert await Operations(store).indexes.lacking() == {}
            assert await making == ["memory.memories_expiry"]
        assert await Operations(store).checks.differences() == []


def test_the_commands_show_and_make_them(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        for damage in DAMAGE:
            conn.execute(damage)
    with command_on(database) as command:
        told = json.loads(command("indexes", "status", "--json").stdout)
        valid = {each["name"]: each["valid"] for each in told["indexes"]}
        assert (valid["memories_expiry"], valid["memories_document"]) == (False, True)
        assert (
            json.loads(command("indexes", "create", "--dry-run", "--json").stdout)["indexes"]
            == LACKING
        )
        assert command("indexes", "create").stdout.split() == LACKING
        shown = " ".join(command("indexes", "status").stdout.split())
    assert "embeddings_vectors_1" in shown
    [vectors] = told["vectors"]
    assert (vectors["model"], vectors["active"], vectors["pending"]) == (
        "offline:wordllama",
        True,
        0,
    )
