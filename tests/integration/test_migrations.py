"""Migrations: complete, idempotent, with ids, times and history, and reversible."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from graphs.memory.errors import AccessDenied, InvalidInput
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings
from graphs.operations.errors import MigrationConflict, MigrationNotFound
from graphs.operations.migration.jsonl import open_jsonl
from graphs.operations.migration.ledger import Migration
from graphs.operations.migration.source import RecordBatch, Rejected
from graphs.operations.operations import Operations
from tests.support.operator import Operator
from tests.support.rows import all_rows
from tests.support.sql import rows

ANN, BOB = "a0000000-0000-4000-8000-00000000000a", "b0000000-0000-4000-8000-00000000000b"
MADE, CHANGED = "2024-03-01T10:00:00+00:00", "2024-04-01T11:30:00.123456+00:00"


def line(n: int, user: str = ANN, **more: Any) -> dict[str, Any]:
    told = {
        "id": f"m-{n}",
        "user_id": user,
        "content": f"Fact number {n} is about tea.",
        "tags": ["drinks"],
    }
    return told | {"created_at": MADE, "updated_at": CHANGED} | more


def write(path: Path, *lines: Any) -> Path:
    texts = [told if isinstance(told, str) else json.dumps(told) for told in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


async def bring(store: MemoryManager, path: Path) -> tuple[Migration, list[Rejected]]:
    rejected: list[Rejected] = []

    async def reject(found: Any) -> None:
        rejected.extend(found)

    return await Operations(store).migrations.run(await open_jsonl(path), reject=reject), rejected


@pytest.fixture(autouse=True)
async def _schema(store: MemoryManager) -> None:
    await store.setup()


async def test_ids_times_and_history_come_with_the_memories(
    store: MemoryManager, database: str, tmp_path: Path
) -> None:
    history = [
        {"event": "ADD", "at": MADE, "new": "Likes tea."},
        {"event": "UPDATE", "at": CHANGED, "old": "Likes tea.", "new": "Likes coffee."},
    ]
    told = line(
        1,
        content="Likes coffee.",
        history=history,
        session_id="s",
        metadata={"a": 1},
        importance=0.9,
    )
    migration, rejected = await bring(store, write(tmp_path / "m.jsonl", told))
    assert (migration.status, migration.total, migration.brought, rejected) == (
        "finished",
        1,
        1,
        [],
    )
    item = await store.aget(("users", ANN, "facts"), "m-1")
    assert item is not None
    assert (item.created_at, item.updated_at) == (
        datetime.fromisoformat(MADE),
        datetime.fromisoformat(CHANGED),
    )
    assert item.value["content"] == "Likes coffee."
    assert (item.value["tags"], item.value["metadata"], item.value["importance"]) == (
        ["drinks"],
        {"a": 1},
        0.9,
    )
    [version] = (await store.memories.history(ANN, (item.namespace, item.key))).items
    assert version.value["content"] == "Likes tea."
    assert (version.valid_from, version.valid_to) == (item.created_at, item.updated_at)
    [found] = await store.recall_memory(ANN, "coffee", ["drinks"])
    assert found.content == "Likes coffee."


async def test_the_audit_log_has_one_record_of_what_was_stored_together(
    store: MemoryManager, database: str, tmp_path: Path
) -> None:
    migration, _ = await bring(store, write(tmp_path / "m.jsonl", *[line(n) for n in range(30)]))
    found = await rows(
        database, "SELECT actor, action, data FROM memory.audit_logs WHERE action <> 'memory.read'"
    )
    data = {"migration": str(migration.id), "source": "jsonl", "memories": 30}
    assert found == [{"actor": "service_role", "action": "memory.imported", "data": data}]
    await store.aput(("users", ANN, "facts"), "m-1", {"content": "Changed."})
    latest = await rows(
        database, "SELECT action, key FROM memory.audit_logs ORDER BY id DESC LIMIT 1"
    )
    assert latest == [{"action": "memory.update", "key": "m-1"}]


async def test_who_does_not_own_the_tables_cannot_write_past_the_triggers(
    store: MemoryManager, database: str
) -> None:
    await rows(
        database,
        """SELECT set_config('memory.importing', 'x', true),
          set_config('role', 'service_role', true);
        INSERT INTO memory.memories (namespace, key, value) VALUES ('users.x.', 'k', '{}');
        UPDATE memory.memories SET value = '{"a": 1}'""",
    )
    found = await rows(database, "SELECT action FROM memory.audit_logs ORDER BY id")
    assert [row["action"] for row in found] == ["memory.insert", "memory.update"]
    assert len(await rows(database, "SELECT id FROM memory.memory_history")) == 1


async def test_what_is_there_stays_and_a_second_run_adds_nothing(
    store: MemoryManager, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.aput(("users", ANN, "facts"), "m-1", {"content": "Ours."})
    path = write(tmp_path / "m.jsonl", *[line(n) for n in range(5)], line(3))
    first, _ = await bring(store, path)
    assert (first.brought, first.present) == (4, 2)
    before = all_rows(database)
    # A second migration embeds nothing, or it would fail.
    monkeypatch.setattr(OfflineEmbeddings, "aembed_documents", None)
    second, _ = await bring(store, path)
    assert (second.brought, second.present, second.id != first.id) == (0, 6, True)
    after = all_rows(database)
    assert after.pop("memory.migrations") != before.pop("memory.migrations")
    assert after == before
    ours = await store.aget(("users", ANN, "facts"), "m-1")
    assert ours is not None
    assert ours.value == {"content": "Ours."}


async def test_what_cannot_be_a_memory_is_told_by_its_field_and_stops_nothing(
    store: MemoryManager, tmp_path: Path
) -> None:
    wrong = {
        "content": line(1, content=" "),
        "user_id": {"content": "Whose?", "created_at": MADE},
        "importance": line(2, importance=7),
        "created_at": line(3, created_at="yesterday"),
        "updated_at": line(12, created_at=MADE, updated_at="9999-12-31T23:59:59Z"),
        "colour": line(4, colour="red"),
        "type": line(5, type="turn"),
        "metadata.a": line(6, metadata={"a": "\0"}),
        "key": line(7, id="k" * 3000),
        "line": "[" * 100_000,
        "run_id": line(8, run_id="\0", session_id="s"),
        "session_id": line(10, session_id="s" * 3000),
        "metadata.n": line(11, metadata={"n": float("nan")}),
        "metadata": line(12, metadata=[1]),
    }
    migration, rejected = await bring(
        store, write(tmp_path / "m.jsonl", line(0), *wrong.values(), line(9))
    )
    assert (migration.brought, migration.rejected) == (2, len(wrong))
    assert {each.field for each in rejected} == set(wrong)


async def test_a_rollback_leaves_what_was_there_before(
    store: MemoryManager, database: str, tmp_path: Path
) -> None:
    await store.aput(("users", BOB, "facts"), "own", {"content": "Bob's own."})
    await store.aput(("users", ANN, "facts"), "m-1", {"content": "Ours."})
    before = all_rows(database)
    history = [{"event": "UPDATE", "at": CHANGED, "old": "Before.", "new": "After."}]
    migration, _ = await bring(
        store, write(tmp_path / "m.jsonl", *[line(n, history=history) for n in range(5)])
    )
    await store.seal_audit()
    dry = await Operations(store).migrations.roll_back(str(migration.id), dry_run=True)
    assert (dry.removed, dry.kept) == (4, [])
    done = await Operations(store).migrations.roll_back(str(migration.id))
    assert done == dry
    after = all_rows(database)
    tells = {
        "memory.migrations",
        "memory.audit_logs",
        "memory.audit_seals",
        "memory.erasures",
        "memory.erased_records",
    }
    assert {name: found for name, found in after.items() if name not in tells} == {
        name: found for name, found in before.items() if name not in tells
    }
    assert [
        row for row in before["memory.audit_logs"] if row not in after["memory.audit_logs"]
    ] == []
    assert await store.verify_audit() == []
    assert (await Operations(store).migrations.get(str(migration.id))).status == "rolled_back"


async def test_a_rollback_keeps_what_somebody_changed_or_refers_to(
    store: MemoryManager, tmp_path: Path
) -> None:
    migration, _ = await bring(store, write(tmp_path / "m.jsonl", *[line(n) for n in range(5)]))
    facts = ("users", ANN, "facts")
    await store.aput(facts, "m-0", {"content": "Changed."})
    await store.adelete(facts, "m-1")
    await store.relationships.relate(ANN, (facts, "m-2"), (facts, "m-3"), "explains")
    done = await Operations(store).migrations.roll_back(str(migration.id))
    assert done.removed == 1
    assert done.kept == [(facts, f"m-{n}") for n in range(4)]
    assert {item.key for item in await store.asearch(facts)} == {"m-0", "m-2", "m-3"}


async def test_people_who_were_erased_stay_erased(
    store: MemoryManager, database: str, tmp_path: Path
) -> None:
    await bring(store, path := write(tmp_path / "m.jsonl", line(1), line(2, BOB)))
    await store.erase_user(ANN)
    assert (
        await rows(database, "SELECT 1 FROM memory.migrated_memories WHERE user_id = %s", ANN) == []
    )
    migration, rejected = await bring(store, path)
    assert (migration.brought, migration.present) == (0, 1)
    assert [(each.field, each.raw) for each in rejected] == [("user_id", None)]
    later = line(3, updated_at=datetime.now(UTC).isoformat())
    assert (await bring(store, write(path, later)))[0].brought == 1


async def test_an_export_of_a_person_comes_back_as_it_was(
    store: MemoryManager, database: str, tmp_path: Path
) -> None:
    facts = ("users", ANN, "facts")
    for content in ("Likes tea.", "Likes coffee."):
        await store.aput(
            facts, "k", {"content": content, "type": "fact", "tags": []}, index=["content"]
        )
    await store.aput(("users", ANN, "notes"), "n", {"text": "A note."})
    shown = (
        "SELECT namespace, key, value, created_at, updated_at, document "
        "FROM memory.memories ORDER BY 1, 2"
    )
    before = await rows(database, shown)
    said = "SELECT operation, value, valid_from, valid_to FROM memory.memory_history"
    history = await rows(database, said)
    path = tmp_path / "ann.jsonl"
    path.write_text(
        "".join([f"{text}\n" async for text in store.export_user(ANN)]), encoding="utf-8"
    )
    await rows(
        database,
        "SELECT set_config('memory.erasing', 'x', false); DELETE FROM memory.memories;"
        "DELETE FROM memory.memory_history",
    )
    migration, rejected = await bring(store, path)
    assert (migration.total, migration.brought, rejected) == (2, 2, [])
    assert await rows(database, shown) == before
    assert await rows(database, said) == history


def rewritten(export: str, **how: Any) -> str:
    """Return an export as another tool writes it."""
    return "".join(json.dumps(json.loads(line), **how) + "\n" for line in export.splitlines())


async def test_an_export_that_was_changed_is_refused_and_taken_whole_where_that_is_allowed(
    store: MemoryManager, tmp_path: Path
) -> None:
    for n in range(3):
        await store.aput(("users", ANN, "notes"), f"n{n}", {"text": f"Note {n}."})
    export = "".join([f"{text}\n" async for text in store.export_user(ANN)])
    lines = export.splitlines(keepends=True)
    last = max(n for n, line in enumerate(lines) if '"table": "memory.memories"' in line)
    path, migrations = tmp_path / "ann.jsonl", Operations(store).migrations
    for content, reason, memories, broken in (
        (rewritten(export, separators=(",", ":")), "rewritten by another tool", 3, 0),
        (rewritten(export, sort_keys=True), "rewritten by another tool", 3, 0),
        (export.replace("Note 1.", "Note 9."), "does not fit its checksum", 3, 0),
        (export.replace("\n", "\r\n"), "does not fit its checksum", 3, 0),
        ("".join(lines[:-1]), "truncated", 3, 0),
        ("".join(lines[: last + 1])[:-9], f"line {last + 1} is not JSON", 2, 1),
        ("".join(lines[:last] + lines[last + 1 :]), "2 rows of memory.memories of the 3", 2, 0),
    ):
        path.write_text(content, encoding="utf-8", newline="")
        with pytest.raises(InvalidInput, match=f"{reason}.*Nothing was imported"):
            await open_jsonl(path)
        allowed = await migrations.preview(await open_jsonl(path, allow_changed=True))
        assert (allowed.read, len(allowed.rejected)) == (memories + broken, broken), reason
    path.write_text(rewritten(export, sort_keys=True).replace(ANN, BOB), encoding="utf-8")
    done = await migrations.run(await open_jsonl(path, allow_changed=True))
    assert (done.total, done.brought, done.rejected) == (3, 3, 0)
    path.write_text(export.replace('"version": 1', '"version": 2'), encoding="utf-8")
    with pytest.raises(InvalidInput, match="version 2"):
        await open_jsonl(path, allow_changed=True)
    path.write_text("\n")
    with pytest.raises(InvalidInput, match="is empty"):
        await open_jsonl(path)


async def test_it_pauses_where_it_is_asked_to_and_goes_on_there(
    store: MemoryManager, tmp_path: Path
) -> None:
    path = write(tmp_path / "m.jsonl", *[line(n) for n in range(450)])
    migrations = Operations(store).migrations
    paused = await migrations.run(await open_jsonl(path), stopping=lambda: True)
    assert (paused.status, paused.brought) == ("paused", 200)
    assert (await migrations.preview(await open_jsonl(path))).goes_on_with == paused
    done = await migrations.run(source := await open_jsonl(path))
    assert (done.id, done.status, done.brought, done.present) == (paused.id, "finished", 450, 0)
    verified = await migrations.verify(str(done.id), source)
    assert (verified.source, verified.seen, verified.there, verified.matches) == (
        450,
        450,
        450,
        True,
    )
    assert [m.id for m in await migrations.list()] == [done.id]


async def test_who_finds_that_it_was_taken_back_meanwhile_stores_nothing(
    store: MemoryManager, tmp_path: Path
) -> None:
    source = await open_jsonl(write(tmp_path / "m.jsonl", *[line(n) for n in range(450)]))
    migrations, reading = Operations(store).migrations, source.batches
    begun = await migrations.run(source, stopping=lambda: True)

    async def interfering(after: str | None) -> AsyncIterator[RecordBatch]:
        async for batch in reading(after):
            await migrations.roll_back(str(begun.id))
            yield batch

    source.batches = interfering  # type: ignore[method-assign]
    with pytest.raises(MigrationConflict):
        await migrations.run(source)
    assert await store.asearch(("users", ANN)) == []


async def test_only_the_service_migrates(store: MemoryManager, tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", line(1))
    with acting_as(Principal.user(ANN)):
        migrations = Operations(store).migrations
        for call in (
            migrations.run(await open_jsonl(path)),
            migrations.preview(await open_jsonl(path)),
            migrations.list(),
            migrations.get("x"),
            migrations.roll_back("x"),
        ):
            with pytest.raises(AccessDenied):
                await call
    with pytest.raises(MigrationNotFound):
        await Operations(store).migrations.roll_back("x")


def test_the_command_ends_with_an_error_for_a_truncated_export_and_takes_it_if_told_to(
    operate: Operator, tmp_path: Path
) -> None:
    operate.done("remember", "Likes tea.", "--user-id", ANN)
    path = tmp_path / "ann.jsonl"
    operate.done("export-user", "--user-id", ANN, "--output", str(path))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    refused = operate("migrate", "jsonl", str(path))
    assert (refused.exit_code, "--allow-changed" in refused.stderr) == (1, True)
    told = operate.json("migrate", "jsonl", str(path), "--allow-changed")
    assert told["migration"]["present"] == 1


def test_the_command_looks_brings_tells_and_takes_back(operate: Operator, tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", line(1), line(2, colour="red"), line(3))
    told = operate.json("migrate", "jsonl", str(path), "--dry-run")
    assert (told["total"], told["new"], [each["field"] for each in told["rejected"]]) == (
        3,
        2,
        ["colour"],
    )
    assert operate.sql("SELECT 1 FROM memory.memories") == []
    refused = tmp_path / "refused.jsonl"
    result = operate("migrate", "jsonl", str(path), "--rejected", str(refused), "--json")
    assert result.exit_code == 1
    done = json.loads(result.stdout)
    assert (done["migration"]["brought"], done["verified"]["matches"]) == (2, True)
    [reason] = [json.loads(text) for text in refused.read_text().splitlines()]
    assert (reason["field"], reason["record"]["id"]) == ("colour", "m-2")
    assert refused.stat().st_mode & 0o777 == 0o600
    [listed] = operate.json("migrate", "list")
    assert operate.json("migrate", "show", listed["id"]) == listed
    assert operate.json("migrate", "rollback", listed["id"], "--yes")["removed"] == 2
    assert operate.sql("SELECT 1 FROM memory.memories") == []
    assert operate("migrate", "rollback", "nothing", "--yes").exit_code == 1
