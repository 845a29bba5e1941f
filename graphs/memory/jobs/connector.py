"""procrastinate's connector on the pool of this deployment."""

from collections.abc import Mapping
from typing import Any, LiteralString

from procrastinate import connector, exceptions
from procrastinate.sync_psycopg_connector import wrap_exceptions
from psycopg.types.json import Jsonb

from graphs.memory.database import statements
from graphs.memory.database.database import Pool, to_the_end
from graphs.memory.database.deadlines import timed

_IN_SCHEMA = statements.load_sources("setup", "graphs.memory.database")["in_job_schema"]


class Connector(connector.BaseAsyncConnector):
    """A connector that runs each statement in a transaction whose search path has procrastinate."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def open_async(self, pool: connector.Pool | None = None) -> None:
        """Do nothing: the pool is open already."""

    async def close_async(self) -> None:
        """Do nothing: the owner of the pool closes it."""

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        """Run a statement."""
        await to_the_end(self._run(query, arguments))

    async def execute_query_one_async(
        self, query: LiteralString, **arguments: Any
    ) -> dict[str, Any]:
        """Return the first row of a query.

        Raises:
            NoResult: there is none.
        """
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
        async with self._pool.connection() as conn, timed(conn), conn.transaction():
            # Local to the transaction, and nothing is prepared: it may run on a transaction pooler.
            await conn.execute(_IN_SCHEMA, prepare=False)
            cursor = await conn.execute(query, given, prepare=False)
            return await cursor.fetchall() if cursor.description else []


def _adapted(value: Any) -> Any:
    """Return a parameter for psycopg, with each dictionary in it as JSON."""
    if isinstance(value, dict):
        return Jsonb(value)
    if isinstance(value, list):
        return [_adapted(part) for part in value]
    return tuple(_adapted(part) for part in value) if isinstance(value, tuple) else value
