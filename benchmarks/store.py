"""The store against its peers: the same work on the same data and server, in turns, in one run.

    .venv/bin/python -m benchmarks.store [--items 100000] [--rounds 7] [--json FILE] [--only put]

The systems are AsyncPostgresStore, mem0 (where installed, see `benchmarks.peers`), and
MemoryManager: as a signed-in user under row-level security, as the service, and with hybrid
ranking, which is compared with the vector search of the others. MemoryManager also writes history
and audit. The floor is the most that Postgres does without a store (`benchmarks.floor`), over four
connections. The others have ten, and all get precomputed vectors. mem0's calls run in asyncio's
default threads, as they do in mem0.

Speeds are items per second, the median of the rounds. "x AsyncPostgresStore" and "x floor" are the
medians of the rounds' ratios; above 1 is faster. Recall is measured against an exact search. "rows"
are the rows returned, of those that exist. A put that leaves index work for later is counted twice:
as its caller sees it, and with the time until `wait_until_indexed()` returns, against peers whose
puts do that work at once.

At the start, the items are loaded in bulk; the peers' tables by COPY (`benchmarks.loading`). Reads
come before writes.
"""

import argparse
import asyncio
import json
import math
import statistics
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks import loading
from benchmarks.corpus import CATEGORIES, Corpus, Item
from benchmarks.floor import Floor, floor_peer
from benchmarks.measure import Result, Work, compare, ratio, table
from benchmarks.peers import (
    HYBRID,
    OWN_ABILITIES,
    SERVICE,
    UPSTREAM,
    USER,
    Peer,
    StorePeer,
    make_database,
    mem0_peer,
    memory_store,
    upstream_store,
)

PER_USER, BATCH, MOST_JUDGED = 100, 100, 50
HEAD = (
    "work",
    "at once",
    "system",
    "p50 ms",
    "p95 ms",
    "per second",
    f"x {UPSTREAM}",
    "x floor",
    "recall@10",
    "rows",
)


def batches(calls: int) -> int:
    return max(1, calls // 20)


def works(corpus: Corpus, rounds: int, calls: int) -> list[Work]:
    """Return all work to measure, reads before writes."""
    puts = (rounds + 1) * calls

    def question(n: int) -> tuple[int, str]:
        return corpus.questions[n % len(corpus.questions)]

    def category(n: int) -> str:
        return CATEGORIES[n % len(CATEGORIES)]

    def fresh(n: int, owner: int) -> Item:
        return Item(owner % corpus.users, len(corpus.items) + n, corpus.fresh[n], category(n))

    async def get(peer: Peer, n: int) -> None:
        assert await peer.get(corpus.items[n * 37 % len(corpus.items)])

    def search(*, wide: bool, filtered: bool) -> Any:
        async def call(peer: Peer, n: int) -> list[str]:
            owner, text = question(n)
            return await peer.search(
                text, None if wide else owner, category(n) if filtered else None
            )

        async def judge(peer: Peer) -> tuple[float, float, float]:
            recalls, returned, existing = [], [], []
            for n in range(min(calls, MOST_JUDGED)):
                owner, text = question(n)
                found = await call(peer, n)
                recall, count = corpus.score(
                    text, found, 10, None if wide else owner, category(n) if filtered else None
                )
                # Hybrid ranking does not aim at the nearest vectors.
                recalls.append(math.nan if peer.name == HYBRID else recall)
                returned.append(len(found))
                existing.append(count)
            return statistics.mean(recalls), statistics.mean(returned), statistics.mean(existing)

        return {"call": call, "judge": judge, "calls": calls}

    def listed(kind: str) -> Any:
        return {
            "ability": kind,
            "call": lambda peer, n: peer.namespaces(kind, n % corpus.users),
            "calls": calls,
        }

    def put(at_once: int, start: int) -> Work:
        return Work(
            "put",
            "put",
            lambda peer, n: peer.put(fresh(start + n, n)),
            at_once=at_once,
            calls=calls,
            settles=True,
        )

    async def put_many(peer: Peer, n: int) -> None:
        start = 2 * puts + n * BATCH
        await peer.put_many([fresh(start + i, n) for i in range(BATCH)])

    return [
        Work("get", "get", get, calls=calls * 2),
        Work("get", "get", get, at_once=32, calls=calls * 5),
        Work("search, one user", "search", **search(wide=False, filtered=False)),
        Work("search, one user", "search", at_once=32, **search(wide=False, filtered=False)),
        Work("filtered search, one user", "filtered", **search(wide=False, filtered=True)),
        Work("search, all users", "wide", **search(wide=True, filtered=False)),
        Work("search, all users", "wide", at_once=32, **search(wide=True, filtered=False)),
        Work("filtered search, all users", "filtered wide", **search(wide=True, filtered=True)),
        Work("list namespaces, prefix, limit 100", **listed("list prefix")),
        Work("list namespaces, max_depth 1", **listed("list depth")),
        Work("list namespaces, one user", **listed("list user")),
        put(1, 0),
        put(32, puts),
        Work("put, batch of 100", "put", put_many, each=BATCH, calls=batches(calls), settles=True),
    ]


@asynccontextmanager
async def peers(url: str, corpus: Corpus, folder: Path) -> AsyncIterator[list[Peer]]:
    """Open every system on its own database and load it; MemoryManager's three peers share one."""
    urls = {name: make_database(url, name) for name in ("upstream", "mem0", "ours", "floor")}
    embeddings = corpus.embeddings
    async with (
        upstream_store(urls["upstream"], embeddings) as upstream,
        memory_store(urls["ours"], embeddings) as ours,
        memory_store(urls["ours"], embeddings, hybrid=True) as hybrid,
        mem0_peer(urls["mem0"], embeddings, folder) as mem0,
        floor_peer(urls["floor"], corpus) as floor,
    ):
        everyone: list[Peer] = [StorePeer(UPSTREAM, upstream, copy_url=urls["upstream"])]
        if mem0:
            everyone.append(mem0)
        else:
            print("mem0 is left out: it is not installed here (see benchmarks/peers.py).\n")
        ranked = StorePeer(HYBRID, hybrid, frozenset({"search"}), signed_in=True)
        for peer in (*everyone, ranked, floor):
            await peer.load(corpus.items)
        for name in urls.values():
            await asyncio.to_thread(loading.tidy, name)
        yield [
            *everyone,
            StorePeer(USER, ours, OWN_ABILITIES, signed_in=True),
            StorePeer(SERVICE, ours),
            ranked,
            floor,
        ]


def rows(result: Result, *, deferred: bool = False) -> list[dict[str, Any]]:
    """Return the results of one work; `deferred` counts the index work left for later."""
    turns = result.turns
    speeds = {name: t.settled_speeds if deferred else t.speeds for name, t in turns.items()}
    told = []
    for name, turn in turns.items():
        if deferred and name == Floor.name:
            continue
        recall, returned, existing = result.quality.get(name, (math.nan, math.nan, math.nan))
        told.append(
            {
                "work": result.work.name + (", index work counted" if deferred else ""),
                "at_once": result.work.at_once,
                "system": name,
                "p50_ms": math.nan if deferred else turn.percentile(50),
                "p95_ms": math.nan if deferred else turn.percentile(95),
                "per_second": statistics.median(speeds[name]),
                "ratio": ratio(speeds[name], speeds[UPSTREAM]) if UPSTREAM in speeds else math.nan,
                "floor_ratio": ratio(speeds[name], speeds[Floor.name])
                if Floor.name in speeds and not deferred
                else math.nan,
                "recall": recall,
                "rows": returned,
                "rows_existing": existing,
                "speeds": speeds[name],
            }
        )
    return told


def number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:,.{digits}f}"


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row of the table."""
    existing = (
        "-" if math.isnan(row["rows"]) else f"{row['rows']:.1f} of {row['rows_existing']:.1f}"
    )
    return [
        row["work"],
        str(row["at_once"]),
        row["system"],
        number(row["p50_ms"], 3),
        number(row["p95_ms"], 3),
        number(row["per_second"], 0 if row["per_second"] >= 10 else 2),
        number(row["ratio"], 2),
        number(row["floor_ratio"], 3),
        number(row["recall"], 3),
        existing,
    ]


async def measure(url: str, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    fresh = (options.rounds + 1) * (2 * options.calls + batches(options.calls) * BATCH)
    corpus = Corpus([PER_USER] * max(1, options.items // PER_USER), fresh)
    told: list[dict[str, Any]] = []
    async with peers(url, corpus, folder) as everyone:
        later = any(getattr(peer, "indexes_later", False) for peer in everyone)
        for work in works(corpus, options.rounds, options.calls):
            if options.only and options.only not in work.name:
                continue
            result = await compare(everyone, work, options.rounds, options.budget)
            told += rows(result)
            if work.settles and later:
                told += rows(result, deferred=True)
    return told


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--items", type=int, default=100_000, help="items in the database, 100 per user"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="rounds that count; one more warms up"
    )
    parser.add_argument(
        "--calls",
        type=int,
        default=200,
        help="most calls of a round; a twentieth as many batches",
    )
    parser.add_argument(
        "--budget", type=float, default=4, help="seconds after which a round makes no further call"
    )
    parser.add_argument("--only", default="", help="only work with this in its name")
    parser.add_argument(
        "--shared-buffers",
        default="1GB",
        help="shared_buffers of the server; empty for its default",
    )
    parser.add_argument(
        "--json", type=Path, help="a file for the numbers, with those of each round"
    )
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as folder,
        loading.server(Path(folder), options.shared_buffers) as url,
    ):
        told = loading.circumstances(url)
        print(
            f"{options.items:,} items; "
            + ", ".join(f"{name} {value}" for name, value in told.items())
            + "\n"
        )
        measured = asyncio.run(measure(url, options, Path(folder)))
    print(table(HEAD, [cells(row) for row in measured]))
    if options.json:
        sizes = {name: str(value) for name, value in vars(options).items()}
        report = {"circumstances": told, "options": sizes, "rows": measured}
        options.json.write_text(
            json.dumps(report, indent=1).replace("NaN", "null") + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
