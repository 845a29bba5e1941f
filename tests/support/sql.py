"""Direct queries of a database as its owner, past the store."""

from typing import Any

import psycopg
from psycopg.rows import dict_row


async def rows(database: str, statement: str, *parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of a statement, run as the owner of the tables."""
    async with await psycopg.AsyncConnection.connect(
        database, autocommit=True, row_factory=dict_row
    ) as conn:
        cursor = await conn.execute(statement, parameters or None)
        return await cursor.fetchall() if cursor.description else []


async def cut_connections(database: str) -> None:
    """End every other connection to a database, as a restart of the server does."""
    await rows(
        database,
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()""",
    )
