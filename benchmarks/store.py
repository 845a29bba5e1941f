"""The store against LangGraph's AsyncPostgresStore: the same work, in turns, on the same server, in one run.

    .venv/bin/python -m benchmarks.store [--items 10000] [--rounds 7]

Both get a pool of ten connections and the offline embedding model. Ours also writes history and audit, and enforces
row-level security as a signed-in user. The ratio is the median, over the rounds, of their throughput against ours:
above 1 we are faster. `recall` is how many of the true ten nearest items of a user's namespace a search returns.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import numpy as np
import psycopg
from langgraph.store.base import BaseStore, PutOp
from langgraph.store.postgres import AsyncPostgresStore
from psycopg.conninfo import make_conninfo

from graphs.embedded_postgres import embedded_postgres
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.models import OfflineEmbeddings

PER_USER = 100
CALLS = 200
SUBJECTS = ("welding robot", "loan", "dealer in Porto", "garden", "invoice", "spare part", "holiday", "training course")

Work = Callable[[BaseStore, int], Awaitable[Any]]


def user(n: int) -> str:
    return str(UUID(int=n + 1))


def namespace(n: int) -> tuple[str, ...]:
    return ("users", user(n), "notes")


def text(n: int) -> str:
    return (
        f"Note {n} about a {SUBJECTS[n % len(SUBJECTS)]} and a {SUBJECTS[n // 8 % len(SUBJECTS)]}, price {n * 7 % 1000}"
    )


@asynccontextmanager
async def stores(url: str, embeddings: OfflineEmbeddings) -> AsyncIterator[dict[str, BaseStore]]:
    """Both stores, each in a database of its own."""
    with psycopg.connect(url, autocommit=True) as conn:
        for name in ("theirs", "ours"):
            conn.execute(cast("Any", f"CREATE DATABASE {name}"))
    index: Any = {"dims": 256, "embed": embeddings, "fields": ["text"]}
    theirs = AsyncPostgresStore.from_conn_string(
        make_conninfo(url, dbname="theirs"), index=index, pool_config={"min_size": 10, "max_size": 10}
    )
    ours = MemoryManager.from_conn_string(
        make_conninfo(url, dbname="ours"), index=index, pool_config={"min_size": 10, "max_size": 10}
    )
    async with theirs as peer, ours as own:
        await peer.setup()
        await own.setup()
        yield {"AsyncPostgresStore": peer, "MemoryManager": own}


async def load(store: BaseStore, items: int) -> None:
    for start in range(0, items, 1000):
        batch = [
            PutOp(namespace(n // PER_USER), f"k{n}", {"text": text(n)}) for n in range(start, min(start + 1000, items))
        ]
        await store.abatch(batch)


async def timed(store: BaseStore, work: Work, first: int, concurrency: int, users: int) -> float:
    """Calls per second, each on behalf of the user whose data it concerns."""

    async def caller(lane: int) -> None:
        for n in range(lane, CALLS, concurrency):
            with acting_as(Principal.user(user((first + n) % users))):
                await work(store, first + n)

    began = time.perf_counter()
    await asyncio.gather(*(caller(lane) for lane in range(concurrency)))
    return CALLS / (time.perf_counter() - began)


def works(users: int) -> dict[str, Work]:
    return {
        "put": lambda s, n: s.aput(namespace(n % users), f"new{n}", {"text": text(n)}),
        "get": lambda s, n: s.aget(namespace(n % users), f"k{n % users * PER_USER + n % PER_USER}"),
        "search": lambda s, n: s.asearch(namespace(n % users), query=text(n * 13), limit=10),
    }


async def recall(store: BaseStore, embeddings: OfflineEmbeddings, users: int) -> float:
    """The share of the true ten nearest items of a namespace that a search returns, over fifty searches."""
    shares = []
    for n in range(50):
        owner = n % users
        keys = [f"k{k}" for k in range(owner * PER_USER, (owner + 1) * PER_USER)]
        vectors = np.asarray(embeddings.embed_documents([text(int(key[1:])) for key in keys]))
        query = np.asarray(embeddings.embed_query(text(n * 13)))
        similarity = vectors @ query / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))
        tenth = np.sort(similarity)[-10]
        best = {key for key, value in zip(keys, similarity, strict=True) if value >= tenth - 1e-3}
        with acting_as(Principal.user(user(owner))):
            found = await store.asearch(namespace(owner), query=text(n * 13), limit=10)
        shares.append(min(10, sum(item.key in best for item in found)) / 10)
    return statistics.mean(shares)


async def main(items: int, rounds: int) -> None:
    embeddings = OfflineEmbeddings()
    users = items // PER_USER
    with tempfile.TemporaryDirectory() as folder, embedded_postgres(Path(folder)) as url:
        async with stores(url, embeddings) as both:
            for name, store in both.items():
                began = time.perf_counter()
                await load(store, items)
                print(f"{name}: {items} items loaded in {time.perf_counter() - began:.1f} s", flush=True)
            for name, store in both.items():
                print(f"{name}: recall@10 in a namespace of {PER_USER} is {await recall(store, embeddings, users):.3f}")
            print("\n| work | at once | AsyncPostgresStore | MemoryManager | ratio |\n|---|---|---|---|---|")
            for work_name, work in works(users).items():
                for concurrency in (1, 32):
                    speeds: dict[str, list[float]] = {name: [] for name in both}
                    for round_ in range(rounds + 1):
                        for name, store in both.items():
                            speed = await timed(store, work, (round_ + concurrency * 100) * CALLS, concurrency, users)
                            if round_:  # the first one warms up
                                speeds[name].append(speed)
                    theirs, ours = speeds.values()
                    ratio = statistics.median(o / t for o, t in zip(ours, theirs, strict=True))
                    print(
                        f"| {work_name} | {concurrency} | {statistics.median(theirs):.0f}/s "
                        f"| {statistics.median(ours):.0f}/s | {ratio:.2f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    asyncio.run(main(options.items, options.rounds))
