"""Servers to measure on, and bulk loads into them.

The peers' tables are filled by COPY instead of their own puts. Their HNSW index is dropped before
and rebuilt after that, which takes a twentieth of the time. Rows and index are the same as after
puts of the same items; the index is in better order, if anything.
"""

import hashlib
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import psycopg
from langchain_core.embeddings import Embeddings
from psycopg import sql

from benchmarks.corpus import Item, user_id
from benchmarks.progress import Progress
from graphs.deployment.embedded_postgres import embedded_postgres

_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "shared_buffers",
    "work_mem",
    "maintenance_work_mem",
    "max_wal_size",
)
_PACKAGES = ("langgraph-checkpoint-postgres", "mem0ai", "psycopg")


@contextmanager
def server(folder: Path, shared_buffers: str | None) -> Iterator[str]:
    """Run an embedded Postgres with defaults, except `shared_buffers` and index build memory."""
    if shared_buffers:
        with embedded_postgres(folder) as url, psycopg.connect(url, autocommit=True) as conn:
            conn.execute(
                sql.SQL("ALTER SYSTEM SET shared_buffers = {}").format(sql.Literal(shared_buffers))
            )
            conn.execute("ALTER SYSTEM SET maintenance_work_mem = '1GB'")
    with embedded_postgres(folder) as url:
        yield url


def circumstances(url: str) -> dict[str, str]:
    """Return the conditions of a measurement: the machine, the versions, the server's settings."""
    told = {"cores": str(os.cpu_count()), "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            told[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            told[package] = "not installed"
    with psycopg.connect(url, autocommit=True) as conn:
        for name in _SETTINGS:
            row = conn.execute("SELECT current_setting(%s)", (name,)).fetchone()
            told[name] = str(row[0]) if row else ""
        row = conn.execute(
            "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
        ).fetchone()
        told["pgvector"] = str(row[0]) if row else ""
    return told


def tidy(url: str) -> None:
    """Vacuum and analyze a database, as autovacuum would sooner or later."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE")
        conn.execute("CHECKPOINT")


def _binary(embeddings: Embeddings, text: str) -> bytes:
    """Return a vector in pgvector's binary format."""
    numbers = np.asarray(embeddings.embed_query(text))
    return len(numbers).to_bytes(2, "big") + b"\0\0" + numbers.astype(">f4").tobytes()


def _jsonb(value: Any) -> bytes:
    return b"\x01" + orjson.dumps(value)


async def copy_upstream(url: str, items: Sequence[Item], embeddings: Embeddings) -> float:
    """Fill the tables of an AsyncPostgresStore, build its index and return the build's seconds."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        row = await (
            await conn.execute(
                "SELECT indexdef FROM pg_indexes WHERE indexname = 'store_vectors_embedding_idx'"
            )
        ).fetchone()
        definition = str(row[0]) if row else ""
        await conn.execute("DROP INDEX store_vectors_embedding_idx")
        cursor = conn.cursor()
        with Progress("AsyncPostgresStore: copying items", len(items)) as progress:
            async with cursor.copy(
                "COPY store (prefix, key, value) FROM STDIN (FORMAT BINARY)"
            ) as copy:
                for item in items:
                    await copy.write_row((".".join(item.namespace), item.key, _jsonb(item.value)))
                    progress.advance(1)
        with Progress("AsyncPostgresStore: copying vectors", len(items)) as progress:
            async with cursor.copy(
                "COPY store_vectors (prefix, key, field_name, embedding) FROM STDIN (FORMAT BINARY)"
            ) as copy:
                for item in items:
                    await copy.write_row(
                        (".".join(item.namespace), item.key, "text", _binary(embeddings, item.text))
                    )
                    progress.advance(1)
        return await _build(conn, "AsyncPostgresStore", definition, len(items))


async def copy_mem0(url: str, items: Sequence[Item], embeddings: Embeddings) -> float:
    """Fill mem0's table as `add(infer=False)` does; build its index and return the seconds."""
    now = datetime.now(UTC).isoformat()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        row = await (
            await conn.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'mem0_hnsw_idx'")
        ).fetchone()
        definition = str(row[0]) if row else ""
        await conn.execute("DROP INDEX mem0_hnsw_idx")
        with Progress("mem0: copying", len(items)) as progress:
            async with conn.cursor().copy(
                "COPY mem0 (id, vector, payload) FROM STDIN (FORMAT BINARY)"
            ) as copy:
                for item in items:
                    payload = {
                        "user_id": user_id(item.owner),
                        "agent_id": "everybody",
                        "role": "user",
                        "category": item.category,
                        "data": item.text,
                        "hash": hashlib.md5(item.text.encode(), usedforsecurity=False).hexdigest(),
                        "created_at": now,
                        "updated_at": now,
                        # What mem0 stores without spaCy, which it does not install.
                        "text_lemmatized": item.text,
                    }
                    await copy.write_row(
                        (UUID(int=item.n + 1), _binary(embeddings, item.text), _jsonb(payload))
                    )
                    progress.advance(1)
        return await _build(conn, "mem0", definition, len(items))


async def _build(
    conn: psycopg.AsyncConnection[Any], name: str, definition: str, count: int
) -> float:
    """Build a dropped index, with enough memory to hold the graph, and return the seconds."""
    began = time.perf_counter()
    with Progress(f"{name}: building its HNSW index", count) as progress:
        await conn.execute("SET maintenance_work_mem = '2GB'")
        # Parallel workers need shared memory, which may be scarce.
        await conn.execute("SET max_parallel_maintenance_workers = 0")
        await conn.execute(sql.SQL(definition))
        progress.advance(count)
    return time.perf_counter() - began
