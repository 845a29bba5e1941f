"""One person's gets beside another person's worst searches.

    .venv/bin/python -m benchmarks.neighbours [--items 30000] [--seconds 10] [--searches 8]

One person has many items, and searches them over and over, several times at once, with as many
conditions as a filter may have. Another person gets one item after the other. The table has the
times of the gets, alone and beside the searches, and of the searches.
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmarks import loading
from benchmarks.measure import table
from graphs.memory.errors import StatementTimeout
from graphs.memory.principal import Principal, acting_as
from graphs.memory.search.filters import MOST_CONDITIONS
from graphs.memory_manager import MemoryManager

HEAD = ("calls", "number", "p50 ms", "p99 ms", "longest ms")
PORTION = 1_000
BUSY, CALM = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
WORST = {"$or": [{"content": {"$contains": f"x{n}"}} for n in range(MOST_CONDITIONS)]}
"""The most expensive filter: no condition fits, so that every one is tried on every item."""


async def load(store: MemoryManager, items: int) -> None:
    """Store the items of both people."""
    await store.aput(("users", CALM), "calm", {"content": "calm"}, index=False)
    for at in range(0, items, PORTION):
        puts = [
            (("users", BUSY), str(n), {"content": f"item {n}", "type": "fact", "n": n})
            for n in range(at, min(at + PORTION, items))
        ]
        await asyncio.gather(*(store.aput(*put, index=False) for put in puts))


async def get(store: MemoryManager, seconds: float) -> list[float]:
    """Get an item again and again as the calm person, and return the seconds of each get."""
    times, end = [], time.perf_counter() + seconds
    with acting_as(Principal.user(CALM)):
        while (begun := time.perf_counter()) < end:
            assert await store.aget(("users", CALM), "calm")
            times.append(time.perf_counter() - begun)
            await asyncio.sleep(0.005)
    return times


async def search(store: MemoryManager, times: list[float]) -> None:
    """Search as the busy person until cancelled, and note the seconds of each search."""
    with acting_as(Principal.user(BUSY)):
        while True:
            begun = time.perf_counter()
            with suppress(StatementTimeout):
                await store.asearch(("users", BUSY), filter=WORST)
            times.append(time.perf_counter() - begun)


async def measure(url: str, options: argparse.Namespace) -> list[list[str]]:
    """Load, measure, and return the rows of the table."""
    async with MemoryManager.from_conn_string(url, statement_timeout=options.timeout) as store:
        await store.setup()
        await load(store, options.items)
        alone = await get(store, options.seconds / 4)
        searched: list[float] = []
        searches = [asyncio.create_task(search(store, searched)) for _ in range(options.searches)]
        await asyncio.sleep(0.1)
        beside = await get(store, options.seconds)
        for task in searches:
            task.cancel()
        await asyncio.gather(*searches, return_exceptions=True)
    measured = {"gets alone": alone, "gets beside searches": beside, "searches": searched}
    return [[name, str(len(times)), *_told(times)] for name, times in measured.items()]


def _told(times: Sequence[float]) -> list[str]:
    """Return median, 99th percentile and maximum of some seconds, in milliseconds."""
    if not times:
        return [""] * 3
    return [f"{1000 * number:.1f}" for number in np.percentile(times, [50, 99, 100])]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=30_000, help="items of the busy person")
    parser.add_argument("--seconds", type=float, default=10, help="seconds of gets beside searches")
    parser.add_argument("--searches", type=int, default=8, help="searches at once")
    parser.add_argument(
        "--timeout", type=float, default=30, help="seconds after which a search is cancelled"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, loading.server(Path(folder), None) as url:
        lines = asyncio.run(measure(url, options))
    print(table(HEAD, lines))


if __name__ == "__main__":
    main()
