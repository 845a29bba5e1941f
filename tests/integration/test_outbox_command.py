"""`graph-memory outbox`, run as an operator runs it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig
from psycopg.conninfo import conninfo_to_dict

from graphs.memory_manager import MemoryManager
from tests.conftest import as_url
from tests.integration.test_deliveries import fact
from tests.support.adapters import Notebook, outbound_to


@pytest.fixture
def outbox(postgres: str, database: str, tmp_path: Path) -> list[str]:
    """A database in which a delivery waits for an adapter that is not switched on."""
    return [as_url(postgres, str(conninfo_to_dict(database)["dbname"])), str(tmp_path)]


def command(outbox: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": outbox[0], "DATA_DIR": outbox[1]}
    run = [sys.executable, "-m", "graphs.cli.main", "outbox", *arguments]
    return subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60)


async def test_an_operator_looks_at_dead_letters_and_replays_them(
    outbox: list[str], database: str, index: IndexConfig
) -> None:
    async with MemoryManager.from_conn_string(database, index=index, outbound=outbound_to(Notebook())) as store:
        await store.write_memory(user := str(uuid4()), "s1", fact(user, "Likes tea."))
    async with MemoryManager.from_conn_string(database, index=index) as store:
        await store.jobs.run_pending()
        [skipped] = await store.deliveries.list()

        listed = await asyncio.to_thread(command, outbox, "list", "--status", "skipped")
        assert str(skipped.id) in listed.stdout, listed.stderr
        assert "notebook  memory_written" in listed.stdout
        assert (await asyncio.to_thread(command, outbox, "list")).stdout == ""
        replayed = await asyncio.to_thread(command, outbox, "replay", str(skipped.id))
        assert replayed.stdout == "1 queued again.\n"
        health = await asyncio.to_thread(command, outbox, "health")
        assert "notebook (off): is switched off; 1 pending, 0 failed" in health.stdout
        assert [d.status for d in await store.deliveries.list()] == ["pending"]


def test_what_cannot_be_meant_is_refused_in_one_sentence(outbox: list[str]) -> None:
    for arguments in (["replay"], ["replay", str(uuid4()), "--adapter", "mem0"], ["list", "--status", "dead"]):
        refused = command(outbox, *arguments)
        assert refused.returncode == 1
        assert refused.stderr.startswith("graph-memory: ")
    assert "switched on" in command(outbox, "tell", "mem0").stderr
    for unknown in (str(uuid4()), "42"):
        assert "There is no delivery" in command(outbox, "replay", unknown).stderr
