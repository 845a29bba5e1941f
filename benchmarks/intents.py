"""The cost of deliveries to external services, and losses and duplicates when calls fail.

    .venv/bin/python -m benchmarks.intents [--intents 10000] [--faults 0.05] [--users 500]

Memories are written, changed and forgotten. The adapter for hosted Mem0 delivers them to a Mem0 in
this process that, like the real one, takes no idempotency key. Some of its calls fail: half of them
before they have an effect, half of them after. At the end, its copies are compared with the
memories.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from benchmarks import loading
from benchmarks.measure import table
from benchmarks.peers import make_database
from graphs.adapters.mem0_platform import Mem0Adapter
from graphs.deployment.pools import open_pool
from graphs.memory.jobs.tasks import Timing
from graphs.memory.outbox.adapter import (
    Copies,
    Outbound,
    Outgoing,
    SwitchedAdapter,
)
from graphs.memory.principal import Principal
from graphs.memory_manager import MemoryManager

HEAD = ("time", "median ms", "p99 ms")
KEY = b"a key of the benchmark"
TEXT = (
    "Note {n}: write to user{n}@example.com, or call +1 202 555 0142, "
    "before the welding robot comes."
)


class Fault(Exception):
    """An injected error that looks like one of the client's."""

    error_code = "HTTP_503"
    debug_info: dict[str, Any] = {}  # noqa: RUF012  never modified


class Gone(Fault):
    """An error for a memory that does not exist."""

    error_code = "HTTP_404"


class FaultyMem0:
    """Hosted Mem0 with the interface of its client.

    Args:
        faults: The share of calls that fail.
    """

    def __init__(self, faults: float) -> None:
        self.memories: dict[str, dict[str, Any]] = {}
        self.failed = 0
        self._of_reference: dict[str, list[str]] = {}
        self._faults = faults
        self._random = random.Random(1)  # noqa: S311  not a secret

    async def _failing(self, work: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        chance = self._random.random()
        if chance < self._faults / 2:
            self.failed += 1
            raise Fault
        done = work()
        if chance < self._faults:
            self.failed += 1
            raise Fault
        return done

    async def add(self, messages: Any, *, metadata: Any, **_: object) -> Any:
        def work() -> Any:
            memory_id = str(uuid4())
            self.memories[memory_id] = {
                "id": memory_id,
                "text": messages[0]["content"],
                "metadata": metadata,
            }
            self._of_reference.setdefault(metadata["reference"], []).append(memory_id)
            return {"status": "PENDING", "event_id": memory_id}

        return await self._failing(work)

    async def ping(self) -> None:
        await asyncio.sleep(0)

    async def event(self, _: str) -> Any:
        return await self._failing(lambda: {"status": "SUCCEEDED", "results": []})

    async def get_all(self, *, filters: Any, **_: object) -> Any:
        reference = filters["AND"][1]["metadata"]["reference"]
        return await self._failing(
            lambda: {
                "results": [
                    self.memories[i]
                    for i in self._of_reference.get(reference, ())
                    if i in self.memories
                ]
            }
        )

    async def update(self, memory_id: str, *, text: str, **_: object) -> Any:
        if memory_id not in self.memories:
            raise Gone
        return await self._failing(lambda: self.memories[memory_id].update(text=text))

    async def delete(self, memory_id: str) -> Any:
        if memory_id not in self.memories:
            raise Gone
        return await self._failing(lambda: self.memories.pop(memory_id))


class Timed(Mem0Adapter):
    """The adapter, with the time that each delivery takes."""

    def __init__(self, client: FaultyMem0) -> None:
        super().__init__(client, Fault)
        self.seconds = 0.0

    async def deliver(self, outgoing: Outgoing) -> Copies:
        started = time.perf_counter()
        try:
            return await super().deliver(outgoing)
        finally:
            self.seconds += time.perf_counter() - started


async def tell(store: MemoryManager, users: Sequence[str], intents: int) -> list[float]:
    """Write, change and forget memories; return the seconds from each call to its commit."""
    chances = random.Random(2)  # noqa: S311  not a secret
    keys: dict[str, list[str]] = {user: [] for user in users}
    seconds: list[float] = []

    async def one(n: int) -> None:
        user = users[n % len(users)]
        scope, known, chance = ("users", user, "facts"), keys[user], chances.random()
        started = time.perf_counter()
        if known and chance < 0.1:
            await store.adelete(scope, known.pop())
        else:
            key = known[-1] if known and chance < 0.3 else str(n)
            await store.aput(scope, key, {"content": TEXT.format(n=n), "type": "fact"}, index=False)
            if key not in known:
                known.append(key)
        seconds.append(time.perf_counter() - started)

    for first in range(0, intents, 16):
        await asyncio.gather(*(one(n) for n in range(first, min(first + 16, intents))))
    return seconds


async def measure(url: str, options: argparse.Namespace) -> None:
    """Write the memories, deliver them, and print the comparison."""
    mem0 = FaultyMem0(options.faults)
    adapter = Timed(mem0)
    users = [str(uuid4()) for _ in range(options.users)]
    async with (
        open_pool(url, max_size=20) as pool,
        MemoryManager(
            pool,
            principal=Principal.service(),
            timing=Timing(poll=options.poll, backoff=options.backoff),
            outbound=Outbound([SwitchedAdapter(adapter)], KEY),
        ) as store,
    ):
        await store.setup()
        taken = await tell(store, users[:10], 200)  # warms up
        await store.jobs.run_pending()
        started = time.perf_counter()
        async with store.jobs.working(concurrency=options.concurrency):
            taken = await tell(store, users, options.intents)
            told = time.perf_counter() - started
            while (await store.deliveries.health())[0].pending:  # noqa: ASYNC110  nothing signals it
                await asyncio.sleep(0.5)
            drained = time.perf_counter() - started
    report(url, options, mem0, taken, told, drained)


def report(
    url: str,
    options: argparse.Namespace,
    mem0: FaultyMem0,
    taken: list[float],
    told: float,
    drained: float,
) -> None:
    """Print the times, the losses and the duplicates."""
    with psycopg.connect(url) as conn:
        arrivals = [
            float(row[0])
            for row in conn.execute(
                "SELECT extract(epoch FROM delivered_at - created_at) FROM memory.deliveries "
                "WHERE status = 'delivered'"
            )
        ]
        statuses: dict[str, int] = dict(
            conn.execute("SELECT status, count(*) FROM memory.deliveries GROUP BY 1").fetchall()
        )
        memories = conn.execute("SELECT count(*) FROM memory.memories").fetchone()
        work = [
            float(row[0])
            for row in conn.execute(
                """SELECT extract(epoch FROM max(e.at) FILTER (WHERE e.type = 'succeeded')
                  - max(e.at) FILTER (WHERE e.type = 'started'))
                FROM procrastinate.procrastinate_events AS e
                JOIN procrastinate.procrastinate_jobs AS j ON j.id = e.job_id
                WHERE j.task_name = 'deliver' AND j.status = 'succeeded' GROUP BY e.job_id"""
            )
        ]
    copies = Counter(memory["metadata"]["reference"] for memory in mem0.memories.values())
    leaked = sum("@example.com" in memory["text"] for memory in mem0.memories.values())
    print(
        f"{options.intents:,} intents of {options.users} users, {mem0.failed:,} injected faults\n"
    )
    times = {
        "from the call to the commit": taken,
        "the orchestrator: read, redact, hand on, note": work,
        "from the commit to the arrival": arrivals,
    }
    print(table(HEAD, [line(name, seconds) for name, seconds in times.items()]))
    total = sum(statuses.values())
    print(
        f"\nwritten in {told:.1f} s, all delivered after {drained:.1f} s: "
        f"{total / drained:.0f} deliveries a second"
    )
    print(f"failure rate {statuses.get('failed', 0) / total:.4%}; {statuses}")
    lost = (memories[0] if memories else 0) - len(copies)
    print(f"lost {lost}, duplicated {sum(n - 1 for n in copies.values())}, not redacted {leaked}")


def line(name: str, seconds: Sequence[float]) -> list[str]:
    """Return a row of the table."""
    p99 = statistics.quantiles(seconds, n=100)[98]
    return [name, f"{statistics.median(seconds) * 1000:.2f}", f"{p99 * 1000:.2f}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--intents", type=int, default=10_000, help="number of deliveries")
    parser.add_argument("--users", type=int, default=500, help="number of users")
    parser.add_argument(
        "--faults", type=float, default=0.05, help="share of the service's calls that fail"
    )
    parser.add_argument("--concurrency", type=int, default=8, help="deliveries at once")
    parser.add_argument(
        "--poll", type=float, default=1.0, help="seconds between two polls of the queue"
    )
    parser.add_argument(
        "--backoff", type=int, default=1, help="seconds until a failed delivery is retried"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, loading.server(Path(folder), "1GB") as url:
        asyncio.run(measure(make_database(url, "intents"), options))


if __name__ == "__main__":
    main()
