"""A database without graph or history: other features work, and these name the missing part."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from graphs.checkpointer import PostgresCheckpointer
from graphs.cli.main import app
from graphs.deployment.pools import open_pool
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.database.parts import SchemaPart, leave_out
from graphs.memory.database.schema import Choice, read_scripts
from graphs.memory.errors import SchemaPartMissing, SchemaPartPresent
from graphs.memory.values.ids import to_id
from graphs.memory_manager import MemoryManager
from graphs.operations import benchmarking
from graphs.operations.errors import InvalidBackup
from graphs.operations.operations import Operations
from tests.conftest import create_database, drop_database
from tests.integration.test_mcp import URL, serving
from tests.integration.test_memory import payload, turn
from tests.support.backups import back_up, restore
from tests.support.branching import Thread, known
from tests.support.command import command_on
from tests.support.http import app_of, client
from tests.support.mcp_client import mcp_client
from tests.support.sql import rows

WITHOUT = ["--without", "graph", "--without", "history"]


@pytest.fixture(scope="module")
def lean_template(postgres: str) -> Iterator[str]:
    """Yield the name of a database without both parts, made as by an operator, to be cloned."""
    name = create_database(postgres, "template0")
    database = make_conninfo(postgres, dbname=name)
    with command_on(database) as command:
        assert command("schema", "apply", *WITHOUT).exit_code == 0
        assert command("setup").exit_code == 0
    yield name
    drop_database(postgres, name)


@pytest.fixture(scope="module")
def lean(postgres: str, lean_template: str) -> Iterator[str]:
    """Yield a database without both parts, which tests share."""
    name = create_database(postgres, lean_template)
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


@pytest.fixture
def lean_copy(postgres: str, lean_template: str) -> Iterator[str]:
    """Yield a fresh database without both parts."""
    name = create_database(postgres, lean_template)
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


@pytest.fixture
async def store(
    lean: str, index: IndexConfig, extractor: Mem0Extractor
) -> AsyncIterator[MemoryManager]:
    async with MemoryManager.from_conn_string(
        lean, index=index, extractor=extractor, extract_after=0
    ) as store:
        yield store


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


async def tables_of(database: str) -> set[str]:
    found = await rows(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'memory'")
    return {row["tablename"] for row in found}


def test_every_mark_of_the_schema_names_a_part_and_ends() -> None:
    script = read_scripts().supabase_schema
    marks = [
        line.strip()
        for line in script.splitlines()
        if line.strip().startswith(("-- part:", "-- end of part"))
    ]
    assert {*marks[::2]} == {f"-- part: {part}" for part in SchemaPart}
    assert {*marks[1::2]} == {"-- end of part"}
    assert len(leave_out(script, [*SchemaPart]).splitlines()) < len(script.splitlines()) - len(
        marks
    )


@pytest.mark.parametrize(
    "without", [c for n in (1, 2) for c in combinations(SchemaPart, n)], ids=" ".join
)
def test_what_is_generated_without_parts_is_whole_and_stays_without(
    empty_database: str, without: tuple[str, ...]
) -> None:
    options = [word for part in without for word in ("--without", part)]
    generated = CliRunner().invoke(app, ["schema", "generate", "--plain", *options])
    assert generated.exit_code == 0

    async def come_up() -> set[str]:
        await rows(empty_database, generated.stdout)
        async with MemoryManager.from_conn_string(empty_database) as store:
            await store.setup()
            assert await Operations(store).checks.differences() == [], "the same as after `apply`"
            await Operations(store).checks.apply_schema()
        return await tables_of(empty_database)

    tables = asyncio.run(come_up())
    left_out = {"graph": "memory_relationships", "history": "memory_history"}
    assert {part for part in SchemaPart if left_out[part] not in tables} == {*without}


def test_a_database_without_parts_is_verified_validated_and_has_no_differences(
    lean: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarking, "CALLS", 2)
    monkeypatch.setattr(benchmarking, "CONVERSATIONS", 2)
    with command_on(lean) as command:
        assert command("schema", "diff").exit_code == 0
        checks = {c["name"]: c for c in json.loads(command("validate", "--json").stdout)["checks"]}
        report = command("audit", "report")
        works = {
            work["work"]
            for work in json.loads(command("benchmark", "--memories", "105", "--json").stdout)[
                "works"
            ]
        }
        assert command("monitor", "--once").exit_code == 0
        assert command("indexes", "create").exit_code == 0
        refused = command("history", to_id(("users", "ann", "facts"), "tea"), "--user-id", "ann")
    assert {name for name, check in checks.items() if check["status"] != "ok"} <= {"jobs"}, (
        "only jobs are not ok, without a worker"
    )
    assert refused.exit_code == 1
    assert "graph-memory schema apply --with history" in refused.stderr
    assert checks["schema"]["detail"].endswith(", without graph and history")
    assert report.exit_code == 0, report.output
    assert (
        {"add a memory", "search, top 10"}
        <= works
        <= benchmarking.TARGETS.keys() - {"traverse 2 hops"}
    )


async def test_memories_are_written_changed_recalled_exported_and_erased_without_parts(
    store: MemoryManager, lean: str, user_id: str
) -> None:
    scope = ("users", user_id, "facts")
    await store.aput(scope, "tea", {"content": "Likes green tea.", "type": "fact"})
    await store.aput(scope, "tea", {"content": "Likes black tea.", "type": "fact"})
    await store.write_memory(user_id, "s1", turn(user_id, "My dog is called Rex.", "Nice.", "m1"))
    await store.jobs.run_pending()
    found = {memory.content for memory in await store.recall_memory(user_id, "dog")}
    assert {"My dog is called Rex.", "Likes black tea."} <= found
    assert (await store.load_context(user_id, "s1", query="tea")).memories
    await store.wait_until_indexed()
    await store.memories.forget(user_id, (scope, "tea"))
    await store.aput(scope, "tea", {"content": "Likes mint tea.", "type": "fact"})
    assert await store.memories.forget(user_id, (scope, "tea"), for_good=True)

    assert "Rex" in "".join([line async for line in store.export_user(user_id)])
    await store.seal_audit()
    certificate = await store.erase_user(user_id)
    assert certificate.erased["memory.memories"] >= 2
    await store.seal_audit()
    assert await store.verify_audit() == []
    assert await rows(lean, "SELECT FROM memory.audit_logs WHERE user_id = %s", user_id) == []
    assert (await store.health.check()).parts["schema"].status == "ok"
    assert await store.prune_records() == {}


async def test_beliefs_and_reflections_are_kept_without_the_edges_between_them(
    store: MemoryManager, user_id: str
) -> None:
    said: Any = {"session_id": "s1", "agent": "assistant"}
    scope = ("users", user_id, "facts")
    await store.aput(scope, "tea", {"content": "Likes tea.", "type": "fact"})
    first = await store.beliefs.hold(user_id, "Prefers mornings.", about=[(scope, "tea")], **said)
    second = await store.beliefs.revise(user_id, first.key, "Prefers evenings.", **said)
    assert (await store.beliefs.get(user_id, first.key)).superseded
    assert [belief.key for belief in await store.beliefs.of(user_id)] == [second.key]
    again = await store.beliefs.hold(user_id, "Prefers mornings.", **said)
    assert not again.superseded
    reflection = await store.reflections.write(
        user_id, "Likes habits.", on=[(scope, "tea")], **said
    )
    assert [each.key for each in await store.reflections.of(user_id)] == [reflection.key]
    with pytest.raises(SchemaPartMissing, match="--with graph"):
        await store.reflections.of(user_id, on=(scope, "tea"))


async def test_what_needs_a_part_names_it_and_the_command_that_adds_it(
    store: MemoryManager, user_id: str
) -> None:
    scope = ("users", user_id, "facts")
    for key in ("tea", "cup"):
        await store.aput(scope, key, {"content": f"Likes {key}.", "type": "fact"})
    tea, cup = (scope, "tea"), (scope, "cup")
    for part, asked in (
        ("history", lambda: store.memories.history(user_id, tea)),
        ("graph", lambda: store.relationships.relate(user_id, tea, cup, "goes_with")),
        ("graph", lambda: store.relationships.unrelate(user_id, tea, cup, "goes_with")),
        ("graph", lambda: store.relationships.of(user_id, tea)),
        ("graph", lambda: store.relationships.traverse(user_id, tea)),
    ):
        with pytest.raises(SchemaPartMissing, match=f"schema apply --with {part}") as refused:
            await asked()
        assert refused.value.part == part


async def test_http_and_mcp_tell_what_is_not_kept(lean: str, index: IndexConfig) -> None:
    hybrid: Any = {**index, "ranking": "hybrid"}
    async with open_pool(lean) as pool, MemoryManager(pool, index=hybrid) as memory:
        async with client(app_of(memory)) as http:
            fact = {"session_id": "s1", "agent": "crm", "type": "fact", "content": "Likes tea."}
            id_ = (await http.post("/memory/memories", json=fact)).json()["memories"][0]["id"]
            for path, part in (
                ("history", "history"),
                ("graph", "graph"),
                ("relationships", "graph"),
            ):
                answer = await http.get(f"/memory/memories/{id_}/{path}")
                assert (answer.status_code, answer.headers["content-type"]) == (
                    501,
                    "application/problem+json",
                )
                assert f"--with {part}" in answer.json()["detail"]
        async with serving(memory) as served, mcp_client(URL, str(uuid4()), app=served) as model:
            saved: Any = await model.call_tool("save_memory", {"content": "She likes tea."})
            why: Any = await model.call_tool(
                "explain_memory", {"id": saved.structured_content["id"], "query": "tea"}
            )
            assert why.structured_content["history"] == []


async def test_nothing_that_is_there_is_left_out(lean: str, database: str) -> None:
    async with MemoryManager.from_conn_string(database) as store:
        for act in (Operations(store).checks.differences, Operations(store).checks.apply_schema):
            with pytest.raises(SchemaPartPresent, match="is never dropped"):
                await act(Choice(without=[SchemaPart.HISTORY]))
    # Older versions have no such column.
    await rows(database, "ALTER TABLE memory.schema_versions DROP COLUMN left_out")
    await rows(database, "UPDATE memory.schema_versions SET digest = 'older'")
    async with MemoryManager.from_conn_string(database) as store:
        await store.setup()
        assert await Operations(store).checks.differences() == []
    with command_on(lean) as command:
        refused = await asyncio.to_thread(
            command, "schema", "apply", "--with", "graph", "--without", "graph"
        )
    assert refused.exit_code == 2


async def test_a_part_that_is_added_is_used_by_a_server_that_runs(
    lean_copy: str, index: IndexConfig, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphs.memory.database.database._LOOK_AGAIN_SECONDS", 0)
    scope = ("users", user_id, "facts")
    said: Any = {"session_id": "s1", "agent": "assistant"}
    async with MemoryManager.from_conn_string(lean_copy, index=index) as store:
        await store.aput(scope, "tea", {"content": "Likes green tea."})
        await store.beliefs.hold(user_id, "Prefers mornings.", about=[(scope, "tea")], **said)
        with command_on(lean_copy) as command:
            told = await asyncio.to_thread(
                command, "schema", "apply", "--dry-run", "--with", "history"
            )
            assert "memory.memory_history" in told.stdout
            assert "memory_history" not in await tables_of(lean_copy)
            added = await asyncio.to_thread(
                command, "schema", "apply", "--with", "history", "--with", "graph"
            )
            assert added.exit_code == 0, added.output
        await store.setup()
        assert await Operations(store).checks.differences() == []
        await store.aput(scope, "tea", {"content": "Likes black tea."})
        [version] = (await store.memories.history(user_id, (scope, "tea"))).items
        assert version.value["content"] == "Likes green tea."
        belief = await store.beliefs.hold(
            user_id, "Prefers evenings.", about=[(scope, "tea")], **said
        )
        [edge] = await store.relationships.of(user_id, belief.address)
        assert edge.target == (scope, "tea")
        await store.seal_audit()
        await store.erase_user(user_id)
        assert await store.verify_audit() == []


async def test_a_backup_with_history_wants_a_database_with_history(
    database: str, lean_copy: str, tmp_path: Path, user_id: str
) -> None:
    scope = ("users", user_id, "facts")
    async with MemoryManager.from_conn_string(database) as store:
        await store.aput(scope, "tea", {"content": "Likes green tea."})
    await back_up(database, tmp_path / "first.backup")
    assert (await restore(lean_copy, tmp_path / "first.backup", dry_run=True)).added[
        "memory.memories"
    ] == 1
    async with MemoryManager.from_conn_string(database) as store:
        await store.aput(scope, "tea", {"content": "Likes black tea."})
    await back_up(database, tmp_path / "full.backup")
    with pytest.raises(
        InvalidBackup, match="made without the history; `graph-memory schema apply --with history`"
    ):
        await restore(lean_copy, tmp_path / "full.backup")

    async with MemoryManager.from_conn_string(database) as store:
        await store.seal_audit()
        await store.erase_user(user_id)
    await back_up(database, tmp_path / "erased.backup")
    with pytest.raises(InvalidBackup, match="--with history"):
        await restore(lean_copy, tmp_path / "erased.backup")
    restored = await restore(
        lean_copy, tmp_path / "first.backup", erasures=[tmp_path / "erased.backup"]
    )
    assert "memory.memory_history" not in (await back_up(lean_copy, tmp_path / "lean.backup")).rows
    assert (restored.erased_since, restored.added["memory.memories"]) == (1, 0)


def test_memories_that_migrate_come_without_their_history_and_go_again(
    lean_copy: str, tmp_path: Path, user_id: str
) -> None:
    change = {
        "event": "UPDATE",
        "at": "2026-01-02T00:00:00Z",
        "old": "Likes water.",
        "new": "Likes tea.",
    }
    line = {
        "user_id": user_id,
        "content": "Likes tea.",
        "created_at": "2026-01-01T00:00:00Z",
        "history": [change],
    }
    (tmp_path / "memories.jsonl").write_text(json.dumps(line) + "\n")
    with command_on(lean_copy) as command:
        brought = command("migrate", "jsonl", str(tmp_path / "memories.jsonl"))
        assert brought.exit_code == 0, brought.output
        [migration] = asyncio.run(
            rows(lean_copy, "SELECT id::text, brought FROM memory.migrations")
        )
        assert migration["brought"] == 1
        back = command("migrate", "rollback", migration["id"], "--yes")
    assert back.exit_code == 0, back.output
    assert asyncio.run(rows(lean_copy, "SELECT FROM memory.memories")) == []


async def test_a_belief_that_write_memory_stored_is_recalled(
    store: MemoryManager, user_id: str
) -> None:
    await store.write_memory(user_id, "s1", payload(user_id, "The budget is 80k.", "belief"))
    assert [belief.content for belief in await store.beliefs.of(user_id)] == ["The budget is 80k."]


async def test_without_history_an_undo_removes_what_a_run_added_and_says_what_is_lost(
    lean: str, store: MemoryManager, user_id: str
) -> None:
    scope = ("users", user_id, "notes")
    async with open_pool(lean) as pool:
        thread = Thread(store, PostgresCheckpointer(pool), user_id)
        run = await thread.say("My dog is called Rex.")
        await store.jobs.run_pending()
        assert (await known(store, user_id))["fact"] == ["My dog is called Rex."]
        await store.aput(scope, "tea", {"content": "Likes tea."})
        await rows(
            lean,
            "UPDATE memory.memories SET run_id = %s, updated_at = updated_at + interval '1 second' "
            "WHERE key = 'tea'",
            run,
        )
        settled = await store.runs.undo(user_id, run)
    assert [(change.key, change.outcome) for change in settled.of("lost")] == [("tea", "lost")]
    assert len(settled.of("removed")) == 3
    assert await store.asearch(("users", user_id)) == []
