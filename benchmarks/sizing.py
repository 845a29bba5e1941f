"""The best vector index for a number of vectors: exact search, HNSW and IVFFlat, in one run.

    .venv/bin/python -m benchmarks.sizing [--sizes 1000 10000 100000] [--chart sizing.svg]

At each size, a database is filled once with texts of the offline model's 256 dimensions. It is
copied for each index, which `Operations(store).indexes.migrate` builds in its copy. Then all of
them get the same questions in turns, one at a time: the ten nearest items of all users, as the
service. They use the store's own statement, which is told to read every vector or to use the index.
(The store itself would choose: with few vectors, it reads every one.)

"build" is the whole migration. "index" is the size of the index. Recall is the share of the true
ten nearest items that are found. An index is written as `hnsw/M/EF_CONSTRUCTION` or
`ivfflat/LISTS`; without numbers, they follow from the number of vectors.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from langgraph.store.base import SearchOp
from psycopg import sql
from psycopg.conninfo import make_conninfo

from benchmarks import loading
from benchmarks.chart import lines
from benchmarks.corpus import Corpus, namespace
from benchmarks.measure import Work, compare, table
from benchmarks.peers import Peer, StorePeer, make_database, memory_store
from benchmarks.progress import Progress, say
from graphs.deployment.pools import open_pool
from graphs.memory.database.database import Database
from graphs.memory.database.vectors import Model, to_vector
from graphs.memory.principal import Principal
from graphs.memory.search import embeddings, search
from graphs.memory_manager import MemoryManager
from graphs.operations.operations import Operations
from graphs.operations.sizing import IndexChoice

EXACT = "exact"
PER_USER, PORTION, JUDGED = 100, 5000, 100
HEAD = ("vectors", "index", "build s", "index MB", "p50 ms", "p95 ms", "recall@10")

FILL = """
WITH given AS (
  SELECT *
  FROM unnest(%s::text[], %s::text[], %s::jsonb[], %s::text[]) AS g (namespace, key, value, vector)
), items AS (
  INSERT INTO memory.memories (namespace, key, value)
  SELECT namespace, key, value FROM given RETURNING id, key
)
INSERT INTO memory.memory_embeddings (namespace, key, field, model, memory_id, embedding, indexed)
SELECT g.namespace, g.key, 'text', 1, i.id, g.vector::extensions.halfvec, true
FROM items AS i JOIN given AS g USING (key)"""


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurements of one index at one size."""

    vectors: int
    asked: str
    index: str
    build_seconds: float
    megabytes: float
    p50_ms: float
    p95_ms: float
    recall: float


class Indexed(StorePeer):
    """A store that is told whether to answer from its index."""

    def __init__(
        self, name: str, store: MemoryManager, database: Database, model: Model, corpus: Corpus
    ) -> None:
        super().__init__(name, store, frozenset({"search"}))
        self._database, self._model, self._corpus = database, model, corpus

    async def search(
        self, query: str, owner: int | None, category: str | None = None, limit: int = 10
    ) -> list[str]:
        vector = to_vector(np.asarray(self._corpus.embeddings.embed_query(query)))
        scope = ("users",) if owner is None else namespace(owner)
        op = SearchOp(
            scope, query=query, filter={"category": category} if category else None, limit=limit
        )
        asked = search.search(op, vector, self._model, wide=self.name != EXACT)
        [found] = await self._database.run(Principal.service(), [asked])
        return [item.key for item in found.items]


def fill(url: str, corpus: Corpus) -> None:
    """Insert all items directly, as the store's puts would, with all vectors marked as indexed."""
    with (
        psycopg.connect(url, autocommit=True) as conn,
        Progress("filling", len(corpus.items)) as progress,
    ):
        conn.execute("SET session_replication_role = replica")  # no triggers: no history
        conn.execute("DROP INDEX memory.embeddings_vectors_1")
        for start in range(0, len(corpus.items), PORTION):
            part = corpus.items[start : start + PORTION]
            vectors = corpus.embeddings.vectors([item.text for item in part])
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
            rows = [
                (
                    ".".join(item.namespace) + ".",
                    item.key,
                    json.dumps(item.value),
                    str(vector.tolist()),
                )
                for item, vector in zip(part, vectors, strict=True)
            ]
            conn.execute(FILL, [list(column) for column in zip(*rows, strict=True)])
            progress.advance(len(part))


def parsed(written: str) -> IndexChoice:
    """Return the index written as `hnsw/16/64` or `ivfflat/100`."""
    method, *numbers = written.split("/")
    names = ("m", "ef_construction") if method == "hnsw" else ("lists",)
    return IndexChoice.model_validate(
        {"method": method} | dict(zip(names, map(int, numbers), strict=False))
    )


@asynccontextmanager
async def systems(
    url: str, corpus: Corpus, indexes: Sequence[str]
) -> AsyncIterator[tuple[list[Peer], dict[str, tuple[str, float, float]]]]:
    """Yield exact search and the indexes, each with its build seconds and its megabytes."""
    filled = f"filled_{len(corpus.items)}"
    async with memory_store(make_database(url, filled), corpus.embeddings):
        pass
    await asyncio.to_thread(fill, make_conninfo(url, dbname=filled), corpus)
    peers: list[Peer] = []
    cost: dict[str, tuple[str, float, float]] = {}
    async with AsyncExitStack() as stack:
        for n, asked in enumerate([EXACT, *indexes]):
            copy = f"{filled}_{n}"
            await asyncio.to_thread(_copy, url, filled, copy)
            stack.callback(_drop, url, copy)
            database = make_conninfo(url, dbname=copy)
            store = await stack.enter_async_context(MemoryManager.from_conn_string(database))
            name, seconds = EXACT, 0.0
            if asked != EXACT:
                began = time.perf_counter()
                made = await Operations(store).indexes.migrate(
                    parsed(asked), lambda _phase, _done, _of: None
                )
                name, seconds = str(made.after), time.perf_counter() - began
                say(f"{name}: built in {seconds:.1f} s")
            await asyncio.to_thread(loading.tidy, database)
            pool = await stack.enter_async_context(open_pool(database))
            reading = Database(pool)
            [model] = await reading.run(Principal.service(), [embeddings.active_model()])
            sizes = {
                index.name: index.bytes
                for index in (await Operations(store).indexes.status()).indexes
            }
            cost[asked] = name, seconds, sizes.get("embeddings_vectors_1", 0) / 1e6
            peers.append(Indexed(asked, store, reading, model, corpus))
        yield peers, cost
    await asyncio.to_thread(_drop, url, filled)


def _copy(url: str, filled: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(filled)
            )
        )


def _drop(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def work(corpus: Corpus, calls: int) -> Work:
    """Return the questions, with a judge of the answers."""
    asked = [text for _, text in corpus.questions]

    async def call(peer: Peer, n: int) -> tuple[str, list[str]]:
        text = asked[n % len(asked)]
        return text, await peer.search(text, None)

    async def judge(peer: Peer) -> tuple[float, float, float]:
        answers = [await call(peer, n) for n in range(min(JUDGED, len(asked)))]
        recalls = [corpus.score(text, found, 10)[0] for text, found in answers]
        return statistics.mean(recalls), statistics.mean(len(found) for _, found in answers), 10

    return Work(f"search of {len(corpus.items):,}", "search", call, calls=calls, judge=judge)


async def measure(url: str, options: argparse.Namespace) -> list[Measured]:
    """Measure every index at every size."""
    measured = []
    for size in options.sizes:
        corpus = Corpus([PER_USER] * max(1, size // PER_USER), 0)
        async with systems(url, corpus, options.indexes) as (peers, cost):
            result = await compare(
                peers, work(corpus, options.calls), options.rounds, options.budget
            )
        for name, turns in result.turns.items():
            times = turns.percentile(50), turns.percentile(95)
            measured.append(Measured(len(corpus.items), name, *cost[name], *times, turns.recall))
    return measured


def rows(measured: Sequence[Measured]) -> list[list[str]]:
    """Return the rows of the table."""
    return [
        [
            f"{each.vectors:,}",
            each.index,
            "-" if each.index == EXACT else f"{each.build_seconds:.1f}",
            "-" if each.index == EXACT else f"{each.megabytes:.1f}",
            f"{each.p50_ms:.2f}",
            f"{each.p95_ms:.2f}",
            f"{each.recall:.3f}",
        ]
        for each in measured
    ]


def draw(measured: Sequence[Measured]) -> str:
    """Return the charts of search latency, build time and size of the index."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for title, value in (
        ("Milliseconds of a search, median", "p50_ms"),
        ("Seconds to build the index", "build_seconds"),
        ("Megabytes of the index", "megabytes"),
    ):
        series = panels.setdefault(title, {})
        for each in measured:
            if (number := getattr(each, value)) > 0:
                series.setdefault(each.asked, []).append((each.vectors, number))
    return lines({title: series for title, series in panels.items() if series}, "vectors", "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, print its table and draw the chart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000], help="numbers of vectors"
    )
    parser.add_argument(
        "--indexes", nargs="+", default=["hnsw/10/112", "hnsw/16/64", "ivfflat"], help="see above"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds that count; one more warms up"
    )
    parser.add_argument("--calls", type=int, default=100, help="most calls of a round")
    parser.add_argument(
        "--budget", type=float, default=8, help="seconds after which a round makes no further call"
    )
    parser.add_argument(
        "--shared-buffers",
        default="1GB",
        help="shared_buffers of the server; empty for its default",
    )
    parser.add_argument("--chart", type=Path, help="an SVG file for the chart")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory() as folder,
        loading.server(Path(folder), options.shared_buffers) as url,
    ):
        told = loading.circumstances(url)
        print("; ".join(f"{name} {value}" for name, value in told.items()) + "\n")
        measured = asyncio.run(measure(url, options))
    print(table(HEAD, rows(measured)))
    if options.chart:
        options.chart.write_text(draw(measured), encoding="utf-8")
    if options.json:
        report: dict[str, Any] = {
            "circumstances": told,
            "rows": [asdict(each) for each in measured],
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
