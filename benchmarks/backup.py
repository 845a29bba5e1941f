"""How long a backup, its verification and its restore take: a database of its own, filled in bulk, and an empty one.

    .venv/bin/python -m benchmarks.backup [--memories 100000] [--dimensions 256]

Vectors are random, hence hardly compressed. Peak memory is that of this process, in which Postgres does not run.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
from langgraph.store.base import IndexConfig
from psycopg.conninfo import make_conninfo

from benchmarks import loading
from benchmarks.measure import table
from graphs.memory_manager import MemoryManager
from graphs.models import OfflineEmbeddings

HEAD = ("work", "seconds", "rows a second", "file MB", "peak MB")
SECRET = b"a passphrase of the benchmark"

FILL = (
    """
INSERT INTO memory.memories (namespace, key, value)
SELECT format('users.%%s.facts.', md5((n %% 100)::text)::uuid), n::text,
  jsonb_build_object('type', 'fact', 'content', format('Fact %%s, which begins with %%s.', n, md5(n::text)))
FROM generate_series(1, %(memories)s) AS n
""",
    """
INSERT INTO memory.memory_embeddings (namespace, key, field, model, memory_id, embedding)
SELECT m.namespace, m.key, '$', (SELECT id FROM memory.embedding_models WHERE active), m.id,
  ARRAY(SELECT (random() - 0.5 + 0 * m.id * n)::real FROM generate_series(1, %(dimensions)s) AS n)::extensions.vector
    ::extensions.halfvec
FROM memory.memories AS m
""",
)


async def measure(url: str, folder: Path, memories: int, dimensions: int) -> list[list[str]]:
    """Fill a database, back it up both ways, restore it into another one, and return the lines of the table."""
    index: IndexConfig = {"dims": dimensions, "embed": OfflineEmbeddings(dimensions), "fields": ["$"]}
    lines = []
    urls = {name: make_conninfo(url, dbname=name) for name in ("filled", "empty", "empty_too")}
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE DATABASE filled")
        async with MemoryManager.from_conn_string(urls["filled"], index=index) as store:
            await store.setup()
        for name in ("empty", "empty_too"):
            conn.execute(f"CREATE DATABASE {name} TEMPLATE filled")
    with psycopg.connect(urls["filled"]) as conn:
        for statement in FILL:
            conn.execute(statement, {"memories": memories, "dimensions": dimensions})
    for kind, secret, empty in (("open", None, "empty"), ("encrypted", SECRET, "empty_too")):
        file = folder / kind
        async with MemoryManager.from_conn_string(urls["filled"]) as store:
            started = time.perf_counter()
            rows = sum((await store.operations.backups.create(file, secret=secret)).rows.values())
            lines.append(_line(f"backup, {kind}", started, rows, file))
            started = time.perf_counter()
            await store.operations.backups.verify(file, secret=secret)
            lines.append(_line(f"verify, {kind}", started, rows, file))
        async with MemoryManager.from_conn_string(urls[empty]) as store:
            started = time.perf_counter()
            restored = await store.operations.backups.restore(file, secret=secret)
            lines.append(_line(f"restore, {kind}", started, rows, file))
        assert restored.added["memory.memory_embeddings"] == memories
    return lines


def _line(work: str, started: float, rows: int, file: Path) -> list[str]:
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = file.stat().st_size / 1e6
    return [work, f"{seconds:.2f}", f"{rows / seconds:,.0f}", f"{size:.1f}", f"{peak:.0f}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=int, default=100_000, help="memories, each with a vector and a record")
    parser.add_argument("--dimensions", type=int, default=256, choices=(64, 128, 256), help="of the vectors")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, loading.server(Path(folder), "") as url:
        print(table(HEAD, asyncio.run(measure(url, Path(folder), options.memories, options.dimensions))))


if __name__ == "__main__":
    main()
