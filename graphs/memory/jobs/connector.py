"""procrastinate's connector over the deployment's own pool."""

from collections.abc import Mapping
from typing import Any, LiteralString

from procrastinate import connector, exceptions
from procrastinate.sync_psycopg_connector import wrap_exceptions
from psycopg.types.json import Jsonb

from graphs.memory.database import statements
from graphs.memory.database.database import Pool, to_the_end

_IN_SCHEMA = statements.load_sources("setup", "graphs.memory.database")["in_job_schema"]


class Connector(connector.BaseAsyncConnector):
    """Runs procrastinate's statements on our pool, with its schema in the search path."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def open_async(self, pool: connector.Pool | None = None) -> None:
        """Do nothing: the pool is open."""

    async def close_async(self) -> None:
        """Do nothing: the owner of the pool closes it."""

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        """Carry out a statement."""
        await to_the_end(self._run(query, arguments))

    async def execute_query_one_async(
        self, query: LiteralString, **arguments: Any
    ) -> dict[str, Any]:
        """Return the only row of a query."""
        rows: list[dict[str, Any]] = await to_the_end(self._run(query, arguments))
        if not rows:
            raise exceptions.NoResult
        return rows[0]

    async def execute_query_all_async(
        self, query: LiteralString, **arguments: Any
    ) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        return await to_the_end(self._run(query, arguments))

    async def _run(
        self, query: LiteralString, arguments: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        given = {name: _adapted(value) for name, value in arguments.items()}
        with wrap_exceptions():
            return await self._in_transaction(query, given)

    async def _in_transaction(
        self, query: LiteralString, given: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        async with self._pool.connection() as conn, conn.transaction():
            await conn.execute(_IN_SCHEMA, prepare=False)
            cursor = await conn.execute(query, given, prepare=False)
            return await cursor.fetchall() if cursor.description else []


def _adapted(value: Any) -> Any:
    """A parameter as psycopg takes it: objects, wherever they are in it, are JSON."""
    if isinstance(value, dict):
        return Jsonb(value)
    if isinstance(value, list):
        return [_adapted(part) for part in value]
    return tuple(_adapted(part) for part in value) if isinstance(value, tuple) else value
