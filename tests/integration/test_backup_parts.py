"""Partial backups: archives of a time span, and records of erased users."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from langgraph.store.base import IndexConfig

from graphs.memory_manager import MemoryManager
from graphs.operations.errors import ErasedPresent, InvalidBackup
from tests.attacks.people import USERS
from tests.support.backups import back_up, erase, restore
from tests.support.rows import all_rows

ANNE, BOB, *_ = USERS
OLD = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))


def about(rows: dict[str, list[str]], user_id: str) -> dict[str, list[str]]:
    return {
        name: theirs
        for name, of in rows.items()
        if (theirs := [row for row in of if user_id in row])
    }


@pytest.fixture
async def aged(copy: str, index: IndexConfig) -> str:
    """Return a database in which some memories and a turn are from 2020."""
    async with MemoryManager.from_conn_string(copy, index=index) as store:
        said = {
            "identity": ANNE.id,
            "timestamp": "2020-06-01T00:00:00Z",
            "agent": "a",
            "session_id": "old",
        }
        exchange = {
            "type": "turn",
            "content": {"id": "1", "user": "Asked in 2020.", "assistant": "Answered."},
        }
        await store.write_memory(ANNE.id, "old", {**said, **exchange})
    with psycopg.connect(copy) as conn:
        conn.execute(
            "UPDATE memory.memories SET created_at = '2020-01-01Z' WHERE value ->> 'type' = 'turn'"
        )
        conn.execute(
            "UPDATE memory.memories SET created_at = '2020-12-31T23:59:59Z' WHERE key = 'secret'"
        )
        conn.execute("UPDATE memory.memories SET created_at = '2021-01-01Z' WHERE key = 'another'")
    return copy


async def test_an_archive_has_the_memories_of_a_time_with_what_they_need_and_brings_them_back(
    aged: str, database: str, tmp_path: Path
) -> None:
    archive = await back_up(aged, tmp_path / "archive", begin=OLD[0], end=OLD[1])
    before = all_rows(aged)
    with psycopg.connect(aged) as conn:
        gone = (
            "DELETE FROM memory.memories "
            "WHERE created_at >= '2020-01-01Z' AND created_at < '2021-01-01Z'"
        )
        assert conn.execute(gone).rowcount == archive.rows["memory.memories"] > 4
        conn.execute("DELETE FROM memory.sessions WHERE id = 'old'")
    kept = all_rows(aged)
    restored = await restore(aged, tmp_path / "archive")
    after = all_rows(aged)
    records = {
        "memory.audit_logs",
        "memory.memory_history",
        "memory.history_embeddings",
        "memory.row_history",
    }
    for name in before.keys() - records - {"memory.memory_relationships"}:
        assert after[name] == before[name], name
    assert {name for name, n in restored.added.items() if n} == {
        name for name in before.keys() - records if kept[name] != after[name]
    }
    assert {"memory.turns", "memory.sessions", "memory.belief_graphs", "memory.company_brain"} < {
        name for name, n in restored.added.items() if n
    }
    # Only edges with both ends in the time span come back: the archive holds no others.
    assert {*after["memory.memory_relationships"]} <= {*before["memory.memory_relationships"]}
    await restore(database, tmp_path / "archive")
    async with MemoryManager.from_conn_string(database) as store:
        assert (await store.load_context(ANNE.id, "old")).turns[0].content == "Asked in 2020."
        assert await store.verify_audit() == []


async def test_an_archive_of_a_person_has_theirs_only_and_who_was_erased_since_stays_erased(
    aged: str, tmp_path: Path
) -> None:
    await back_up(aged, tmp_path / "hers", ANNE.id, begin=OLD[0], end=OLD[1])
    both = await back_up(aged, tmp_path / "theirs", end=OLD[1])
    await erase(aged, ANNE.id)
    erased = all_rows(aged)
    assert (await restore(aged, tmp_path / "hers")).erased_since == 1
    assert sum((await restore(aged, tmp_path / "theirs")).added.values()) == 0
    assert all_rows(aged) == erased
    assert both.end == OLD[1]
    with pytest.raises(InvalidBackup, match="does not follow"):
        await restore(aged, tmp_path / "theirs", tmp_path / "hers")


@pytest.mark.parametrize("kind", ["erasures", "full", "increment"])
async def test_who_was_erased_after_a_backup_is_erased_again_in_an_empty_database_that_is_told(
    copy: str, database: str, tmp_path: Path, kind: str
) -> None:
    """Use the erasures in any later backup; seals still verify, and the erasure stays recorded."""
    full, later = tmp_path / "full", tmp_path / "later"
    await back_up(copy, full)
    await erase(copy, ANNE.id)
    told = await back_up(
        copy, later, since=full if kind == "increment" else None, erasures_only=kind == "erasures"
    )
    assert ANNE.marker.encode() not in later.read_bytes()
    restored = await restore(database, full, erasures=[later])
    assert restored.erased_since == 1
    assert about(all_rows(database), ANNE.id) == {}
    assert all_rows(database)["memory.erasures"] == all_rows(copy)["memory.erasures"]
    if kind == "erasures":
        assert {name for name, n in told.rows.items() if n} == {
            "memory.erasures",
            "memory.erased_records",
            "memory.audit_logs",
        }
        with pytest.raises(InvalidBackup, match="--erasures"):
            await restore(database, later)
    async with MemoryManager.from_conn_string(database) as store:
        await store.aput(
            BOB.namespace, "new", {"text": "new numbers are behind those that were given"}
        )
        await store.seal_audit()
        assert await store.verify_audit() == []
    assert sum((await restore(database, full)).added.values()) == 0


async def test_who_is_here_and_was_erased_elsewhere_is_not_said_to_be_erased(
    copy: str, origin: str, tmp_path: Path
) -> None:
    """Keep a user who exists here, e.g. in a database that was restored by other means."""
    await back_up(origin, tmp_path / "full")
    await erase(copy, ANNE.id)
    await back_up(copy, tmp_path / "later", erasures_only=True)
    before = all_rows(origin)
    with pytest.raises(ErasedPresent, match="empty database"):
        await restore(origin, tmp_path / "full", erasures=[tmp_path / "later"])
    assert all_rows(origin) == before
    assert (
        sum((await restore(copy, tmp_path / "full", erasures=[tmp_path / "later"])).added.values())
        == 0
    )


async def test_who_was_erased_between_the_links_of_a_chain_does_not_come_back(
    copy: str, database: str, tmp_path: Path
) -> None:
    full, after = tmp_path / "full", tmp_path / "after"
    await back_up(copy, full)
    await erase(copy, ANNE.id)
    await back_up(copy, after, since=full)
    await restore(database, full, after)
    assert about(all_rows(database), ANNE.id) == {}
    assert all_rows(database) == all_rows(copy)
