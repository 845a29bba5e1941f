"""The cost of memory in a run on a busy server: many conversations at once, with and without it.

    .venv/bin/python -m benchmarks.load [--conversations 100] [--turns 5] [--rounds 4] [--pause 0]

One `langgraph dev` serves the example agent and the same graph without the memory nodes. Both have
Postgres checkpoints and the offline model. In each round, all users at once have a conversation of
a few turns over the SDK, first with one agent and then with the other; the order alternates. The
same server extracts facts meanwhile. The benchmark waits for the end of these jobs, so that they do
not slow the other agent's turn. The first round is not counted.

A latency is what the client sees. With more conversations than the server has cores, most of it is
time in the queue.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import psutil
import psycopg
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import LangGraphError
from psycopg.conninfo import conninfo_to_dict

from benchmarks import loading
from benchmarks.measure import table
from benchmarks.peers import make_database
from benchmarks.progress import say

WITH, WITHOUT = "assistant", "plain"
ROOT = Path(__file__).parents[1]
START_SECONDS = 60
SAID = (
    "My budget is 80k for a welding robot.",
    "I live in Lyon and I work at Acme.",
    "What can you tell me about welding?",
    "My dog is called Rex.",
    "What is my budget?",
)


@dataclass(slots=True)
class Done:
    """The results of the conversations with one graph."""

    latencies: list[float] = field(default_factory=list)
    """Seconds of each run."""
    seconds: float = 0
    processor: dict[str, float] = field(default_factory=dict)
    """Seconds of processor time, by process."""
    errors: list[str] = field(default_factory=list)

    def percentile(self, percent: int) -> float:
        """Return a percentile of the latencies in milliseconds."""
        return statistics.quantiles(self.latencies, n=100)[percent - 1] * 1000

    @property
    def speed(self) -> float:
        """Return the runs per second."""
        return len(self.latencies) / self.seconds


@dataclass(frozen=True, slots=True)
class Served:
    """A running server, the secret that signs tokens, and the processes to watch."""

    url: str
    secret: str
    database: str
    processes: dict[str, psutil.Process]

    def processor(self) -> dict[str, float]:
        """Return the processor seconds of each watched process, with those of its children."""
        return {
            name: sum(map(_seconds, _with_children(process)))
            for name, process in self.processes.items()
        }


def _with_children(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _seconds(process: psutil.Process) -> float:
    try:
        # Own time and that of ended children, in user and in system mode.
        return float(sum(process.cpu_times()[:4]))
    except psutil.NoSuchProcess:
        return 0.0


@contextmanager
def served(folder: Path, database: str) -> Iterator[Served]:
    """Run `langgraph dev` with both agents, as `make dev` does."""
    secret, port = secrets.token_urlsafe(32), free_port()
    config = json.loads((ROOT / "langgraph.json").read_text())
    config["graphs"][WITHOUT] = "benchmarks.plain_agent:graph"
    (folder / "langgraph.json").write_text(json.dumps(config))
    quiet = {
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_NO_VERSION_CHECK": "true",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    }
    ours = {
        "DATABASE_URL": as_url(database),
        "SUPABASE_JWT_SECRET": secret,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "graphs.cli.main", "dev", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  a fixed command
            command, cwd=folder, env=os.environ | quiet | ours, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(process, url, folder / "server.log")
        yield Served(
            url,
            secret,
            database,
            {"server": psutil.Process(process.pid), "Postgres": postmaster(database)},
        )
    finally:
        process.terminate()
        process.wait()


def postmaster(database: str) -> psutil.Process:
    """Return the parent of all processes of a database's server."""
    with psycopg.connect(database) as connection:
        parent = psutil.Process(connection.info.backend_pid).parent()
    assert parent
    return parent


def as_url(conninfo: str) -> str:
    """Return a connection string as a URL, the form that DATABASE_URL takes."""
    parts = conninfo_to_dict(conninfo)
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}"


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/ok", timeout=2).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    sys.exit(f"The server did not start:\n{log.read_text()[-4000:]}")


def sign_in(secret: str) -> dict[str, str]:
    """Return the request headers of a new user."""
    until = datetime.now(UTC) + timedelta(days=1)
    claims = {"sub": str(uuid4()), "aud": "authenticated", "role": "authenticated", "exp": until}
    return {"Authorization": f"Bearer {jwt.encode(claims, secret, algorithm='HS256')}"}


async def converse(
    client: LangGraphClient,
    person: dict[str, str],
    agent: str,
    options: argparse.Namespace,
    done: Done,
) -> None:
    """Say a few things to an agent, one after the other, in a new thread."""
    thread = (await client.threads.create(headers=person))["thread_id"]
    # Not all users begin at the same time.
    await asyncio.sleep(random.uniform(0, options.pause))  # noqa: S311
    for n in range(options.turns):
        said: Any = {"messages": [{"role": "human", "content": SAID[n % len(SAID)]}]}
        begin = time.perf_counter()
        try:
            result: Any = await client.runs.wait(
                thread, agent, input=said, headers=person, raise_error=False
            )
        except (httpx.HTTPError, LangGraphError) as error:
            done.errors.append(f"{type(error).__name__}: {error}")
            continue
        done.latencies.append(time.perf_counter() - begin)
        if "__error__" in result:
            done.errors.append(str(result["__error__"]))
        await asyncio.sleep(options.pause)


async def settled(database: str) -> None:
    """Wait until no background job is left."""
    query = (
        "SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE status IN ('todo', 'doing')"
    )
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        while (await (await connection.execute(query)).fetchone()) != (0,):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def measure(server: Served, options: argparse.Namespace) -> dict[str, Done]:
    """Run the same conversations with both agents, in turns."""
    counted = {WITH: Done(), WITHOUT: Done()}
    people = [sign_in(server.secret) for _ in range(options.conversations)]
    for round_ in range(options.rounds + 1):
        for agent in (WITH, WITHOUT)[:: -1 if round_ % 2 else 1]:
            done = counted[agent] if round_ else Done()
            begin, before = time.perf_counter(), server.processor()
            async with get_client(url=server.url, api_key=None) as client:
                await asyncio.gather(
                    *(converse(client, person, agent, options, done) for person in people)
                )
            took = time.perf_counter() - begin
            await settled(server.database)
            done.seconds += took
            used = {name: seconds - before[name] for name, seconds in server.processor().items()}
            for name, seconds in used.items():
                done.processor[name] = done.processor.get(name, 0) + seconds
            told = ", ".join(f"{seconds:.1f} s of {name}" for name, seconds in used.items())
            say(
                f"round {round_} of {options.rounds}, {agent}: {took:.1f} s, {told}, "
                f"{len(done.errors)} errors"
            )
    return counted


def report(counted: dict[str, Done]) -> str:
    """Return two tables: the latencies, and the number of runs."""
    ours, theirs = counted[WITH], counted[WITHOUT]
    lines = [
        [f"latency of a run, p{percent}", f"{a:.0f}", f"{b:.0f}", f"{a - b:+.0f}", f"{a / b:.2f}"]
        for percent in (50, 95, 99)
        for a, b in [(ours.percentile(percent), theirs.percentile(percent))]
    ]
    for name in ours.processor:
        a, b = (done.processor[name] / len(done.latencies) * 1000 for done in (ours, theirs))
        lines.append(
            [
                f"processor time of {name} for a run",
                f"{a:.1f}",
                f"{b:.1f}",
                f"{a - b:+.1f}",
                f"{a / b:.2f}",
            ]
        )
    a, b = ours.speed, theirs.speed
    lines.append(["runs per second", f"{a:.1f}", f"{b:.1f}", f"{a - b:+.1f}", f"{a / b:.2f}"])
    lines.append(["errors", str(len(ours.errors)), str(len(theirs.errors)), "", ""])
    return table(("ms", "with memory", "without", "difference", "ratio"), lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its tables; exit with 1 if a run failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--conversations", type=int, default=100, help="conversations at once")
    parser.add_argument("--turns", type=int, default=5, help="messages of each user in a round")
    parser.add_argument(
        "--rounds", type=int, default=4, help="rounds that count; one more warms up"
    )
    parser.add_argument(
        "--pause", type=float, default=0, help="seconds before the next message of each user"
    )
    options = parser.parse_args(arguments)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with (
        tempfile.TemporaryDirectory() as name,
        loading.server(Path(name) / "postgres", "256MB") as postgres,
    ):
        database = make_database(postgres, "load")
        (project := Path(name) / "project").mkdir()
        with served(project, database) as server:
            counted = asyncio.run(measure(server, options))
    print(report(counted))
    if failed := [error for done in counted.values() for error in done.errors]:
        sys.exit(f"{len(failed)} runs failed, such as: {failed[0]}")


if __name__ == "__main__":
    main()
