"""The speed limit of Postgres: minimal prepared statements over libpq in pipeline mode.

There are two tables (items and half-precision vectors) and nothing else: no search index, full
text, history, audit, row-level security, or store around them. It shows the most that a store can
reach on this server and its disks.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import orjson
from psycopg import pq

from benchmarks.corpus import Corpus, Item, namespace

CONNECTIONS = 4

_SCHEMA = b"""
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE items (
  namespace text COLLATE "C", key text COLLATE "C", value jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (namespace, key));
CREATE TABLE vectors (
  namespace text COLLATE "C", key text COLLATE "C", embedding halfvec NOT NULL,
  PRIMARY KEY (namespace, key));
ALTER TABLE vectors ALTER COLUMN embedding SET STORAGE PLAIN;
"""
_STATEMENTS = {
    b"item": b"INSERT INTO items (namespace, key, value) VALUES ($1, $2, $3::jsonb)",
    b"vector": b"INSERT INTO vectors (namespace, key, embedding) VALUES ($1, $2, $3::halfvec)",
    b"get": b"SELECT value, created_at, updated_at FROM items WHERE namespace = $1 AND key = $2",
    b"nearest": b"""
SELECT i.key, i.value, i.created_at, i.updated_at, near.distance
FROM (SELECT namespace, key, embedding <=> $2::halfvec AS distance FROM vectors
      WHERE namespace = $1 ORDER BY distance LIMIT $3::int) AS near
JOIN items AS i USING (namespace, key) ORDER BY near.distance""",
}

Statement = tuple[bytes, list[bytes], list[int]]
Rows = list[list[bytes | None]]


@dataclass(slots=True)
class _Waiting:
    answer: asyncio.Future[Rows]
    rows: Rows = field(default_factory=list)
    error: str = ""


class _Connection:
    """One connection in pipeline mode; all statements before a sync are one transaction."""

    def __init__(self, url: str) -> None:
        self._conn = pq.PGconn.connect(url.encode())
        if self._conn.status != pq.ConnStatus.OK:
            raise ConnectionError(self._conn.get_error_message())
        for name, text in _STATEMENTS.items():
            self._conn.prepare(name, text)
        self._conn.nonblocking = 1
        self._conn.enter_pipeline_mode()
        self._waiting: deque[_Waiting] = deque()
        self._unsent = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._conn.socket, self._read)

    @property
    def load(self) -> int:
        return len(self._waiting)

    def run(self, statements: Sequence[Statement]) -> asyncio.Future[Rows]:
        for name, parameters, formats in statements:
            self._conn.send_query_prepared(name, parameters, formats, pq.Format.TEXT)
        self._conn.pipeline_sync()
        self._write()
        waiting = _Waiting(self._loop.create_future())
        self._waiting.append(waiting)
        return waiting.answer

    def _write(self) -> None:
        if self._conn.flush():
            self._unsent = True
            self._loop.add_writer(self._conn.socket, self._write)
        elif self._unsent:
            self._unsent = False
            self._loop.remove_writer(self._conn.socket)

    def _read(self) -> None:
        self._conn.consume_input()
        nothing = False
        while self._waiting and not self._conn.is_busy():
            result = self._conn.get_result()
            if result is None:
                if nothing:
                    break
                nothing = True
                continue
            nothing = False
            waiting = self._waiting[0]
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                self._waiting.popleft()
                if waiting.error:
                    waiting.answer.set_exception(RuntimeError(waiting.error))
                else:
                    waiting.answer.set_result(waiting.rows)
            elif result.status == pq.ExecStatus.TUPLES_OK:
                columns = range(result.nfields)
                waiting.rows = [
                    [result.get_value(row, column) for column in columns]
                    for row in range(result.ntuples)
                ]
            elif result.status != pq.ExecStatus.COMMAND_OK:
                waiting.error = waiting.error or result.get_error_message()

    def close(self) -> None:
        self._loop.remove_reader(self._conn.socket)
        self._loop.remove_writer(self._conn.socket)
        self._conn.finish()


class Floor:
    """The peer that does the minimum."""

    name = "floor (libpq)"
    abilities = frozenset({"put", "get", "search"})

    def __init__(self, corpus: Corpus, connections: Sequence[_Connection]) -> None:
        self._embeddings = corpus.embeddings
        self._connections = connections
        self._turn = itertools.count()

    async def _run(self, statements: Sequence[Statement]) -> Rows:
        return await min(self._connections, key=lambda conn: conn.load).run(statements)

    def _vector(self, text: str) -> bytes:
        numbers = np.asarray(self._embeddings.embed_query(text))
        return len(numbers).to_bytes(2, "big") + b"\0\0" + numbers.astype(">f2").tobytes()

    def _inserts(self, item: Item) -> list[Statement]:
        scope, key = _text(item.namespace), item.key.encode()
        return [
            (b"item", [scope, key, orjson.dumps(item.value)], [0, 0, 0]),
            (b"vector", [scope, key, self._vector(item.text)], [0, 0, 1]),
        ]

    async def put(self, item: Item) -> None:
        await self._run(self._inserts(item))

    async def put_many(self, items: Sequence[Item]) -> None:
        await self._run([statement for item in items for statement in self._inserts(item)])

    async def get(self, item: Item) -> bool:
        rows = await self._run([(b"get", [_text(item.namespace), item.key.encode()], [0, 0])])
        return bool([orjson.loads(row[0] or b"{}") for row in rows])

    async def search(
        self, query: str, owner: int | None, category: str | None = None, limit: int = 10
    ) -> list[str]:
        if owner is None or category is not None:
            raise NotImplementedError
        scope = _text(namespace(owner))
        rows = await self._run(
            [(b"nearest", [scope, self._vector(query), str(limit).encode()], [0, 1, 0])]
        )
        return [str(orjson.loads(row[1] or b"{}") and (row[0] or b"").decode()) for row in rows]

    async def namespaces(self, kind: str, owner: int) -> int:
        raise NotImplementedError

    async def settle(self) -> None:
        """Do nothing: puts leave no work for later."""

    async def load(self, items: Sequence[Item]) -> float:
        for start in range(0, len(items), 1000):
            await self.put_many(items[start : start + 1000])
        return 0.0


def _text(labels: tuple[str, ...]) -> bytes:
    return ".".join(labels).encode()


@asynccontextmanager
async def floor_peer(url: str, corpus: Corpus) -> AsyncIterator[Floor]:
    """Yield the floor, on an empty database."""
    owner = pq.PGconn.connect(url.encode())
    created = owner.exec_(_SCHEMA)
    if created.status != pq.ExecStatus.COMMAND_OK:
        raise RuntimeError(created.get_error_message())
    owner.finish()
    connections = [_Connection(url) for _ in range(CONNECTIONS)]
    try:
        yield Floor(corpus, connections)
    finally:
        for connection in connections:
            connection.close()
