"""An application that keeps writing to a LangGraph store while the store is moved."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from langgraph.store.base import IndexConfig, PutOp
from langgraph.store.postgres.aio import AsyncPostgresStore
from psycopg.conninfo import make_conninfo

from graphs.operations.migration.switching import SwitchResult
from tests.support.sql import rows

ADA, BOB = ("users", "ada", "facts"), ("users", "bob", "facts")

OURS_THERE = """SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'graph_memory_migration')
  + (SELECT count(*) FROM pg_trigger
     WHERE tgname LIKE 'graph_memory%' AND NOT tgisinternal) AS ours"""

Place = tuple[tuple[str, ...], str]


@asynccontextmanager
async def old_store(database: str, index: IndexConfig | None) -> AsyncIterator[AsyncPostgresStore]:
    """Yield a LangGraph store; in our own database, pgvector is in the schema `extensions`."""
    theirs: Any = dict(index) if index else None
    url = make_conninfo(database, options="-c search_path=public,extensions")
    ttl: Any = {"refresh_on_read": True}
    async with AsyncPostgresStore.from_conn_string(
        url, index=theirs, ttl=ttl, pool_config={"max_size": 4}
    ) as store:
        await store.setup()
        yield store


class Application:
    """A writer that puts, updates, deletes, batches and reads, until the store has moved.

    Args:
        store: The store that it writes to.
        seed: A different seed gives different writes.
    """

    def __init__(self, store: AsyncPostgresStore, seed: int) -> None:
        self._store = store
        self._random = random.Random(seed)  # noqa: S311
        self.known: dict[Place, dict[str, Any]] = {}
        """The items that it expects in the store."""
        self.writes = self.refused = 0

    async def has_written(self, times: int) -> bool:
        """Return True once it has written that many times."""
        return self.writes >= times

    async def write(self, most: int, pause: float = 0.0) -> None:
        """Write `most` times at most, or until the store has moved."""
        for _ in range(most):
            try:
                await self._write_until_taken(self._operations())
            except psycopg.errors.ReadOnlySqlTransaction:
                return
            await asyncio.sleep(pause)

    async def _write_until_taken(self, operations: list[PutOp]) -> None:
        for _ in range(1000):
            try:
                await self._store.abatch(operations)
                break
            except psycopg.errors.CannotConnectNow:
                self.refused += 1
                await asyncio.sleep(0.005)
        self.writes += 1
        for op in operations:
            if op.value is None:
                self.known.pop((op.namespace, op.key), None)
            else:
                self.known[op.namespace, op.key] = dict(op.value)

    def _operations(self) -> list[PutOp]:
        several = self._random.choice([1, 1, 1, 5])
        places = {self._place() for _ in range(several)}
        return [
            PutOp(*place, self._value(), ttl=self._random.choice([None, None, 60]))
            for place in sorted(places)
        ]

    def _place(self) -> Place:
        return (
            "users",
            self._random.choice(["ada", "bob"]),
            "facts",
        ), f"k{self._random.randrange(60)}"

    def _value(self) -> Any:
        gone = self._random.random() < 0.2
        return (
            None
            if gone
            else {"text": f"Fact {self._random.random()}", "n": self._random.choice([1, 1.5, None])}
        )


THERE = """SELECT prefix AS namespace, key, value, created_at, updated_at, expires_at,
  ttl_minutes::float8
FROM public.store ORDER BY prefix COLLATE "C", key COLLATE "C" """

HERE = """SELECT left(namespace, -1) AS namespace, key, value, created_at, updated_at, expires_at,
  ttl_minutes
FROM memory.memories ORDER BY left(namespace, -1) COLLATE "C", key"""


async def both_sides(there: str, here: str) -> tuple[Any, Any]:
    """Return all items of a LangGraph store, and all of ours."""
    return await rows(there, THERE), await rows(here, HERE)


def shared(done: SwitchResult) -> int:
    """Return the number of items that are equal on both sides; check that all are."""
    assert done.agreement is not None
    assert (done.agreement.differing, done.agreement.there) == (0, done.agreement.here)
    return done.agreement.here
