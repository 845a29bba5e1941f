"""Time of a move from LangGraph's AsyncPostgresStore, and the time in which writes are refused.

    .venv/bin/python -m benchmarks.moving [--items 100000] [--users 1000] [--changes 1000]

The store and the memory are two databases of one server. The store is filled in bulk and without
vectors; the move computes them with the offline model. There are no other writers, so a switch
takes mostly the time of its two digests.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
from langgraph.store.base import IndexConfig
from langgraph.store.postgres.aio import AsyncPostgresStore
from psycopg.conninfo import make_conninfo

from benchmarks import loading
from benchmarks.measure import table
from graphs.deployment.pools import open_pool
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings
from graphs.operations.operations import Operations

HEAD = ("work", "seconds", "items a second")

FILL = """
INSERT INTO store (prefix, key, value)
SELECT format('users.%%s.facts', n %% %(users)s), n::text,
  jsonb_build_object('text', format('Fact %%s, which begins with %%s.', n, md5(n::text)))
FROM generate_series(1, %(items)s) AS n
"""

CHANGE = (
    "UPDATE store SET value = value || '{\"changed\": true}', updated_at = now() "
    "WHERE key::int <= %(changes)s"
)


async def measure(url: str, items: int, users: int, changes: int) -> list[list[str]]:
    """Fill a store, move it, drop both databases, and return the rows of the table."""
    index: IndexConfig = {"dims": 256, "embed": OfflineEmbeddings(), "fields": ["$"]}
    there, here = (make_conninfo(url, dbname=name) for name in ("moving_from", "moving_to"))
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE DATABASE moving_from")
        conn.execute("CREATE DATABASE moving_to")
        try:
            async with AsyncPostgresStore.from_conn_string(there) as old:
                await old.setup()
            with psycopg.connect(there) as old_tables:
                old_tables.execute(FILL, {"items": items, "users": users})
            async with (
                MemoryManager.from_conn_string(here, index=index) as store,
                open_pool(there) as pool,
            ):
                await store.setup()
                source = await Operations(store).moving.open(pool, follow=True)
                started = time.perf_counter()
                await Operations(store).moving.copy(source)
                lines = [_line("copy", time.perf_counter() - started, items)]
                with psycopg.connect(there) as old_tables:
                    old_tables.execute(CHANGE, {"changes": changes})
                started = time.perf_counter()
                await Operations(store).moving.follow(source, once=True)
                lines.append(_line("follow", time.perf_counter() - started, changes))
                started = time.perf_counter()
                switched = await Operations(store).moving.switch(source)
                lines.append(_line("switch", time.perf_counter() - started, items))
                lines.append(_line("of that, writes refused", switched.refused_seconds, items))
            return lines
        finally:
            conn.execute("DROP DATABASE moving_from WITH (FORCE)")
            conn.execute("DROP DATABASE moving_to WITH (FORCE)")


def _line(work: str, seconds: float, items: int) -> list[str]:
    return [work, f"{seconds:.2f}", f"{items / seconds:,.0f}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=100_000, help="items of the store")
    parser.add_argument("--users", type=int, default=1_000, help="namespaces of the items")
    parser.add_argument(
        "--changes", type=int, default=1_000, help="items that are changed after the copy"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, loading.server(Path(folder), "") as url:
        print(table(HEAD, asyncio.run(measure(url, options.items, options.users, options.changes))))


if __name__ == "__main__":
    main()
