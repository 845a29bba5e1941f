"""The cost of fact extraction in the latency of replies: the same conversations with and without.

    .venv/bin/python -m benchmarks.reply [--runs 300] [--at-once 4] [--pause 0.25]

Each run is the whole graph with the offline model: load_context, respond, write_memory, and
checkpoints. With extraction, a worker runs in the same process and on the same Postgres, as in the
deployment. Both run in turns in one process. The ratio is the latency with extraction over the
latency without: 1.00 means that no user notices a difference.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from langchain_core.messages import HumanMessage

from benchmarks import loading
from benchmarks.measure import table
from benchmarks.peers import make_database
from graphs.agents.assistant import graph
from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.models import index_config
from graphs.deployment.pools import open_pool
from graphs.deployment.settings import Settings
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager

WITH, WITHOUT = "with facts", "without"
SAID = (
    "My budget is 80k for a welding robot.",
    "I live in Lyon and I work at Acme.",
    "What can you tell me about welding?",
    "My dog is called Rex.",
)
"""Texts that users repeat. They are stored at the start, so that both sides recall the same."""


@asynccontextmanager
async def agent(
    url: str, extractor: Mem0Extractor, people: Sequence[str], *, takes_facts: bool
) -> AsyncIterator[Any]:
    """Yield the example agent on its own database, where it knows its users, with a worker."""
    index = await asyncio.to_thread(index_config, Settings())
    async with open_pool(url) as pool:
        checkpointer = PostgresCheckpointer(pool)
        async with MemoryManager(pool, index=index, extractor=extractor, extract_after=0) as store:
            await store.setup()
            await checkpointer.setup()
            known = graph.copy({"store": store, "checkpointer": checkpointer})
            for n in range(len(SAID)):
                await asyncio.gather(*(reply(known, person, n) for person in people))
            await store.jobs.run_pending()
        store = MemoryManager(pool, index=index, extractor=extractor if takes_facts else None)
        async with store, store.jobs.working():
            yield graph.copy({"store": store, "checkpointer": checkpointer})


async def reply(agent: Any, person: str, n: int) -> float:
    """Send an agent a message and return the seconds of the run."""
    message = HumanMessage(SAID[n % len(SAID)], id=str(uuid4()))
    begin = time.perf_counter()
    with acting_as(Principal.user(person)):
        await agent.ainvoke(
            {"messages": [message]}, {"configurable": {"thread_id": f"{person}-{n // 10}"}}
        )
    return time.perf_counter() - begin


async def measure(url: str, folder: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Run the same conversations on both, in turns, and return the latencies."""
    took: dict[str, list[float]] = {WITH: [], WITHOUT: []}
    extractor = Mem0Extractor(None, folder)
    people = [str(uuid4()) for _ in range(options.at_once)]
    async with (
        agent(make_database(url, "with_facts"), extractor, people, takes_facts=True) as with_facts,
        agent(make_database(url, "without_facts"), extractor, people, takes_facts=False) as without,
    ):
        for n in range(-10, options.runs):
            for name, one in [(WITH, with_facts), (WITHOUT, without)][:: -1 if n % 2 else 1]:
                found = await asyncio.gather(*(reply(one, person, n + 10) for person in people))
                took[name] += found if n >= 0 else []
                await asyncio.sleep(options.pause)
    return took


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=int, default=300, help="runs of each user that count; ten more warm up"
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=0.25,
        help="seconds between two messages; 0 for no pause",
    )
    parser.add_argument("--at-once", type=int, default=4, help="concurrent users")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as folder,
        loading.server(Path(folder) / "postgres", "256MB") as url,
    ):
        took = asyncio.run(measure(url, Path(folder), options))
    lines = []
    for name, cut in (("p50", 50), ("p95", 95), ("p99", 99)):
        ours, theirs = (
            statistics.quantiles(took[which], n=100)[cut - 1] * 1000 for which in (WITH, WITHOUT)
        )
        lines.append([name, f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}"])
    print(table(("latency of a run", f"ms {WITH}", f"ms {WITHOUT}", "ratio"), lines))


if __name__ == "__main__":
    main()
