"""The objects of a database, read from its catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, LiteralString, cast

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from graphs.memory.database import statements

_SQL = statements.load_sources("objects", __package__)

ObjectKind = Literal[
    "table",
    "column",
    "constraint",
    "index",
    "function",
    "trigger",
    "row-level security",
    "policy",
    "grant",
    "comment",
]
ObjectName = tuple[ObjectKind, str]


@dataclass(frozen=True, slots=True)
class Object:
    """A database object as the catalogue describes it.

    An invalid index is never used. An invalid constraint holds for new rows only.
    """

    definition: str
    valid: bool


Objects = Mapping[ObjectName, Object]


async def read(conn: AsyncConnection[DictRow]) -> Objects:
    """Return the objects of the schema and of business tables, in the open transaction.

    It leaves the transaction with an empty search path.
    """
    await conn.execute(_SQL["qualify_names"])
    rows = await (await conn.execute(_SQL["objects"], prepare=False)).fetchall()
    # A business table that stayed where it was points at what was set aside.
    return {
        (row["kind"], row["name"]): Object(
            row["definition"].replace("memory_set_aside.", "memory."), row["valid"]
        )
        for row in rows
    }


async def set_aside(conn: AsyncConnection[DictRow]) -> None:
    """Rename the schema until the transaction is rolled back, to make room for another one."""
    await conn.execute(_SQL["set_aside"], prepare=False)


async def missing(conn: AsyncConnection[DictRow], script: str) -> list[str]:
    """Return the objects of a script that a database lacks, such as `table memory.turns`.

    The script runs beside the schema, in a savepoint that is rolled back. Columns and the like of a
    missing table are left out. Grants and comments do not count.
    """
    async with conn.transaction(force_rollback=True):
        there = await read(conn)
        await set_aside(conn)
        await conn.execute(cast("LiteralString", script), prepare=False)  # type: ignore[redundant-cast]
        wanted = await read(conn)
    return [
        f"{kind} {name}"
        for kind, name in sorted(wanted.keys() - there.keys(), key=_tables_first)
        if kind not in ("grant", "comment") and not of_missing_table(kind, name, there, wanted)
    ]


def _tables_first(named: ObjectName) -> tuple[bool, ObjectName]:
    return named[0] != "table", named


def of_missing_table(kind: ObjectKind, name: str, there: Objects, wanted: Objects) -> bool:
    """Return whether an object belongs to a table that is missing, too."""
    table = ".".join(name.split(" ")[0].split(".")[:2])
    return (
        kind not in ("table", "index", "function")
        and ("table", table) in wanted
        and ("table", table) not in there
    )
