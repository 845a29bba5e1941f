"""Time of backups, their verification and restores, and of reading one user's rows from a backup.

    .venv/bin/python -m benchmarks.backup [--memories 100000] [--users 10000] [--dimensions 256]

The benchmark fills a database in bulk, backs it up, and restores it into empty databases.
For the increment, it changes one memory in a hundred and deletes one in a thousand. Vectors are
random, so they hardly compress. Peak memory is that of this process, without Postgres.
"""

import argparse
import asyncio
import hashlib
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import psycopg
from langgraph.store.base import IndexConfig
from psycopg.conninfo import make_conninfo

from benchmarks import loading
from benchmarks.measure import table
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings
from graphs.operations.operations import Operations

HEAD = ("work", "seconds", "rows a second", "file MB", "peak MB")
SECRET = b"a passphrase of the benchmark"

FILL = (
    """
INSERT INTO memory.memories (namespace, key, value)
SELECT format('users.%%s.facts.', md5((n %% %(users)s)::text)::uuid), n::text,
  jsonb_build_object('type', 'fact',
    'content', format('Fact %%s, which begins with %%s.', n, md5(n::text)))
FROM generate_series(1, %(memories)s) AS n
""",
    """
INSERT INTO memory.memory_embeddings (namespace, key, field, model, memory_id, embedding)
SELECT m.namespace, m.key, '$', (SELECT id FROM memory.embedding_models WHERE active), m.id,
  ARRAY(
    SELECT (random() - 0.5 + 0 * m.id * n)::real FROM generate_series(1, %(dimensions)s) AS n
  )::extensions.vector::extensions.halfvec
FROM memory.memories AS m
""",
)


CHANGE = (
    "UPDATE memory.memories SET value = value || '{\"importance\": 1}' WHERE id % 100 = 0",
    "DELETE FROM memory.memories WHERE id % 1000 = 1",
)


async def measure(
    url: str, folder: Path, memories: int, users: int, dimensions: int
) -> list[list[str]]:
    """Fill a database, back it up, restore it into others, and return the rows of the table."""
    index: IndexConfig = {
        "dims": dimensions,
        "embed": OfflineEmbeddings(dimensions),
        "fields": ["$"],
    }
    lines = []
    urls = {
        name: make_conninfo(url, dbname=name)
        for name in ("filled", "empty", "empty_too", "empty_three")
    }
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE DATABASE filled")
        async with MemoryManager.from_conn_string(urls["filled"], index=index) as store:
            await store.setup()
        for name in ("empty", "empty_too", "empty_three"):
            conn.execute(f"CREATE DATABASE {name} TEMPLATE filled")
    with psycopg.connect(urls["filled"]) as conn:
        for statement in FILL:
            conn.execute(
                statement, {"memories": memories, "users": users, "dimensions": dimensions}
            )
    with psycopg.connect(urls["filled"], autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE")
    for kind, secret, empty in (("open", None, "empty"), ("encrypted", SECRET, "empty_too")):
        file = folder / kind
        async with MemoryManager.from_conn_string(urls["filled"]) as store:
            started = time.perf_counter()
            rows = sum((await Operations(store).backups.create(file, secret=secret)).rows.values())
            lines.append(_line(f"backup, {kind}", started, rows, file))
            started = time.perf_counter()
            await Operations(store).backups.verify(file, secret=secret)
            lines.append(_line(f"verify, {kind}", started, rows, file))
        async with MemoryManager.from_conn_string(urls[empty]) as store:
            started = time.perf_counter()
            restored = await Operations(store).backups.restore(file, secret=secret)
            lines.append(_line(f"restore, {kind}", started, rows, file))
        assert restored.added["memory.memory_embeddings"] == memories
    return lines + await _one_of_many(urls["filled"], folder) + await _changes(urls, folder)


async def _one_of_many(url: str, folder: Path) -> list[list[str]]:
    # FILL names users by the same MD5 digest.
    lines, whose = [], str(UUID(hashlib.md5(b"7").hexdigest()))  # noqa: S324
    async with MemoryManager.from_conn_string(url) as store:
        for n in ("first", "second"):
            file = folder / "exported"
            started = time.perf_counter()
            exported = [line async for line in store.export_user(whose)]
            file.write_text("\n".join(exported))
            lines.append(_line(f"export of one user, {n} time", started, len(exported), file))
        started = time.perf_counter()
        rows = sum(
            (await Operations(store).backups.create(folder / "one", user_id=whose)).rows.values()
        )
        lines.append(_line("backup of one user", started, rows, folder / "one"))
    return lines


async def _changes(urls: dict[str, str], folder: Path) -> list[list[str]]:
    full, file = folder / "open", folder / "changes"
    with psycopg.connect(urls["filled"]) as conn:
        for statement in CHANGE:
            conn.execute(statement)
    async with MemoryManager.from_conn_string(urls["filled"]) as store:
        started = time.perf_counter()
        rows = sum((await Operations(store).backups.create(file, since=full)).rows.values())
        lines = [_line("backup of changes", started, rows, file)]
    async with MemoryManager.from_conn_string(urls["empty_three"]) as store:
        started = time.perf_counter()
        restored = await Operations(store).backups.restore(full, file)
        lines.append(_line("restore, with changes", started, sum(restored.rows.values()), full))
    return lines


def _line(work: str, started: float, rows: int, file: Path) -> list[str]:
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = file.stat().st_size / 1e6
    return [work, f"{seconds:.2f}", f"{rows / seconds:,.0f}", f"{size:.1f}", f"{peak:.0f}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--memories", type=int, default=100_000, help="memories, each with a vector and a record"
    )
    parser.add_argument("--users", type=int, default=10_000, help="users who own the memories")
    parser.add_argument(
        "--dimensions", type=int, default=256, choices=(64, 128, 256), help="dimensions of a vector"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, loading.server(Path(folder), "") as url:
        print(
            table(
                HEAD,
                asyncio.run(
                    measure(url, Path(folder), options.memories, options.users, options.dimensions)
                ),
            )
        )


if __name__ == "__main__":
    main()
