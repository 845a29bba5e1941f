"""`graph-memory recall`, `remember`, `forget` and similar commands, called as by an operator."""

import asyncio
import json
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig

from graphs.checkpointer import PostgresCheckpointer
from graphs.cli import asking
from graphs.deployment.pools import open_pool
from graphs.deployment.settings import load_settings
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory_manager import MemoryManager
from tests.support.branching import Thread
from tests.support.operator import Operator
from tests.support.sql import rows

HOSTILE = "Likes [red]tea[/red] \x1b[2J\x1b]0;owned\x07\x9b31m\u202e and \\[bold]"


def test_what_is_remembered_is_recalled_explained_and_forgotten_by_its_id(
    operate: Operator,
) -> None:
    made = operate.json("remember", "Likes green tea.", "--tag", "drinks", "--importance", "0.8")
    operate.done("remember", "Works as a welder.")

    [found] = operate.json("recall", "tea", "--tag", "drinks", "--explain")
    assert (found["id"], found["content"], found["tags"]) == (
        made["id"],
        "Likes green tea.",
        ["drinks"],
    )
    assert sum(found["explanation"].values()) == pytest.approx(found["score"], abs=1e-3)
    shown = operate.done("recall", "tea", "--explain", "--limit", "1")
    assert f"id {made['id']}\n" in shown
    assert "█" in next(line for line in shown.splitlines() if "similarity" in line)

    told = operate.json("explain", made["id"])
    assert told["origin"]["agent"] == "graph-memory"
    assert [recall["query"] for recall in told["recalls"]] == ["tea", "tea"]
    last = told["recalls"][0]
    assert (last["actor"], last["chosen"], last["rank"]) == ("service_role", True, 1)
    assert last["score"] == pytest.approx(found["score"], abs=1e-3)
    assert "chosen as 1." in operate.done("explain", made["id"])

    assert (
        operate.json("forget", made["id"], "--dry-run")["forgotten"]["content"]
        == "Likes green tea."
    )
    assert operate.json("forget", made["id"], "--yes")["forgotten"]["content"] == "Likes green tea."
    assert operate.json("recall", "tea", "--tag", "drinks") == []
    assert operate("forget", made["id"], "--yes").exit_code == 1

    past = operate.json("history", ".".join(made["namespace"]), made["key"])
    assert past["now"] is None
    assert [(v["content"], v["operation"]) for v in past["versions"]] == [
        ("Likes green tea.", "delete")
    ]
    assert "deleted" in operate.done("history", made["id"])
    assert "It would be erased" in operate.done("forget", made["id"], "--for-good", "--dry-run")
    erased = operate.json("forget", made["id"], "--for-good", "--yes")
    assert (erased["forgotten"], erased["certificate"]["erased"]["memory.memory_history"]) == (
        None,
        1,
    )
    assert operate("history", made["id"]).exit_code == 1


def test_the_timeline_of_a_memory_shows_what_holds_and_what_held(operate: Operator) -> None:
    memory = operate.json("remember", "Likes tea.", "--importance", "0.2")
    operate.done("remember", "Likes tea.", "--importance", "0.9")
    told = operate.json("history", memory["id"])
    assert told["now"]["importance"] == 0.9
    assert [version["value"]["importance"] for version in told["versions"]] == [0.2]
    shown = operate.done("history", memory["id"]).splitlines()
    assert [line[0] for line in shown] == ["●", "│", "○", "│"]
    assert "replaced" in shown[2]


def test_a_fact_is_explained_with_the_turns_that_it_was_taken_from(
    operate: Operator, index: IndexConfig, extractor: Mem0Extractor
) -> None:
    user = str(uuid4())

    async def talk() -> None:
        said = {"id": "m1", "user": "My name is Ada and I live in Turin.", "assistant": "Hello."}
        payload = {
            "identity": user,
            "timestamp": "2026-01-01T00:00:00Z",
            "agent": "a",
            "session_id": "s1",
        }
        async with MemoryManager.from_conn_string(
            operate.database, index=index, extractor=extractor
        ) as store:
            await store.write_memory(user, "s1", payload | {"type": "turn", "content": said})
            await store.extract_facts(user, "s1")

    asyncio.run(talk())
    fact = operate.json("recall", "Where do they live?", "--type", "fact", "--user-id", user)[0]
    told = operate.json("explain", fact["id"], "--user-id", user)
    assert [turn["content"] for turn in told["turns"]] == [
        "My name is Ada and I live in Turin.",
        "Hello.",
    ]
    assert "user: My name is Ada and I live in Turin." in operate.done(
        "explain", fact["id"], "--user-id", user
    )


def test_a_run_is_undone_as_its_dry_run_said_and_done_again(operate: Operator) -> None:
    user = str(uuid4())

    async def talk() -> tuple[str, str]:
        async with open_pool(operate.database) as pool, MemoryManager(pool) as store:
            thread = Thread(store, PostgresCheckpointer(pool), user)
            return await thread.say(HOSTILE), thread.thread_id

    run_id, thread_id = asyncio.run(talk())
    [run] = operate.json("runs", "list", "--user-id", user, "--thread-id", thread_id)
    assert (run["run_id"], run["status"], run["is_head"]) == (run_id, "kept", True)
    assert operate.json("runs", "list", "--user-id", user, "--session-id", "another") == []
    assert "head" in operate.done("runs", "list", "--user-id", user)

    told = operate.json("runs", "undo", run_id, "--user-id", user, "--dry-run")
    assert ("removed", HOSTILE, None) in {
        (change["outcome"], change["before"], change["after"]) for change in told["changes"]
    }
    shown = operate.done("runs", "undo", run_id, "--user-id", user)
    assert "  - Likes [red]tea[/red]" in shown
    assert "\x1b" not in shown
    again = operate.json("runs", "redo", run_id, "--user-id", user)
    assert {change["outcome"] for change in again["changes"]} == {"brought_back"}
    assert operate("runs", "undo", "unknown", "--user-id", user).exit_code == 1


def test_what_people_stored_cannot_steer_the_terminal(operate: Operator) -> None:
    [address] = asyncio.run(put(operate, HOSTILE))
    shown = [
        operate.done("recall", ""),
        operate.done("explain", *address),
        operate.done("history", *address),
        operate.done("decay", "--days", "1", "--dry-run"),
        operate("forget", *address).output,
        operate.done("forget", *address, "--yes"),
    ]
    for output in shown:
        assert "tea" in output
        assert not {"\x1b", "\x07", "\x9b", "\u202e", "\r"} & set(output)
    assert (
        "Likes [red]tea[/red] \ufffd[2J\ufffd]0;owned\ufffd\ufffd31m\ufffd and \\[bold]" in shown[0]
    )
    assert operate.json("history", *address)["versions"][0]["content"] == HOSTILE


async def put(
    operate: Operator,
    *contents: str,
    user_id: str | None = None,
    importance: float = 0.5,
    pinned: bool = False,
) -> list[list[str]]:
    """Store memories with old times of change; return their namespaces and keys."""
    user = user_id or load_settings().local_user_id
    value = {"type": "fact", "importance": importance, "pinned": pinned}
    async with MemoryManager.from_conn_string(operate.database) as store:
        for content in contents:
            await store.aput(("users", user, "facts"), content[:10], value | {"content": content})
    await rows(operate.database, "ALTER TABLE memory.memories DISABLE TRIGGER USER")
    await rows(
        operate.database, "UPDATE memory.memories SET updated_at = now() - interval '90 days'"
    )
    await rows(operate.database, "ALTER TABLE memory.memories ENABLE TRIGGER USER")
    return [[f"users.{user}.facts", content[:10]] for content in contents]


def test_decay_does_what_its_dry_run_said(operate: Operator) -> None:
    asyncio.run(put(operate, "Trivial.", "Common.", importance=0.3))
    asyncio.run(put(operate, "Important.", importance=0.8))
    asyncio.run(put(operate, "Pinned.", importance=0.1, pinned=True))
    said = operate.json("decay", "--days", "30", "--dry-run")
    assert {each["content"]: each["trimmed"] for each in said["memories"]} == {
        "Trivial.": True, "Common.": True, "Important.": False,
    }  # fmt: skip
    assert (said["trimmed"], said["faded"]) == (2, 1)
    assert "2 memories would be trimmed" in operate.done("decay", "--days", "30", "--dry-run")
    assert operate.json("decay", "--days", "100", "--dry-run")["memories"] == []

    done = operate.json("decay", "--days", "30", "--yes")
    assert (done["trimmed"], done["faded"]) == (2, 1)
    left = operate.sql(
        "SELECT value ->> 'content' AS content, importance FROM memory.memories ORDER BY 1"
    )
    assert left == [
        {"content": "Important.", "importance": pytest.approx(0.4)},
        {"content": "Pinned.", "importance": pytest.approx(0.1)},
    ]
    assert operate("decay", "--days", "0", "--yes").exit_code == 1


def test_an_export_is_whole_private_and_replaces_an_older_one(
    operate: Operator, tmp_path: Path
) -> None:
    operate.done("remember", "Likes tea.")
    output = tmp_path / "ada.jsonl"
    output.write_text("older\n")
    told = operate.json("export-user", "--output", str(output))
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert lines[-1] == {"rows": told["rows"], "sha256": told["sha256"]}
    assert len(lines) == 2 + sum(told["rows"].values())
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert "memory.memories" in operate.done("export-user", "--output", str(output))

    refused = operate("export-user", "--output", str(tmp_path / "missing" / "a.jsonl"))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "cannot be written" in refused.stderr


def test_an_export_that_breaks_off_leaves_what_was_there(
    operate: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks_off(*_: object) -> Any:
        yield "{}"
        raise KeyboardInterrupt

    monkeypatch.setattr(MemoryManager, "export_user", breaks_off)
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "ada.jsonl").write_text("older\n")
    assert operate("export-user", "--output", str(folder / "ada.jsonl")).exit_code == 130
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [
        ("ada.jsonl", "older\n")
    ]


def test_an_erasure_removes_what_its_dry_run_counted(operate: Operator) -> None:
    user = str(uuid4())
    operate.done("remember", "Likes tea.", "--user-id", user)
    operate.done("remember", "Stays.")
    before = operate.sql("SELECT count(*) FROM memory.audit_logs WHERE user_id = %s", user)
    counted = operate.json("erase-user", "--user-id", user, "--dry-run")["erased"]
    assert counted["memory.memories"] == 1
    assert operate.sql("SELECT count(*) FROM memory.audit_logs WHERE user_id = %s", user) == before
    assert operate.sql("SELECT * FROM memory.erasures") == []

    certificate = operate.json("erase-user", "--user-id", user, "--yes")
    assert certificate["erased"] == counted
    left = operate.sql("SELECT value ->> 'content' AS content FROM memory.memories")
    assert left == [{"content": "Stays."}]
    assert (
        certificate["digest"]
        == operate.sql("SELECT encode(digest, 'hex') AS d FROM memory.erasures")[0]["d"]
    )
    assert "Certificate of erasure" in operate.done("erase-user", "--yes")


def test_what_cannot_be_undone_is_asked_for(
    operate: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    [address] = asyncio.run(put(operate, "Likes tea."))
    dangerous = (["forget", *address], ["erase-user"], ["decay", "--days", "1"])
    for command in dangerous:
        refused = operate(*command)
        assert refused.exit_code == 2
        assert "--yes" in refused.stderr
    monkeypatch.setattr(asking, "on_terminal", lambda: True)
    for command in dangerous:
        assert operate(*command, answer="n\n").exit_code == 1
        assert operate(*command, answer="").exit_code == 130
    assert len(operate.sql("SELECT key FROM memory.memories")) == 1

    def changed_meanwhile() -> bool:
        operate.sql(
            """UPDATE memory.memories SET value = value || '{"content": "Likes coffee."}'"""
        )
        return True

    monkeypatch.setattr(asking, "on_terminal", changed_meanwhile)
    changed = operate("forget", *address, answer="y\n")
    assert changed.exit_code == 1, "only the version that was shown may be forgotten"
    monkeypatch.setattr(asking, "on_terminal", lambda: True)
    assert operate("forget", *address, answer="y\n").exit_code == 0
    assert operate.sql("SELECT key FROM memory.memories") == []


def test_expired_memories_of_everybody_are_swept(operate: Operator) -> None:
    asyncio.run(put(operate, "a", "b", user_id=str(uuid4())))
    operate.sql("UPDATE memory.memories SET expires_at = now() - interval '1 hour' WHERE key = 'a'")
    assert operate.json("sweep", "--dry-run") == {"dry_run": True, "swept": 1}
    assert operate.json("sweep") == {"dry_run": False, "swept": 1}
    assert operate.done("sweep") == "0 expired memories were deleted.\n"


def test_whose_memory_must_be_said_where_people_sign_in(operate: Operator) -> None:
    operate.set(SUPABASE_URL="https://project.supabase.co", SUPABASE_SERVICE_ROLE_KEY="key")
    refused = operate("erase-user", "--yes")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--user-id" in refused.stderr


def test_what_cannot_be_meant_is_refused_in_one_sentence(operate: Operator) -> None:
    for arguments, code in (
        (["forget", "no-id", "--yes"], 2),
        (["history", "users.nobody.facts", "key"], 1),
        (["explain", "users.nobody.facts", "key"], 1),
        (["remember", " "], 1),
        (["remember", "x", "--type", "turn"], 1),
        (["recall", "x", "--type", "rumour"], 1),
    ):
        refused = operate(*arguments)
        assert (refused.exit_code, refused.stdout) == (code, ""), refused.output
        assert refused.stderr.startswith("graph-memory: ")
        assert refused.stderr.count("\n") == 1


def test_a_database_that_does_not_answer_is_another_exit_code_than_one_that_refuses(
    operate: Operator,
) -> None:
    refused = operate.url.replace("@/", "@/no_")
    for url, code in (("postgresql://postgres@127.0.0.1:1/none", 3), (refused, 1)):
        operate.set(DATABASE_URL=url)
        for arguments in (["sweep"], ["setup"], ["recall", "x", "--user-id", "a"], ["verify"]):
            ended = operate(*arguments)
            assert ended.exit_code == code, (arguments, ended.output)
            assert "check its host, port, user" in " ".join(ended.output.split())
