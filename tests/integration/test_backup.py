"""Backups: a restore brings back every row, and a damaged file changes nothing."""

import asyncio
import gzip
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from langgraph.store.base import IndexConfig
from psycopg.conninfo import make_conninfo

from graphs.memory.errors import AccessDenied, InvalidInput
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.operations.errors import RestoreConflict
from graphs.operations.operations import Operations
from tests.attacks.people import USERS, VICTIMS
from tests.support.backups import back_up, erase, restore
from tests.support.pooler import Pooler
from tests.support.rows import all_rows

ANNE = USERS[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "memory.backup"


async def test_what_is_restored_into_an_empty_database_is_every_row_as_it_was(
    origin: str, database: str, file: Path
) -> None:
    before = all_rows(origin)
    assert [name for name, rows in before.items() if not rows] == []
    backup = await back_up(origin, file)
    assert {name: len(rows) for name, rows in before.items()} == backup.rows
    restored = await restore(database, file)
    assert all_rows(database) == before
    # The embedding model exists in the new database as well.
    assert sum(restored.added.values()) == sum(restored.rows.values()) - 1
    async with MemoryManager.from_conn_string(database) as store:
        assert await store.verify_audit() == []


async def test_a_restored_database_goes_on_as_if_nothing_had_been(
    origin: str, database: str, file: Path, index: IndexConfig
) -> None:
    """Give new rows new numbers, also after rows at the end were deleted; triggers still record."""
    await back_up(origin, file)
    await restore(database, file)
    async with MemoryManager.from_conn_string(database, index=index) as store:
        found = await store.asearch(ANNE.namespace, query=f"password {ANNE.marker}")
        assert ANNE.marker in str(found[0].value)
        before = len(all_rows(database)["memory.audit_logs"])
        await store.aput(ANNE.namespace, "secret", {"content": "another"})
        await store.aput(ANNE.namespace, "new", {"content": "new"})
        assert len(all_rows(database)["memory.audit_logs"]) >= before + 2
        await store.seal_audit()
        assert await store.verify_audit() == []


async def test_restoring_twice_or_over_what_is_there_changes_nothing(copy: str, file: Path) -> None:
    await back_up(copy, file)
    async with MemoryManager.from_conn_string(copy) as store:
        await store.aput(ANNE.namespace, "secret", {"content": "written since"})
        await store.adelete(ANNE.namespace, "another")
    changed = all_rows(copy)
    restored = await restore(copy, file)
    again = all_rows(copy)
    assert {name: n for name, n in restored.added.items() if n}.keys() >= {
        "memory.memories",
        "memory.memory_embeddings",
    }
    assert restored.added["memory.memories"] == 1
    assert {*again["memory.memories"]} > {*changed["memory.memories"]}
    assert again["memory.audit_logs"] == changed["memory.audit_logs"]
    assert sum((await restore(copy, file)).added.values()) == 0
    assert all_rows(copy) == again
    async with MemoryManager.from_conn_string(copy) as store:
        assert await store.verify_audit() == []


async def test_vectors_of_a_version_that_was_replaced_do_not_come_back(
    copy: str, file: Path
) -> None:
    await back_up(copy, file)
    async with MemoryManager.from_conn_string(copy) as store:
        await store.aput(ANNE.namespace, "secret", {"content": "without a vector"}, index=False)
    changed = all_rows(copy)
    await restore(copy, file)
    assert all_rows(copy) == changed


async def test_a_dry_run_tells_what_it_would_do_and_does_nothing(
    origin: str, database: str, file: Path
) -> None:
    await back_up(origin, file)
    before = all_rows(database)
    told = await restore(database, file, dry_run=True)
    assert all_rows(database) == before
    assert (await restore(database, file)).added == told.added


async def test_a_database_with_other_rows_under_the_same_numbers_is_refused(
    origin: str, database: str, file: Path
) -> None:
    await back_up(origin, file)
    async with MemoryManager.from_conn_string(database) as store:
        await store.aput(("users", str(uuid4())), "k", {"text": "of another deployment"})
    before = all_rows(database)
    with pytest.raises(RestoreConflict, match="other rows with the numbers"):
        await restore(database, file)
    assert all_rows(database) == before


async def test_a_model_with_another_number_here_keeps_it(
    origin: str, database: str, file: Path
) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE memory.embedding_models SET id = DEFAULT")
        conn.execute("UPDATE memory.embedding_models SET id = DEFAULT")
        [number] = conn.execute("SELECT id FROM memory.embedding_models").fetchone() or [0]
    await back_up(origin, file)
    await restore(database, file)
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT DISTINCT model FROM memory.memory_embeddings").fetchall() == [
            (number,)
        ]


async def test_triggers_are_on_again_and_others_could_not_write_meanwhile(
    origin: str, database: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Block writers during a restore, so that every write is recorded."""
    await back_up(origin, file)
    writing: list[asyncio.Task[None]] = []
    async with (
        MemoryManager.from_conn_string(database) as store,
        MemoryManager.from_conn_string(database) as other,
    ):

        def write(done: int, of: int | None) -> None:
            if not writing:
                writing.append(
                    asyncio.create_task(
                        other.aput(("users", ANNE.id, "late"), "k", {"text": "late"})
                    )
                )
            assert not writing[0].done()

        await Operations(store).backups.restore(file, progress=write)
        await writing[0]
    with psycopg.connect(database) as conn:
        late = conn.execute(
            "SELECT count(*) FROM memory.audit_logs WHERE namespace LIKE '%late.'"
        ).fetchone()
        off = conn.execute(
            "SELECT count(*) FROM pg_trigger "
            "WHERE tgrelid::regclass::text ~ '^(memory|public)' AND tgenabled <> 'O'"
        ).fetchone()
    assert (late, off) == ((1,), (0,))


async def test_only_the_service_may(origin: str, file: Path) -> None:
    async with MemoryManager.from_conn_string(origin) as store:
        with acting_as(Principal.user(ANNE.id)):
            for call in (
                Operations(store).backups.create(file),
                Operations(store).backups.verify(file),
                Operations(store).backups.restore(file),
            ):
                with pytest.raises(AccessDenied, match="Only the service"):
                    await call


async def test_a_role_from_whom_policies_hide_rows_gets_an_error_and_no_half_backup(
    postgres: str, copy: str, file: Path
) -> None:
    role = f"reader_{uuid4().hex}"
    with psycopg.connect(copy, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {role} LOGIN IN ROLE authenticated")
        conn.execute(f"GRANT USAGE ON SCHEMA memory TO {role}")
        conn.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA memory, public TO {role}")
        conn.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA memory, public TO {role}")
    try:
        with pytest.raises(AccessDenied):
            await back_up(make_conninfo(copy, user=role), file)
        assert not [*file.parent.iterdir()]
    finally:
        with psycopg.connect(copy, autocommit=True) as conn:
            conn.execute(f"DROP OWNED BY {role}")
            conn.execute(f"DROP ROLE {role}")


async def test_a_file_that_cannot_be_written_or_read_is_named(origin: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be written: No such file"):
        await back_up(origin, tmp_path / "nowhere" / "file")
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        await restore(origin, tmp_path / "file")


def unpacked(file: Path) -> str:
    return gzip.decompress(file.read_bytes()).decode()


def rows_about(rows: dict[str, list[str]], user_id: str) -> dict[str, list[str]]:
    return {
        name: about for name, of in rows.items() if (about := [row for row in of if user_id in row])
    }


async def test_one_person_comes_back_out_of_a_backup_of_everybody_and_nothing_else_does(
    origin: str, database: str, file: Path
) -> None:
    await back_up(origin, file)
    empty = all_rows(database)
    await restore(database, file, user_id=ANNE.id)
    restored, everything = all_rows(database), all_rows(origin)
    for name, rows in restored.items():
        theirs = {row for row in rows if row not in empty[name]}
        assert theirs <= {*everything[name]}
        assert all(ANNE.id in row for row in theirs) or name == "memory.cognitive_metrics", name
    missing = {
        name: [row for row in about if row not in restored[name]]
        for name, about in rows_about(everything, ANNE.id).items()
    }
    # Shared rows come back only with the other data: an edge between memories of agents, and the
    # record of a migration.
    shared = {"memory.memory_relationships", "memory.migrated_memories"}
    assert {name for name, rows in missing.items() if rows} <= shared
    async with MemoryManager.from_conn_string(database) as store:
        assert await store.verify_audit() == []


async def test_a_backup_of_one_person_has_nothing_of_others_and_brings_them_back(
    copy: str, file: Path
) -> None:
    backup = await back_up(copy, file, ANNE.id)
    content = unpacked(file)
    assert backup.user_id == ANNE.id
    assert ANNE.marker in content
    assert not [
        victim.name for victim in VICTIMS if victim is not ANNE and victim.marker in content
    ]
    before = all_rows(copy)
    with psycopg.connect(copy) as conn:
        conn.execute("DELETE FROM memory.memories WHERE user_id = %s", [ANNE.id])
        conn.execute("DELETE FROM memory.sessions WHERE user_id = %s", [ANNE.id])
    await restore(copy, file)
    after = all_rows(copy)
    records = {
        "memory.audit_logs",
        "memory.memory_history",
        "memory.history_embeddings",
        "memory.row_history",
    }
    assert {name: rows for name, rows in after.items() if name not in records} == {
        name: rows for name, rows in before.items() if name not in records
    }
    # The records of the deletion stay.
    assert all({*after[name]} > {*before[name]} for name in records)


async def test_who_was_erased_after_a_backup_stays_erased_when_it_is_restored(
    copy: str, file: Path
) -> None:
    await back_up(copy, file)
    await erase(copy, ANNE.id)
    erased = all_rows(copy)
    restored = await restore(copy, file)
    assert restored.erased_since == 1
    assert all_rows(copy) == erased
    assert rows_about(erased, ANNE.id) == {}
    assert sum((await restore(copy, file, user_id=ANNE.id)).added.values()) == 0
    async with MemoryManager.from_conn_string(copy) as store:
        assert await store.verify_audit() == []


async def test_a_memory_that_was_erased_for_good_after_a_backup_stays_erased(
    copy: str, file: Path, index: IndexConfig
) -> None:
    async with MemoryManager.from_conn_string(copy, index=index) as store:
        for text in ("secret_old", "secret_new"):
            await store.aput(ANNE.namespace, "mine", {"text": text})
            await store.aput(ANNE.namespace, "again", {"text": text})
        mine, again = (ANNE.namespace, "mine"), (ANNE.namespace, "again")
        for why in ("secret_why", "secret_because"):
            await store.relationships.relate(ANNE.id, mine, again, "about", metadata={"why": why})
        await back_up(copy, file)
        for key in ("mine", "again"):
            await store.memories.forget(ANNE.id, (ANNE.namespace, key), for_good=True)
        await store.aput(ANNE.namespace, "again", {"text": "written later"})
        before = all_rows(copy)
        assert (await restore(copy, file)).erased_since == 0
        assert await store.verify_audit() == []
        assert all_rows(copy) == before
        await back_up(copy, file.with_suffix(".later"))
        with psycopg.connect(copy) as conn:
            conn.execute("DELETE FROM memory.memories WHERE key = 'again'")
        await restore(copy, file.with_suffix(".later"))
        assert await store.aget(ANNE.namespace, "again") is not None


async def test_who_was_erased_and_came_back_before_a_backup_is_restored(
    copy: str, file: Path, index: IndexConfig
) -> None:
    await erase(copy, ANNE.id)
    async with MemoryManager.from_conn_string(copy, index=index) as store:
        await store.aput(ANNE.namespace, "again", {"text": "here again"})
        await back_up(copy, file)
        with psycopg.connect(copy) as conn:
            conn.execute("DELETE FROM memory.memories WHERE user_id = %s", [ANNE.id])
        await restore(copy, file)
        assert await store.aget(ANNE.namespace, "again") is not None


async def test_it_works_behind_a_transaction_pooler(
    postgres: str, origin: str, database: str, file: Path
) -> None:
    with Pooler(postgres) as pooler:
        await back_up(pooler.url_for(origin), file)
        await restore(pooler.url_for(database), file)
    assert all_rows(database) == all_rows(origin)
