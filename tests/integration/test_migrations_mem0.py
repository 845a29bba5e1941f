"""Migrations from the Mem0 Platform: pages, rate limits, failures, and kills in the middle."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from graphs.memory_manager import MemoryManager
from graphs.operations.errors import SourceFailed, SourceUnavailable
from graphs.operations.migration import mem0_cloud
from graphs.operations.migration.comparing import Question
from graphs.operations.migration.mem0_cloud import Mem0Platform, mem0_platform
from graphs.operations.operations import Operations
from tests.support import dying_migration
from tests.support.mem0_platform_stub import ANN, BOB, Mem0Account, memory
from tests.support.operator import Operator
from tests.support.outside import TOKEN, Fault
from tests.support.sql import rows

FACTS = ("users", ANN, "facts")


@pytest.fixture
def account() -> Iterator[Mem0Account]:
    with Mem0Account().running() as stub:
        yield stub


@pytest.fixture
async def source(account: Mem0Account, tmp_path: Path) -> AsyncIterator[Mem0Platform]:
    async with mem0_platform(TOKEN, account.url, tmp_path, first_wait=0.01) as source:
        yield source


@pytest.fixture
async def store(store: MemoryManager) -> MemoryManager:
    await store.setup()
    return store


async def test_ids_times_owners_categories_and_history_are_kept(
    store: MemoryManager, account: Mem0Account, source: Mem0Platform
) -> None:
    changed = {"event": "UPDATE", "old_memory": "Likes tea.", "new_memory": "Likes coffee."}
    account.memories = [
        memory(0, memory="Likes coffee.", run_id="run-7", app_id="shop"),
        memory(1, user_id=None, agent_id="sommelier", memory="Tea is drunk warm."),
        memory(2, user_id=None, run_id="run-8"),
    ]
    told = account.memories[0]
    account.histories[told["id"]] = [
        {**changed, "created_at": told["created_at"], "updated_at": told["updated_at"]},
        {
            "event": "ADD",
            "old_memory": None,
            "created_at": told["created_at"],
            "updated_at": told["created_at"],
        },
    ]
    done = await Operations(store).migrations.run(source)
    assert (done.total, done.brought, done.rejected, done.options) == (3, 2, 1, {"history": True})
    item = await store.aget(FACTS, told["id"])
    assert item is not None
    assert item.created_at == datetime.fromisoformat(told["created_at"])
    assert item.updated_at == datetime.fromisoformat(told["updated_at"])
    assert item.value["content"] == "Likes coffee."
    assert (item.value["tags"], item.value["metadata"]) == (["drinks"], {"n": 0, "app_id": "shop"})
    [version] = (await store.memories.history(ANN, (FACTS, item.key))).items
    assert (version.value["content"], version.valid_from, version.valid_to) == (
        "Likes tea.",
        item.created_at,
        item.updated_at,
    )
    knowledge = await store.aget(("agents", "sommelier", "facts"), account.memories[1]["id"])
    assert knowledge is not None
    assert knowledge.value["agent"] == "sommelier"


async def test_every_page_is_read_whoever_the_memories_belong_to(
    store: MemoryManager, account: Mem0Account, source: Mem0Platform, database: str
) -> None:
    account.memories = [
        memory(n, agent_id="a" if n % 3 else None, run_id="r" if n % 5 else None)
        for n in range(250)
    ]
    done = await Operations(store).migrations.run(source)
    assert (done.brought, done.total, done.status) == (250, 250, "finished")
    assert (await Operations(store).migrations.verify(str(done.id), source)).matches
    owners = await rows(
        database, "SELECT user_id, count(*) AS n FROM memory.memories GROUP BY 1 ORDER BY 1"
    )
    assert owners == [{"user_id": ANN, "n": 125}, {"user_id": BOB, "n": 125}]
    again = await Operations(store).migrations.run(source)
    assert (again.brought, again.present) == (0, 250)


async def test_the_service_is_asked_again_when_it_says_so_and_no_sooner(
    store: MemoryManager, account: Mem0Account, source: Mem0Platform
) -> None:
    account.memories = [memory(n) for n in range(5)]
    account.faults = [
        Fault(r"POST /v3/memories/\?", status=429, headers=(("Retry-After", "1"),)),
        Fault(r"GET /v1/memories/.*history", status=503),
        Fault(r"GET /v1/memories/.*history", lost=True),
    ]
    begun = asyncio.get_running_loop().time()
    done = await Operations(store).migrations.run(source)
    assert done.brought == 5
    # The waiting time that the server asked for.
    assert asyncio.get_running_loop().time() - begun >= 1
    assert account.faults == []


async def test_a_service_that_is_away_pauses_the_migration_and_one_that_refuses_is_told(
    store: MemoryManager,
    account: Mem0Account,
    source: Mem0Platform,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(mem0_cloud, "_ATTEMPTS", 2)
    account.memories = [memory(n) for n in range(150)]
    account.faults = [Fault(r"POST /v3/memories/\?page=2", status=500) for _ in range(2)]
    with pytest.raises(SourceUnavailable):
        await Operations(store).migrations.run(source)
    [paused] = await Operations(store).migrations.list()
    assert (paused.status, paused.brought) == ("paused", 100)
    account.faults = [Fault(r"POST /v3/memories/\?", status=401)]
    with pytest.raises(SourceFailed, match="MEM0_API_KEY"):
        await Operations(store).migrations.run(source)
    account.project = "p2"
    async with mem0_platform(TOKEN, account.url, tmp_path) as another:
        assert (await Operations(store).migrations.preview(another)).goes_on_with is None
    done = await Operations(store).migrations.run(source)
    assert (done.id, done.brought, done.present) == (paused.id, 150, 0)


async def test_the_same_questions_find_the_same_on_both_sides(
    store: MemoryManager, account: Mem0Account, source: Mem0Platform
) -> None:
    drinks = ["tea", "coffee", "water", "wine", "milk"]
    account.memories = [
        memory(2 * n, memory=f"Likes {drink} in the morning.") for n, drink in enumerate(drinks)
    ]
    done = await Operations(store).migrations.run(source)
    migrations = Operations(store).migrations
    made = await migrations.compare(str(done.id), source)
    assert made is not None
    assert (made.overlap, len(made.questions), made.limit) == (1.0, 5, 10)
    await store.adelete(FACTS, account.memories[3]["id"])
    asked = [Question(scope=("users", ANN), query="wine")]
    missing = await migrations.compare(str(done.id), source, asked, limit=1)
    assert missing is not None
    assert missing.overlap == 0


async def die(database: str, url: str, steps: int, folder: Path) -> int | None:
    arguments = ["-m", "tests.support.dying_migration", database, url, str(steps), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    return await process.wait()


async def test_killed_at_random_it_goes_on_and_nothing_is_lost_or_doubled(
    store: MemoryManager,
    account: Mem0Account,
    source: Mem0Platform,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mem0_cloud, "PAGE", dying_migration.PAGE)
    account.memories = [memory(n) for n in range(130)]
    for told in account.memories:
        times = {"created_at": told["created_at"], "updated_at": told["updated_at"]}
        account.histories[told["id"]] = [{"event": "UPDATE", "old_memory": "Before.", **times}]
    steps = [random.randint(5, 45) for _ in range(2)]  # noqa: S311  not a secret
    for each in steps:
        assert await die(database, account.url, each, tmp_path) == -9, steps
    done = await Operations(store).migrations.run(source)
    assert (done.status, done.brought, done.present, done.rejected) == ("finished", 130, 0, 0), (
        steps
    )
    [counted] = await rows(
        database,
        """SELECT (SELECT count(*) FROM memory.memories) AS memories,
        (SELECT count(*) FROM memory.memory_history) AS history,
        (SELECT count(*) FROM memory.memory_embeddings) AS vectors,
        (SELECT count(*) FROM memory.migrated_memories) AS noted,
        (SELECT sum((data ->> 'memories')::int) FROM memory.audit_logs
         WHERE action = 'memory.imported') AS recorded,
        (SELECT count(*) FROM memory.migrations) AS migrations""",
    )
    assert counted == {
        **dict.fromkeys(("memories", "history", "vectors", "noted", "recorded"), 130),
        "migrations": 1,
    }
    assert {row["key"] for row in await rows(database, "SELECT key FROM memory.memories")} == {
        told["id"] for told in account.memories
    }


def test_ctrl_c_pauses_when_a_page_is_stored(operate: Operator, account: Mem0Account) -> None:
    operate.set(MEM0_API_KEY=TOKEN, MEM0_HOST=account.url)
    account.memories = [memory(n) for n in range(250)]
    answering = account.answer

    def interrupted(
        method: str, path: str, query: dict[str, str], headers: Any, body: Any
    ) -> tuple[int, Any]:
        if query.get("page") == "2":
            os.kill(os.getpid(), signal.SIGINT)
        return answering(method, path, query, headers, body)

    account.answer = interrupted  # type: ignore[method-assign]
    result = operate("migrate", "mem0-platform", "--no-history", "--json")
    told = json.loads(result.stdout)["migration"]
    assert (result.exit_code, told["status"], told["brought"]) == (130, "paused", 200)
    account.answer = answering  # type: ignore[method-assign]
    done = operate.json("migrate", "mem0-platform", "--no-history")["migration"]
    assert (done["id"], done["brought"], done["present"]) == (told["id"], 250, 0)


def test_the_command_reads_writes_a_file_and_brings(
    operate: Operator, account: Mem0Account, tmp_path: Path
) -> None:
    assert "MEM0_API_KEY" in operate("migrate", "mem0-platform").stderr
    operate.set(MEM0_API_KEY=TOKEN, MEM0_HOST=account.url)
    account.memories = [memory(0, memory="Likes tea."), memory(2, memory="Drives to work.")]
    times = {"created_at": "2024-07-21T00:00:00Z", "updated_at": "2024-07-21T00:00:00Z"}
    account.histories[account.memories[0]["id"]] = [
        {"event": "UPDATE", "old_memory": "Likes milk.", **times}
    ]
    assert operate.json("migrate", "mem0-platform", "--dry-run")["new"] == 2
    file = tmp_path / "mem0.jsonl"
    assert operate.json("migrate", "mem0-platform", "--to", str(file))["written"] == 2
    queries = tmp_path / "queries.jsonl"
    queries.write_text(json.dumps({"user_id": ANN, "query": "tea"}) + "\n")
    done = operate.json("migrate", "mem0-platform", "--queries", str(queries))
    assert (done["migration"]["brought"], done["parity"]["overlap"]) == (2, 1.0)
    shown = (
        "SELECT namespace, key, value, created_at, updated_at FROM memory.memories ORDER BY 1, 2"
    )
    brought = (
        operate.sql(shown),
        operate.sql("SELECT value, valid_from, valid_to FROM memory.memory_history"),
    )
    operate.done("migrate", "rollback", done["migration"]["id"], "--yes")
    assert operate.json("migrate", "jsonl", str(file))["migration"]["brought"] == 2
    assert brought == (
        operate.sql(shown),
        operate.sql("SELECT value, valid_from, valid_to FROM memory.memory_history"),
    )
    account.faults = [Fault("POST", status=429, headers=(("Retry-After", "3600"),))]
    result = operate("migrate", "mem0-platform")
    assert (result.exit_code, "3,600 seconds" in result.stderr, TOKEN in result.output) == (
        3,
        True,
        False,
    )
