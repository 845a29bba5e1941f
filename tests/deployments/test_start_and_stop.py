"""A server starts without keys, ends cleanly, and survives crashes and lost connections."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import make_project
from tests.support.chat import facts, says, talk
from tests.support.postgres import OwnPostgres
from tests.support.server import Server


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Return a function that starts servers in named folders; kill what still runs at the end."""
    servers: list[Server] = []

    def starter(name: str = "project", **environment: str) -> Server:
        folder = tmp_path / name
        server = Server(
            folder if folder.exists() else make_project(folder), environment=environment
        )
        servers.append(server)
        return server.start()

    yield starter
    for server in servers:
        if server.process and server.process.poll() is None:
            server.stop()


def postgres_processes(folder: Path) -> list[psutil.Process]:
    """Return the Postgres servers whose data directories are in a folder."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        arguments = process.info["cmdline"] or []
        if process.info["name"] == "postgres" and any(a.startswith(str(folder)) for a in arguments):
            found.append(process)
    return found


@pytest.mark.timeout(300)  # five starts
async def test_a_checkout_without_any_setting_remembers_over_its_ends_and_crashes_beside_another(
    start: Callable[..., Server],
) -> None:
    """Use no key, database or sign-in: there is one local user, and an embedded Postgres."""
    first = start()
    thread_id = await the_first_start_remembers_and_ends_with_its_database(first)
    lose_threads_of_queued_runs(first.folder)

    # The second start must find the thread, its state and the memory.
    again = start()
    client = again.client()
    state: Any = await client.threads.get_state(thread_id)
    assert state["values"]["messages"][0]["content"] == "My budget is 80k."
    await facts(client)
    assert "80k" in await talk(client, "what is my budget?")
    result: Any = await client.runs.wait(thread_id, "assistant", input=says("what is my budget?"))
    assert len(result["messages"]) == 4

    other = start("other", BG_JOB_ISOLATED_LOOPS="true")
    await runs_on_event_loops_of_their_own_share_the_memory(other)
    await after_crashes_the_next_start_works_and_ends_cleanly(again, start)

    assert "80k" not in await talk(other.client(), "what is my budget?"), (
        "servers of two checkouts run side by side"
    )
    assert postgres_processes(other.folder)
    assert other.stop() == 0
    assert not postgres_processes(other.folder)


async def the_first_start_remembers_and_ends_with_its_database(server: Server) -> str:
    client = server.client()
    thread_id = str((await client.threads.create())["thread_id"])
    await talk(client, "My budget is 80k.", thread_id)
    assert postgres_processes(server.folder)
    async with httpx.AsyncClient(base_url=server.url) as http:
        for foreign in ({"Host": "rebound.example"}, {"Origin": "https://page.example"}):
            for route in ("/threads/search", "/memory/recall", "/store/items/search"):
                assert (await http.post(route, json={}, headers=foreign)).status_code == 403

    assert server.stop(signal.SIGINT) == 0
    assert not postgres_processes(server.folder)
    log = server.log.read_text()
    assert "one local user" in log
    assert "Traceback" not in log
    return thread_id


def lose_threads_of_queued_runs(folder: Path) -> None:
    """Fill the server's queue with runs whose threads are gone, as versions before this one did.

    Each of them kept a worker from its work for ever.
    """
    # The server's own file: its classes load only in a process with the server's settings.
    settings = dict.fromkeys(("DATABASE_URI", "REDIS_URI", "MIGRATIONS_PATH"), "__inmem")
    settings["LANGGRAPH_RUNTIME_EDITION"] = "inmem"
    subprocess.run(
        [sys.executable, "-c", LOSE_THREADS], cwd=folder, env=os.environ | settings, check=True
    )


LOSE_THREADS = """
from uuid import uuid4
from langgraph.checkpoint.memory import PersistentDict
kept = PersistentDict(filename=".langgraph_api/.langgraph_ops.pckl")
kept.load()
lost = [{**kept["runs"][0], "status": "pending"} for _ in range(50)]
kept["runs"] += [{**run, "run_id": uuid4(), "thread_id": uuid4()} for run in lost]
kept.sync()
"""


async def runs_on_event_loops_of_their_own_share_the_memory(server: Server) -> None:
    """Set BG_JOB_ISOLATED_LOOPS: each worker gets a thread, an event loop, and so a store."""
    await asyncio.gather(
        *(talk(server.client(), f"My robot number {n} is called R{n}.") for n in range(10))
    )
    assert len(await facts(server.client(), 10)) == 10


async def after_crashes_the_next_start_works_and_ends_cleanly(
    running: Server, start: Callable[..., Server]
) -> None:
    """Kill the server with a job in its queue; then kill it together with its Postgres."""
    await talk(running.client(), "My dog is called Rex.")
    running.kill()

    again = start()
    await facts(again.client(), 2)
    assert "Rex" in await talk(again.client(), "who is my dog?")
    again.kill()
    for process in postgres_processes(again.folder):
        process.kill()
        process.wait(10)

    after_both = start()
    assert "80k" in await talk(after_both.client(), "what is my budget?")
    assert after_both.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
    assert not postgres_processes(after_both.folder)


async def test_a_worker_of_its_own_does_the_jobs_of_a_server_that_leaves_them(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    with OwnPostgres(tmp_path / "elsewhere") as postgres:
        server = start(DATABASE_URL=postgres.url, MEMORY_WORKER="false")
        client = server.client()
        await talk(client, "My first car is red.")
        await asyncio.sleep(1)
        assert (await client.store.search_items((), filter={"type": "fact"}))["items"] == [], (
            "the server leaves the facts to the job"
        )

        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "graphs.cli.main", "worker",
            cwd=server.folder, env=server.env(), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert await facts(client) == ["My first car is red."]
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(worker.wait(), 15) == 0
        server.stop()


async def test_a_database_that_goes_away_for_ten_seconds_is_survived(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    """Stop the database under a run, and under the server's own worker."""
    with OwnPostgres(tmp_path / "elsewhere") as postgres:
        server = start(DATABASE_URL=postgres.url)
        client = server.client()
        await talk(client, "My first car is red.")
        thread_id = (await client.threads.create())["thread_id"]
        run: Any = await client.runs.create(thread_id, "slow", input=says("My second car is blue."))
        await asyncio.sleep(1)

        async with httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.get("/memory/health")).status_code == httpx.codes.OK
            postgres.stop()
            await asyncio.sleep(1.1)  # longer than the health report is cached
            assert (await http.get("/memory/health")).status_code == httpx.codes.SERVICE_UNAVAILABLE
        await asyncio.sleep(8)
        postgres.start()

        await client.runs.join(thread_id, run["run_id"])
        assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "success", (
            "the run waits for the database"
        )
        await facts(client, 2)
        assert "red" in await talk(client, "what colour is my first car?")
        assert "blue" in await talk(client, "what colour is my second car?")
        await talk(client, "My third car is green.")
        await facts(client, 3)
        assert "green" in await talk(client, "what colour is my third car?")
        server.stop()
