"""Time of traversals of a user's memory graph, by hops, under row-level security.

    .venv/bin/python -m benchmarks.graph [--memories 10000] [--edges 50000] [--rounds 200]

One user has all the memories, with edges of random strength between random pairs. One memory is a
hub with an edge to every other. Ten other users have a graph of a tenth of that size each. Every
traversal follows both directions, as the signed-in user.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import psycopg

from benchmarks import loading
from benchmarks.measure import table
from benchmarks.peers import make_database, memory_store
from benchmarks.progress import say
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings

OTHERS = 10
HEAD = ("start", "hops", "limit", "paths", "p50 ms", "p95 ms")

FILL = """
SELECT setseed(0.5);
INSERT INTO memory.memories (namespace, key, value)
SELECT format('users.%%s.notes.', %(user)s::text), 'm' || n,
  jsonb_build_object('content', 'Note ' || n || repeat(' more words', 10))
FROM generate_series(1, %(memories)s) AS n;
INSERT INTO memory.memory_relationships (user_id, source_id, target_id, type, strength)
SELECT %(user)s::text, first + (random() * (%(memories)s - 1))::int,
  first + (random() * (%(memories)s - 1))::int,
  (ARRAY['about', 'supports', 'follows'])[1 + (random() * 2)::int], random()
FROM (SELECT min(id) AS first FROM memory.memories WHERE user_id = %(user)s::text) AS m,
  generate_series(1, %(edges)s)
ON CONFLICT DO NOTHING;
INSERT INTO memory.memory_relationships (user_id, source_id, target_id, type, strength)
SELECT %(user)s::text, first, first + n, 'about', random()
FROM (SELECT min(id) AS first FROM memory.memories WHERE user_id = %(user)s::text) AS m,
  generate_series(1, %(memories)s - 1) AS n
ON CONFLICT DO NOTHING
"""


def user(n: int) -> str:
    """Return the id of the n-th user."""
    return str(UUID(int=n + 1, version=4))


def fill(database: str, memories: int, edges: int) -> None:
    """Give the first user the whole graph, and each other user one of a tenth of its size."""
    with psycopg.connect(database, autocommit=True, cursor_factory=psycopg.ClientCursor) as conn:
        for n in range(OTHERS + 1):
            share = 1 if n == 0 else 10
            conn.execute(
                FILL, {"user": user(n), "memories": memories // share, "edges": edges // share}
            )


def starts(memories: int) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the starts of traversals: any memory, and the hub."""
    chosen = random.Random(7)  # noqa: S311  not a secret
    yield "any memory", [f"m{chosen.randint(2, memories)}" for _ in range(1000)]
    yield "the hub", ["m1"]


async def walk(store: MemoryManager, options: argparse.Namespace) -> list[list[str]]:
    """Measure, and return the rows of the table."""
    lines = []
    for name, keys in starts(options.memories):
        for hops in (1, 2, 3):
            for limit in (10, 50, 200):
                latencies, paths = [], 0
                for n in range(options.rounds + 10):
                    began = time.perf_counter()
                    start = ("users", user(0), "notes"), keys[n % len(keys)]
                    found = await store.relationships.traverse(
                        user(0), start, hops=hops, limit=limit
                    )
                    if n >= 10:
                        latencies.append((time.perf_counter() - began) * 1000)
                        paths += len(found)
                cuts = statistics.quantiles(latencies, n=20)
                counted = f"{paths / options.rounds:.0f}"
                lines.append(
                    [name, str(hops), str(limit), counted, f"{cuts[9]:.1f}", f"{cuts[18]:.1f}"]
                )
    return lines


async def measure(url: str, options: argparse.Namespace) -> list[list[str]]:
    """Fill a database, and traverse the graph as the user who owns it."""
    database = make_database(url, "graph")
    async with memory_store(database, OfflineEmbeddings()) as store:
        say(
            f"{options.memories} memories, {options.edges} edges, "
            f"and a tenth of both for each of {OTHERS} others"
        )
        await asyncio.to_thread(fill, database, options.memories, options.edges)
        await asyncio.to_thread(loading.tidy, database)
        with acting_as(Principal.user(user(0))):
            return await walk(store, options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memories", type=int, default=10_000, help="memories of the first user")
    parser.add_argument(
        "--edges", type=int, default=50_000, help="edges between random pairs, beside the hub's"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=200,
        help="traversals that count, for each row; 10 more warm up",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, loading.server(Path(folder), "1GB") as url:
        print(table(HEAD, asyncio.run(measure(url, options))))


if __name__ == "__main__":
    main()
