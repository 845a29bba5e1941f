"""Direct queries of a database as its owner, past the store."""

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

UNUSUAL_FORMATS = {
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kolkata",  # whose abbreviation Postgres reads as another zone's
    "bytea_output": "escape",
    "extra_float_digits": "-10",
    "standard_conforming_strings": "off",
}


async def rows(database: str, statement: str, *parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of a statement, run as the owner of the tables."""
    async with await psycopg.AsyncConnection.connect(
        database, autocommit=True, row_factory=dict_row
    ) as conn:
        cursor = await conn.execute(statement, parameters or None)
        return await cursor.fetchall() if cursor.description else []


async def set_unusual_formats(database: str) -> None:
    """Give a database other formats of text, for connections that are opened from now on."""
    name = conninfo_to_dict(database)["dbname"]
    for setting, value in UNUSUAL_FORMATS.items():
        await rows(database, f"ALTER DATABASE {name} SET {setting} = '{value}'")


async def make_read_only(database: str, value: str = "on") -> None:
    """Make a database read-only, as Supabase does over its quota, or (`off`) end that."""
    name = conninfo_to_dict(database)["dbname"]
    await rows(
        database,
        f"SET TRANSACTION READ WRITE; "
        f"ALTER DATABASE {name} SET default_transaction_read_only = {value}",
    )
    await cut_connections(database)


async def fill_disk(database: str) -> None:
    """Refuse new memories as a server with a full disk does."""
    await rows(
        database,
        """CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
        END $$; CREATE TRIGGER full_disk BEFORE INSERT ON memory.memories
        EXECUTE FUNCTION public.full_disk()""",
    )


async def cut_connections(database: str) -> None:
    """End every other connection to a database, as a restart of the server does."""
    await rows(
        database,
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()""",
    )
