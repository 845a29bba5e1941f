"""Growth of the store's latencies with the number of items: 10,000, 100,000, and 1,000,000.

    .venv/bin/python -m benchmarks.scale [--million] [--chart scale.svg]

The million is measured with `--million` only. At each size, a database of its own is filled: some
users have many items (700, 1,000, 5,000, 20,000, where they fit), all others a hundred. Then one
caller at a time puts, gets and searches, in turns with AsyncPostgresStore up to `--peer-up-to`
items. Its tables are filled by COPY (`benchmarks.loading`), MemoryManager's by `abatch`, a thousand
items at a time. The scope of a user is searched as that user, signed in, under row-level security;
the scope of all users is searched as the service. Where hybrid ranking is measured,
AsyncPostgresStore does its vector search in the same scope.

"load" is the bulk load. "index" is the build of the vector index after it (MemoryManager's
`rebuild_index()`). Then follow medians (and 95th percentiles) of calls in milliseconds. A vector
search also shows its recall@10 ("r") against an exact search: a search that misses is not fast.
"""

import argparse
import asyncio
import json
import math
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from benchmarks import loading
from benchmarks.chart import lines
from benchmarks.corpus import CATEGORIES, Corpus, Item
from benchmarks.measure import Turns, Work, compare, table
from benchmarks.peers import (
    HYBRID,
    SERVICE,
    UPSTREAM,
    USER,
    Peer,
    StorePeer,
    make_database,
    memory_store,
    upstream_store,
)
from benchmarks.progress import say
from graphs.memory_manager import MemoryManager

OURS = "MemoryManager"
BIG_SCOPES = (700, 1000, 5000, 20_000)
SEARCHED, RANKED = (100, 1000, 20_000), (100, 700, 5000, 20_000)
PER_USER, BATCH, ASKED, MOST_JUDGED = 100, 100, 200, 30

_NAMES = (
    "get",
    *(f"search, {size:,} in scope" for size in SEARCHED),
    *(f"hybrid search, {size:,} in scope" for size in RANKED),
    "search, all users",
    "put",
    "put, batch of 100",
)

Grown = dict[tuple[str, str], dict[int, Turns]]
"""Measurements by work and system, for each number of items."""

_SIZES = """
SELECT c.relname, pg_table_size(c.oid) / 1e6 AS table, pg_indexes_size(c.oid) / 1e6 AS indexes
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname IN ('memory', 'public') AND pg_total_relation_size(c.oid) > 1e6
ORDER BY pg_total_relation_size(c.oid) DESC"""


def scopes(items: int) -> list[int]:
    """Return the number of items of each user: some many, the others a hundred, `items` in all."""
    big: list[int] = []
    for size in BIG_SCOPES:
        if sum(big) + size <= items * 0.8:
            big.append(size)
    return [*big, *[PER_USER] * max(1, (items - sum(big)) // PER_USER)]


def works(corpus: Corpus, rounds: int, calls: int) -> list[Work]:
    """Return the work to measure at one size, reads before writes."""
    asked: dict[int, list[str]] = {}
    for owner, text in corpus.questions:
        asked.setdefault(owner, []).append(text)
    small = [owner for owner in asked if corpus.sizes[owner] == PER_USER]

    def search(size: int | None, ability: str, name: str) -> Work:
        owners = [owner for owner in asked if corpus.sizes[owner] == size] if size else small

        async def call(peer: Peer, n: int) -> tuple[int, str, list[str]]:
            owner = owners[n % len(owners)]
            text = asked[owner][n % len(asked[owner])]
            return owner, text, await peer.search(text, owner if size else None)

        async def judge(peer: Peer) -> tuple[float, float, float]:
            if peer.name == HYBRID:  # hybrid ranking does not aim at the nearest vectors
                return math.nan, math.nan, math.nan
            scores = []
            for n in range(min(calls, MOST_JUDGED)):
                owner, text, found = await call(peer, n)
                scores.append(
                    (corpus.score(text, found, 10, owner if size else None)[0], len(found))
                )
            recalls, returned = zip(*scores, strict=True)
            return statistics.mean(recalls), statistics.mean(returned), 10

        return Work(name, ability, call, calls=calls, judge=judge)

    def fresh(n: int, owner: int) -> Item:
        return Item(
            owner % corpus.users,
            len(corpus.items) + n,
            corpus.fresh[n],
            CATEGORIES[n % len(CATEGORIES)],
        )

    async def put_many(peer: Peer, n: int) -> None:
        start = (rounds + 1) * calls + n * BATCH
        await peer.put_many([fresh(start + i, n) for i in range(BATCH)])

    present = set(corpus.sizes)
    return [
        Work(
            "get",
            "get",
            lambda peer, n: peer.get(corpus.items[n * 37 % len(corpus.items)]),
            calls=calls,
        ),
        *(
            search(size, "search", f"search, {size:,} in scope")
            for size in SEARCHED
            if size in present
        ),
        *(
            search(size, "hybrid", f"hybrid search, {size:,} in scope")
            for size in RANKED
            if size in present
        ),
        search(None, "wide", "search, all users"),
        Work("put", "put", lambda peer, n: peer.put(fresh(n, n)), calls=calls, settles=True),
        Work(
            "put, batch of 100",
            "put",
            put_many,
            each=BATCH,
            calls=max(1, calls // 20),
            settles=True,
        ),
    ]


@asynccontextmanager
async def systems(
    url: str, corpus: Corpus, *, upstream: bool
) -> AsyncIterator[tuple[list[Peer], dict[str, tuple[float, float]]]]:
    """Open and fill the systems, yield them with their loading times, and drop their databases."""
    names = [f"ours_{len(corpus.items)}", f"upstream_{len(corpus.items)}"]
    took: dict[str, tuple[float, float]] = {}
    async with AsyncExitStack() as stack:
        ours_url = make_database(url, names[0])
        stack.callback(_drop, url, names[0])
        hybrid = await stack.enter_async_context(
            memory_store(ours_url, corpus.embeddings, hybrid=True)
        )
        ours = await stack.enter_async_context(memory_store(ours_url, corpus.embeddings))
        ranked = StorePeer(HYBRID, hybrid, frozenset({"hybrid"}), signed_in=True)
        took[OURS] = await _filled(ranked, corpus, ours_url)
        peers: list[Peer] = [
            StorePeer(USER, ours, frozenset({"put", "get", "search"}), signed_in=True),
            StorePeer(SERVICE, ours, frozenset({"wide"})),
            ranked,
        ]
        if upstream:
            peer_url = make_database(url, names[1])
            stack.callback(_drop, url, names[1])
            store = await stack.enter_async_context(upstream_store(peer_url, corpus.embeddings))
            abilities = frozenset({"put", "get", "search", "wide", "hybrid"})
            peers.append(StorePeer(UPSTREAM, store, abilities, copy_url=peer_url))
            took[UPSTREAM] = await _filled(peers[-1], corpus, peer_url)
        yield peers, took


async def _filled(peer: Peer, corpus: Corpus, url: str) -> tuple[float, float]:
    began = time.perf_counter()
    indexing = await peer.load(corpus.items)
    loading_ = time.perf_counter() - began - indexing
    await asyncio.to_thread(loading.tidy, url)
    return loading_, indexing


def _drop(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def table_sizes(url: str, items: int, upstream: bool) -> list[list[str]]:
    """Return the tables of more than a megabyte, with their sizes and those of their indexes."""
    rows = []
    for system, name in (
        (OURS, f"ours_{items}"),
        *([(UPSTREAM, f"upstream_{items}")] if upstream else []),
    ):
        with psycopg.connect(url, dbname=name) as conn:
            for relation, own, indexes in conn.execute(_SIZES).fetchall():
                rows.append([system, relation, f"{items:,}", f"{own:,.1f}", f"{indexes:,.1f}"])
    return rows


async def grow(
    url: str, sizes: Sequence[int], options: argparse.Namespace
) -> tuple[Grown, dict[str, dict[int, tuple[float, float]]], list[list[str]]]:
    """Measure at every size; return the results, the loading times, and the tables' sizes."""
    grown: Grown = {(work, system): {} for work in _NAMES for system in (OURS, UPSTREAM)}
    loads: dict[str, dict[int, tuple[float, float]]] = {}
    stored: list[list[str]] = []
    for items in sizes:
        say(f"--- {items:,} items")
        people = scopes(items)
        fresh = (options.rounds + 1) * (options.calls + max(1, options.calls // 20) * BATCH)
        corpus = Corpus(
            people, fresh, askers=[n for n in range(min(len(people), 40)) for _ in range(ASKED)]
        )
        with_peer = items <= options.peer_up_to
        async with systems(url, corpus, upstream=with_peer) as (peers, took):
            stored += await asyncio.to_thread(table_sizes, url, len(corpus.items), with_peer)
            for name, seconds in took.items():
                loads.setdefault(name, {})[items] = seconds
            for work in works(corpus, options.rounds, options.calls):
                result = await compare(peers, work, options.rounds, options.budget)
                for name, turns in result.turns.items():
                    system = UPSTREAM if name == UPSTREAM else OURS
                    grown[work.name, system][items] = turns
    return {key: by_items for key, by_items in grown.items() if by_items}, loads, stored


def milliseconds(turns: Turns | None) -> str:
    if not turns:
        return "-"
    recall = "" if math.isnan(turns.recall) else f" r {turns.recall:.2f}"
    return f"{turns.percentile(50):,.2f} ({turns.percentile(95):,.2f}){recall}"


def draw(grown: Grown, sizes: Sequence[int]) -> str:
    """Return line charts of medians over the number of items and over the scope's size."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for system in (OURS, UPSTREAM):
        panels[f"{system}: milliseconds by items stored"] = {
            work: [(items, turns.percentile(50)) for items, turns in by_items.items()]
            for (work, whose), by_items in grown.items()
            if whose == system and not (system == UPSTREAM and work.startswith("hybrid"))
        }
    largest = max(sizes)
    by_scope: dict[str, list[tuple[float, float]]] = {}
    for (work, system), by_items in grown.items():
        if "in scope" in work and largest in by_items:
            kind, _, rest = work.partition(", ")
            if kind == "hybrid search" and system == UPSTREAM:
                continue
            size = int(rest.split()[0].replace(",", ""))
            by_scope.setdefault(f"{system}, {kind}", []).append(
                (size, by_items[largest].percentile(50))
            )
    panels[f"Milliseconds by items in the scope, {largest:,} stored"] = by_scope
    return lines(
        {title: series for title, series in panels.items() if series}, "items", "ms, median"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, print its tables and draw the chart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[10_000, 100_000], help="numbers of items"
    )
    parser.add_argument("--million", action="store_true", help="also measure a million items")
    parser.add_argument(
        "--peer-up-to",
        type=int,
        default=100_000,
        help="largest number of items to measure AsyncPostgresStore with",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds that count; one more warms up"
    )
    parser.add_argument(
        "--calls",
        type=int,
        default=100,
        help="most calls of a round; a twentieth as many batches",
    )
    parser.add_argument(
        "--budget", type=float, default=4, help="seconds after which a round makes no further call"
    )
    parser.add_argument(
        "--shared-buffers",
        default="1GB",
        help="shared_buffers of the server; empty for its default",
    )
    parser.add_argument("--chart", type=Path, help="an SVG file for the chart")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    options = parser.parse_args(arguments)
    sizes = [*options.sizes, *([1_000_000] if options.million else [])]
    with (
        tempfile.TemporaryDirectory() as folder,
        loading.server(Path(folder), options.shared_buffers) as url,
    ):
        told = loading.circumstances(url)
        print("; ".join(f"{name} {value}" for name, value in told.items()) + "\n")
        grown, loads, stored = asyncio.run(grow(url, sizes, options))
    head = ["p50 (p95) ms, recall", "system", *(f"{size:,} items" for size in sizes)]
    print(table(head, [*_load_rows(loads, sizes), *_rows(grown, sizes)]), "\n")
    print(table(["system", "table", "items", "MB", "indexes, MB"], stored))
    if options.chart:
        options.chart.write_text(draw(grown, sizes), encoding="utf-8")
    if options.json:
        options.json.write_text(
            json.dumps(_report(told, grown, loads), indent=1) + "\n", encoding="utf-8"
        )


def _load_rows(
    loads: dict[str, dict[int, tuple[float, float]]], sizes: Sequence[int]
) -> list[list[str]]:
    return [
        [
            f"{what}, s",
            name,
            *(f"{by_items[size][n]:,.1f}" if size in by_items else "-" for size in sizes),
        ]
        for n, what in enumerate(("load", "index"))
        for name, by_items in loads.items()
    ]


def _rows(grown: Grown, sizes: Sequence[int]) -> list[list[str]]:
    rows = []
    for (work, system), by_items in grown.items():
        rows.append([work, system, *(milliseconds(by_items.get(size)) for size in sizes)])
        if work.startswith("put") and hasattr(MemoryManager, "wait_until_indexed"):
            each = [
                f"{1000 / by_items[size].settled_speed:,.2f}" if size in by_items else "-"
                for size in sizes
            ]
            rows.append([f"{work}, index work counted, per item", system, *each])
    return rows


def _report(
    told: dict[str, str], grown: Grown, loads: dict[str, dict[int, tuple[float, float]]]
) -> dict[str, Any]:
    rows = [
        {
            "work": work,
            "system": system,
            "items": items,
            "p50_ms": t.percentile(50),
            "p95_ms": t.percentile(95),
            "recall": None if math.isnan(t.recall) else t.recall,
            "items_per_second": t.speed,
            "items_per_second_index_counted": t.settled_speed,
        }
        for (work, system), by_items in grown.items()
        for items, t in by_items.items()
    ]
    return {"circumstances": told, "loads": loads, "rows": rows}


if __name__ == "__main__":
    main()
