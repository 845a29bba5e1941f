"""The tables of LangGraph's checkpointer, in the schema `langgraph`."""

from collections.abc import Sequence
from typing import LiteralString

from graphs.memory.database import statements
from graphs.memory.database.transaction import Connection

_SQL = statements.load_sources("tables", __package__)


async def migrate(conn: Connection, migrations: Sequence[LiteralString]) -> None:
    """Create the tables, or upgrade them, in the caller's transaction.

    Args:
        conn: a connection in a transaction.
        migrations: the statements of the library, in order; each is executed once.
    """
    await conn.execute(_SQL["lock"])
    await conn.execute(_SQL["path"])
    exists = await (await conn.execute(_SQL["has_versions"])).fetchone()
    row = (
        await (await conn.execute(_SQL["latest_version"])).fetchone()
        if exists and exists["has_versions"]
        else None
    )
    done = row["version"] if row else -1
    for version, migration in list(enumerate(migrations))[done + 1 :]:
        # CREATE INDEX CONCURRENTLY cannot run in a transaction, and new tables have no readers.
        await conn.execute(migration.replace(" CONCURRENTLY", ""))
        await conn.execute(_SQL["record_version"], {"version": version})
    if done + 1 < len(migrations):
        # Several statements in one text cannot be prepared.
        await conn.execute(_SQL["protect"], prepare=False)
