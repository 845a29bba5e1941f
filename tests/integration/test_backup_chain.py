"""Incremental backups: with their full backup, they restore the last state, row by row."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import IndexConfig
from psycopg.conninfo import make_conninfo

from graphs.memory.errors import InvalidInput
from graphs.memory_manager import MemoryManager
from graphs.operations.errors import CannotFollow, InvalidBackup
from graphs.operations.operations import Operations
from tests.attacks.people import USERS
from tests.conftest import create_database, drop_database
from tests.support.backups import back_up, restore
from tests.support.rows import all_rows

ANNE, BOB, *_ = USERS

CHANGES = (
    "UPDATE memory.memories SET value = value || '{\"n\": 2}' WHERE id % 3 = 0",
    "UPDATE memory.memories SET expires_at = now() + interval '1 year', ttl_minutes = 1 "
    "WHERE id % 2 = 0",
    "DELETE FROM memory.memories "
    "WHERE id IN (SELECT id FROM memory.memories ORDER BY md5(id::text) LIMIT 2)",
    # A reused address: another memory with another id.
    "WITH gone AS ("
    "DELETE FROM memory.memories WHERE key = 'another' RETURNING namespace, key, value, position) "
    "INSERT INTO memory.memories (namespace, key, value, position) SELECT * FROM gone",
    "INSERT INTO memory.memories (namespace, key, value) "
    'SELECT DISTINCT namespace, gen_random_uuid()::text, \'{"type": "turn"}\'::jsonb '
    "FROM memory.memories",
    "DELETE FROM memory.memory_embeddings WHERE memory_id % 3 = 1",
    "UPDATE memory.memory_embeddings "
    "SET embedding = (SELECT embedding FROM memory.memory_embeddings LIMIT 1) "
    "WHERE memory_id % 3 = 2",
    "UPDATE memory.memory_embeddings SET indexed = NOT indexed",
    "INSERT INTO memory.embedding_models (name, dimensions) VALUES (gen_random_uuid()::text, 3)",
    "UPDATE memory.memory_relationships SET strength = strength / 2",
    "DELETE FROM memory.memory_relationships WHERE org_id IS NOT NULL",
    "UPDATE memory.organisation_members SET role = 'admin'",
    "DELETE FROM memory.organisation_members WHERE role = 'admin'",
    "INSERT INTO memory.sessions (user_id, id) "
    "SELECT id, gen_random_uuid()::text FROM memory.users",
    "DELETE FROM memory.sessions WHERE user_id = (SELECT min(user_id) FROM memory.sessions)",
    "UPDATE memory.users SET display_name = 'another'",
    "INSERT INTO memory.audit_logs (actor, action) SELECT 'x', 'noted' FROM generate_series(1, 3)",
    "SELECT memory.seal_records('audit_logs', 1000)",
    "SELECT memory.seal_records('memory_history', 1000)",
    "DELETE FROM memory.files WHERE user_id = (SELECT min(id) FROM memory.users);"
    "SELECT set_config('role', 'service_role', true), memory.erase_user(id)"
    " FROM (SELECT id FROM memory.users ORDER BY id LIMIT 1) AS somebody",
    "INSERT INTO memory.users (id) VALUES (gen_random_uuid())",
    "UPDATE public.applications SET robot_id = (SELECT id FROM public.robot_catalog LIMIT 1)",
    "DELETE FROM public.robot_catalog",
    "INSERT INTO public.robot_catalog (model, maker, category, price) "
    "VALUES (gen_random_uuid(), 'm', 'c', 1)",
    "TRUNCATE public.leads",
)
"""Changes between two backups: in every table, with rows that disappear and come back."""


def change(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(f"BEGIN; {statement}; COMMIT")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [tmp_path / name for name in ("full", "first", "second", "third", "fourth")]


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.lists(st.sampled_from(CHANGES), max_size=7), min_size=1, max_size=3))
def test_a_chain_restored_into_an_empty_database_is_the_database_at_the_last_moment(
    postgres: str, template: str, copy: str, files: list[Path], steps: list[list[str]]
) -> None:
    name = create_database(postgres, template)
    empty = make_conninfo(postgres, dbname=name)

    async def back_up_and_restore() -> None:
        async with MemoryManager.from_conn_string(copy) as store:
            await Operations(store).backups.create(files[0])
            for n, step in enumerate(steps, 1):
                change(copy, *step)
                await Operations(store).backups.create(files[n], since=files[n - 1])
        await restore(empty, *files[: len(steps) + 1])

    asyncio.run(back_up_and_restore())
    assert all_rows(empty) == all_rows(copy)
    drop_database(postgres, name)


async def test_every_kind_of_change_is_in_it_and_what_did_not_change_is_not(
    copy: str, database: str, files: list[Path]
) -> None:
    full = await back_up(copy, files[0])
    idle = await back_up(copy, files[1], since=files[0])
    assert sum(idle.rows.values()) == 0
    assert (idle.since, idle.follows) == (full.taken_at, full.sha256)
    change(
        copy,
        "UPDATE memory.users SET display_name = 'x' WHERE id = (SELECT min(id) FROM memory.users)",
    )
    one = await back_up(copy, files[2], since=files[1])
    assert {name: n for name, n in one.rows.items() if n} == {"memory.users": 1}
    change(copy, *CHANGES)
    await back_up(copy, files[3], since=files[2])
    await restore(database, *files[:4])
    assert all_rows(database) == all_rows(copy)
    async with MemoryManager.from_conn_string(database) as store:
        assert await store.verify_audit() == []


async def test_what_was_being_written_when_the_earlier_backup_was_made_is_in_the_next_one(
    copy: str, database: str, files: list[Path]
) -> None:
    """Include subtransactions, and transactions older than some that ended before the backup."""
    with (
        psycopg.connect(copy) as slow,
        psycopg.connect(copy) as nested,
        psycopg.connect(copy) as quick,
    ):
        assert slow.execute("UPDATE memory.users SET display_name = 'slow'").rowcount == 1
        nested.execute("INSERT INTO memory.audit_logs (actor, action) VALUES ('x', 'outer')")
        with nested.transaction():
            assert nested.execute("UPDATE memory.sessions SET title = 'nested'").rowcount == 1
        quick.execute("UPDATE memory.organisations SET name = 'quick'")
        quick.commit()
        await back_up(copy, files[0])
        slow.commit()
        nested.commit()
    await back_up(copy, files[1], since=files[0])
    await restore(database, *files[:2])
    assert all_rows(database) == all_rows(copy)


async def test_a_chain_adds_what_is_missing_and_leaves_what_is_there(
    copy: str, files: list[Path]
) -> None:
    """Restore into the same database, as a full backup of the last state would."""
    await back_up(copy, files[0])
    change(copy, *CHANGES[:4])
    await back_up(copy, files[1], since=files[0])
    change(
        copy,
        "UPDATE memory.memories SET value = value || '{\"n\": 9}' WHERE key = 'secret'",
        "DELETE FROM memory.memories WHERE key = 'another'",
        "INSERT INTO memory.users (id) VALUES ('new')",
    )
    await back_up(copy, files[2])
    changed = all_rows(copy)
    restored = await restore(copy, *files[:2])
    again = all_rows(copy)
    assert restored.added["memory.memories"] > 0
    assert all({*again[name]} >= {*rows} for name, rows in changed.items())
    assert again["memory.users"] == changed["memory.users"]
    assert sum((await restore(copy, *files[:2])).added.values()) == 0


async def test_one_person_has_increments_of_their_own(
    copy: str, files: list[Path], index: IndexConfig
) -> None:
    await back_up(copy, files[0], ANNE.id)
    async with MemoryManager.from_conn_string(copy, index=index) as store:
        await store.aput(ANNE.namespace, "later", {"text": "later"})
        await store.aput(BOB.namespace, "later", {"text": "of another"})
        await store.adelete(ANNE.namespace, "another")
    increment = await back_up(copy, files[1], ANNE.id, since=files[0])
    assert (increment.rows["memory.memories"], increment.rows["memory.memory_embeddings"]) == (1, 1)
    before = all_rows(copy)["memory.memories"]
    change(copy, "DELETE FROM memory.memories WHERE starts_with(namespace, 'users.')")
    await restore(copy, *files[:2])
    back = all_rows(copy)["memory.memories"]
    assert {row for row in before if f"users.{ANNE.id}." in row} == {
        row for row in back if "users." in row
    }
    with pytest.raises(CannotFollow, match="another user"):
        await back_up(copy, files[2], since=files[0])


async def test_files_that_do_not_follow_one_another_are_refused(
    copy: str, origin: str, database: str, files: list[Path]
) -> None:
    full, first, second, other, late = files
    await back_up(copy, full)
    await back_up(copy, first, since=full)
    await back_up(copy, second, since=first)
    before = all_rows(database)
    for chain, reason in (
        ([first], "only changes since"),
        ([full, second], "does not follow"),
        ([full, second, first], "does not follow"),
        ([full, full], "does not follow"),
    ):
        with pytest.raises(InvalidBackup, match=reason):
            await restore(database, *chain)
    second.write_bytes(second.read_bytes()[:-9])
    with pytest.raises(InvalidBackup, match=f"truncated.*{second.name}"):
        await restore(database, full, first, second)
    assert all_rows(database) == before
    with pytest.raises(CannotFollow, match="another database"):
        await back_up(origin, other, since=full)
    change(copy, "ALTER TABLE public.leads ADD COLUMN note text")
    with pytest.raises(CannotFollow, match="different tables or columns"):
        await back_up(copy, late, since=first)
    assert not other.exists()
    assert not late.exists()


async def test_a_time_is_told_instead_of_a_file_and_what_is_taken_reaches_back_a_day(
    copy: str, database: str, files: list[Path]
) -> None:
    now = (await back_up(copy, files[0])).taken_at
    everything = await back_up(copy, files[1], since=now)
    assert everything.rows == {name: len(rows) for name, rows in all_rows(copy).items()}
    change(
        copy,
        "INSERT INTO memory.audit_seals (source, ids, digest, settled, reached, horizon, sealed_at)"
        " SELECT 'audit_logs', '{}', '', 0, 0, pg_snapshot_xmax(pg_current_snapshot()),"
        " now() - interval '25 hours'",
        "UPDATE memory.users SET display_name = 'later'",
    )
    later = await back_up(copy, files[2], since=now)
    assert later.rows["memory.users"] == everything.rows["memory.users"]
    assert later.rows["memory.memories"] == 0
    await restore(database, files[0], files[2])
    assert all_rows(database) == all_rows(copy)
    await back_up(copy, files[3], since=now + timedelta(hours=1))
    with pytest.raises(InvalidBackup, match="does not follow"):
        await restore(database, files[0], files[3])


async def test_a_table_that_nothing_tells_the_rows_of_apart_is_taken_whole(
    copy: str, database: str, files: list[Path]
) -> None:
    make = (
        "CREATE TABLE public.notes (user_id text, n int); "
        "SELECT memory.keep_as_personal('public.notes')"
    )
    change(copy, make, "INSERT INTO public.notes VALUES ('x', 1), ('x', 1)")
    change(database, make)
    await back_up(copy, files[0])
    change(
        copy,
        "DELETE FROM public.notes; INSERT INTO public.notes VALUES ('y', 2), ('y', 2), (NULL, 1)",
    )
    assert (await back_up(copy, files[1], since=files[0])).rows["public.notes"] == 3
    await restore(database, *files[:2])
    assert all_rows(database) == all_rows(copy)


async def test_what_does_not_go_together_is_refused(origin: str, files: list[Path]) -> None:
    now = datetime.now(UTC)
    wrong = (
        {"since": now, "begin": now},
        {"end": now, "erasures_only": True},
        {"user_id": "x", "erasures_only": True},
    )
    for options in wrong:
        with pytest.raises(InvalidInput, match="one of these"):
            await back_up(origin, files[0], **options)
    with pytest.raises(InvalidInput, match="no time zone"):
        await back_up(origin, files[0], begin=now.replace(tzinfo=None))
