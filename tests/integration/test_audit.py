"""Audit log and history cannot be changed by roles, and changes by a superuser are detected."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from langgraph.store.base import IndexConfig

from graphs.memory.errors import AccessDenied, InvalidInput
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.support.postgres import OwnPostgres
from tests.support.sql import cut_connections, rows

NS = ("users", "00000000-0000-4000-8000-000000000001", "notes")
KEPT = ("audit_logs", "memory_history", "audit_seals", "erasures", "erased_records")


async def remember(store: MemoryManager, times: int = 3) -> None:
    """Put two items several times, which makes records of both kinds."""
    for n in range(times):
        await asyncio.gather(*(store.aput(NS, f"k{k}", {"n": n}) for k in range(2)))


@asynccontextmanager
async def intruder(database: str) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    """Yield a connection of a superuser with all triggers switched off."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
        await conn.execute("SET session_replication_role = 'replica'")
        yield conn


@pytest.mark.parametrize(
    "change",
    ["UPDATE memory.{} SET id = DEFAULT", "DELETE FROM memory.{}", "TRUNCATE memory.{} CASCADE"],
)
async def test_what_was_recorded_is_changed_by_nobody(
    store: MemoryManager, database: str, change: str
) -> None:
    await remember(store)
    await store.seal_audit()
    for table, role in itertools.product(KEPT, ("none", "service_role", "authenticated")):
        before = await rows(database, f"SELECT * FROM memory.{table}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await rows(database, f"BEGIN; SET LOCAL ROLE {role}; {change.format(table)}; COMMIT")
        assert await rows(database, f"SELECT * FROM memory.{table}") == before


async def test_nobody_removes_records_by_saying_that_they_erase_a_person(
    store: MemoryManager, database: str
) -> None:
    await remember(store)
    for role in ("service_role", "authenticated"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await rows(
                database,
                f"BEGIN; SET LOCAL ROLE {role}; SET LOCAL memory.erasing = 'x'; "
                "DELETE FROM memory.audit_logs; COMMIT",
            )


async def test_what_is_as_it_was_recorded_fits_its_seals(store: MemoryManager) -> None:
    assert await store.verify_audit() == []
    await remember(store)
    first = await store.seal_audit()
    assert first is not None
    assert await store.seal_audit() == first, "there was nothing new to seal"
    await remember(store)
    second = await store.seal_audit()
    assert second != first
    assert await store.verify_audit(first) == await store.verify_audit(second) == []


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("audit_logs", "actor = 'somebody else'"),
        ("audit_logs", "at = at + interval '1 microsecond'"),
        ("audit_logs", "data = '{}'"),
        ("memory_history", "value = '{}'"),
        ("memory_history", "valid_to = valid_to - interval '1 day'"),
    ],
)
async def test_a_changed_record_is_found(
    store: MemoryManager, database: str, table: str, change: str
) -> None:
    await remember(store)
    await store.seal_audit()
    await remember(store)
    await store.seal_audit()
    async with intruder(database) as conn:
        await conn.execute(f"UPDATE memory.{table} SET {change} WHERE id = 2")
    [problem] = await store.verify_audit()
    assert problem.source == table
    assert problem.ids.startswith("{[1,")
    assert "changed" in problem.problem


@pytest.mark.parametrize("table", ["audit_logs", "memory_history"])
async def test_a_missing_record_is_found(store: MemoryManager, database: str, table: str) -> None:
    await remember(store)
    await store.seal_audit()
    async with intruder(database) as conn:
        await conn.execute(f"DELETE FROM memory.{table} WHERE id = 2")
    [problem] = await store.verify_audit()
    assert (problem.source, "missing" in problem.problem) == (table, True)


async def test_seals_that_are_made_anew_or_taken_away_do_not_have_the_one_that_was_noted(
    store: MemoryManager, database: str
) -> None:
    await remember(store)
    await store.seal_audit()
    await remember(store)
    noted = await store.seal_audit()
    async with intruder(database) as conn:
        await conn.execute("UPDATE memory.audit_logs SET actor = 'somebody else' WHERE id = 2")
        await conn.execute("DELETE FROM memory.audit_seals")
    await store.seal_audit()
    assert await store.verify_audit() == [], "a chain that was recomputed is consistent"
    [problem] = await store.verify_audit(noted)
    assert problem.source == "audit_seals"


async def test_a_seal_in_the_middle_cannot_be_taken_away(
    store: MemoryManager, database: str
) -> None:
    for _ in range(3):
        await remember(store)
        await store.seal_audit()
    async with intruder(database) as conn:
        await conn.execute("DELETE FROM memory.audit_seals WHERE id = 3")
    [problem] = await store.verify_audit()
    assert "the seal before" in problem.problem


async def test_a_record_that_commits_late_is_sealed_later(
    store: MemoryManager, database: str
) -> None:
    await remember(store)
    async with await psycopg.AsyncConnection.connect(database) as late:
        await late.execute("INSERT INTO memory.audit_logs (actor, action) VALUES ('late', 'event')")
        await remember(store)
        for _ in range(3):
            await store.seal_audit()
            async with intruder(database) as conn:  # simulates minutes between the seals
                await conn.execute(
                    "UPDATE memory.audit_seals SET sealed_at = sealed_at - interval '1 minute'"
                )
            await remember(store)
        await late.commit()
    await store.seal_audit()
    assert await unsealed(database) == []
    assert await store.verify_audit() == []


async def test_sealing_looks_no_further_back_than_it_must(
    store: MemoryManager, database: str
) -> None:
    for _ in range(4):
        await remember(store)
        await store.seal_audit()
        async with intruder(database) as conn:
            await conn.execute(
                "UPDATE memory.audit_seals SET sealed_at = sealed_at - interval '1 minute'"
            )
    settled = await rows(
        database, "SELECT settled FROM memory.audit_seals WHERE source = 'audit_logs' ORDER BY id"
    )
    assert [row["settled"] for row in settled] == [0, 0, 6, 12]


async def test_while_many_write_and_several_seal_every_record_gets_into_one_seal(
    store: MemoryManager, database: str
) -> None:
    writing = asyncio.create_task(remember(store, 40))
    while not writing.done():
        await asyncio.gather(store.seal_audit(), store.seal_audit())
    await store.seal_audit()
    assert await unsealed(database) == []
    held = await rows(
        database, "SELECT sum(upper(r) - lower(r)) AS n FROM memory.audit_seals, unnest(ids) AS r"
    )
    recorded = await rows(
        database,
        "SELECT (SELECT count(*) FROM memory.audit_logs) "
        "+ (SELECT count(*) FROM memory.memory_history) AS n",
    )
    assert held == recorded
    assert await store.verify_audit() == []


async def unsealed(database: str) -> list[object]:
    """Return the records that are in no seal."""
    return [
        row["id"]
        for source in ("audit_logs", "memory_history")
        for row in await rows(
            database,
            f"""SELECT id FROM memory.{source} AS r WHERE NOT EXISTS (
                SELECT FROM memory.audit_seals AS s
                WHERE s.source = '{source}' AND s.ids @> r.id)""",
        )
    ]


async def test_verifying_is_for_the_service_and_needs_a_digest(store: MemoryManager) -> None:
    with acting_as(Principal.user(str(uuid4()))), pytest.raises(AccessDenied):
        await store.verify_audit()
    with pytest.raises(InvalidInput, match="64 hexadecimal"):
        await store.verify_audit("not a digest")


async def test_the_span_of_a_version_ends_where_the_next_begins(
    store: MemoryManager, database: str
) -> None:
    await remember(store, 5)
    versions = await rows(
        database,
        """SELECT value, valid_from, valid_to,
          lead(valid_from) OVER (PARTITION BY key ORDER BY id) AS next
        FROM memory.memory_history ORDER BY id""",
    )
    assert all(
        row["valid_from"] < row["valid_to"] == (row["next"] or row["valid_to"]) for row in versions
    )
    assert json.dumps(versions[0]["value"]) == '{"n": 0}'


# Who read what ------------------------------------------------------------------------------------


async def reads(
    store: MemoryManager, database: str
) -> list[tuple[str, str | None, str, dict[str, int]]]:
    """Close the store; return its records of reads: actor, owner, scope, and counts."""
    await store.__aexit__()
    found = await rows(
        database, "SELECT * FROM memory.audit_logs WHERE action = 'memory.read' ORDER BY namespace"
    )
    return [(row["actor"], row["user_id"], row["namespace"], row["data"]) for row in found]


async def test_who_reads_what_is_recorded_once_for_each_scope_of_a_moment(
    store: MemoryManager, database: str
) -> None:
    user, other = NS[1], str(uuid4())
    await store.aput(NS, "k", {"text": "robot"})
    with acting_as(Principal.user(user)):
        await asyncio.gather(
            *(store.aget(NS, key) for key in ("k", "k", "nothing")),
            store.asearch(NS, query="robot"),
        )
        await store.asearch(("users", user))
        await store.alist_namespaces(prefix=("users", user, "*"))
    with acting_as(Principal.user(other)):
        await store.aget(NS, "k")
    await store.aget(("agents", "sales"), "k")

    assert sorted(await reads(store, database), key=str) == sorted(
        [
            ("service_role", None, "agents.sales.", {"gets": 1, "found": 0}),
            (user, user, f"users.{user}.", {"searches": 1, "found": 1}),
            (user, user, f"users.{user}.notes.", {"gets": 3, "searches": 1, "found": 3}),
            (other, user, f"users.{user}.notes.", {"gets": 1, "found": 0}),
            (user, None, "", {"lists": 1, "found": 1}),
        ],
        key=str,
    )


async def test_a_recall_is_recorded_with_its_run(store: MemoryManager, database: str) -> None:
    user = str(uuid4())
    await store.load_context(user, "s1")
    await store.recall_memory(user, "robots")
    assert await reads(store, database) == [
        ("service_role", user, f"users.{user}.", {"searches": 1, "found": 0}),
        ("service_role", user, f"users.{user}.", {"searches": 1, "found": 0}),
    ]


async def test_reads_are_recorded_when_the_database_is_back(
    store: MemoryManager, database: str
) -> None:
    await store.aget(NS, "k")
    await cut_connections(database)
    assert [scope for _, _, scope, _ in await reads(store, database)] == [".".join((*NS, ""))]


async def test_a_store_closes_although_its_database_is_gone(
    tmp_path: Path, index: IndexConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with OwnPostgres(tmp_path) as postgres:
        async with (
            asyncio.timeout(60),
            MemoryManager.from_conn_string(postgres.url, index=index) as store,
        ):
            await store.setup()
            await store.aget(NS, "k")
            postgres.stop()
            closing = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - closing < 25, (
            "it must not wait for a connection that never comes"
        )
    assert "could not be recorded" in caplog.text
