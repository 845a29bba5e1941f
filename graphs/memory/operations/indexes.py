"""The indexes of the memory: how they are, and those that are missing made while everybody goes on."""

import asyncio
from collections.abc import Callable
from typing import Any, LiteralString, cast

from psycopg.sql import SQL, Identifier
from pydantic import BaseModel, ConfigDict, Field

from graphs.memory import schema, sql
from graphs.memory.database import Database, to_the_end
from graphs.memory.errors import driver_errors
from graphs.memory.operations import catalogue
from graphs.memory.operations.catalogue import Objects
from graphs.memory.operations.service import only_service
from graphs.memory.principal import Principal
from graphs.memory.transaction import Connection, Query

_SQL = sql.load("indexes")

Told = Callable[[int, int | None], None]
"""Gets how many indexes are made, and of how many."""


class IndexStatus(BaseModel):
    """How an index is."""

    model_config = ConfigDict(frozen=True)

    name: str
    on_table: str
    method: str
    bytes: int
    valid: bool = Field(description="One that is not is never used; its making was cut off, unless it goes on.")
    building: bool
    scans: int = Field(description="How often it was used since the statistics were last reset.")
    m: int | None = Field(description="Neighbours that an HNSW index keeps for each vector.")
    ef_construction: int | None = Field(description="Candidates from which an HNSW index chooses them.")


class Vectors(BaseModel):
    """How many vectors of a model wait for its index."""

    model_config = ConfigDict(frozen=True)

    model: str
    dimensions: int
    active: bool = Field(description="Whether searches use this model.")
    index: str = Field(description="The name of its vector index.")
    pending: int = Field(description="Vectors that each search of a wide scope reads one by one until they are in it.")


class IndexReport(BaseModel):
    """How the indexes are."""

    model_config = ConfigDict(frozen=True)

    indexes: list[IndexStatus]
    vectors: list[Vectors]


class Indexes:
    """How the indexes are, and those made that are missing. For the service only.

    Args:
        database: where the memory is.
        principal: tells who is acting.
    """

    def __init__(self, database: Database, principal: Callable[[], Principal]) -> None:
        self._database = database
        self._principal = principal

    async def status(self) -> IndexReport:
        """Return how the indexes of the memory are, and how many vectors wait for theirs.

        Raises:
            SetupRequired: there is no schema.
        """
        only_service(self._principal())
        looked: Query[Any] = Query(_SQL["status"], {}, lambda rows: [IndexStatus(**row._asdict()) for row in rows])
        waiting: Query[Any] = Query(_SQL["vectors"], {}, lambda rows: [Vectors(**row._asdict()) for row in rows])
        indexes, vectors = await to_the_end(self._database.run(Principal.owner(), [looked, waiting]))
        return IndexReport(indexes=indexes, vectors=vectors)

    async def lacking(self) -> dict[str, str]:
        """Return the indexes that are missing or invalid, each with the statement that makes it.

        Those of keys and other constraints come with the schema, and what is being made now is left alone.
        """
        only_service(self._principal())
        scripts = await asyncio.to_thread(schema.read_scripts)
        async with self._database.pool.connection() as conn:
            # Looked at twice: what is finished in between seems to be invalid and made by nobody.
            before = await _being_made(conn)
            there, wanted = await catalogue.both(conn, scripts)
            return _lacking(there, wanted, before | await _being_made(conn))

    async def create(self, told: Told) -> list[str]:
        """Make the indexes that are missing, one after another, while everybody reads and writes; return their names.

        Interrupted, it leaves an invalid index at most, which the next call drops and makes anew.

        Raises:
            SetupRequired: a table is missing, too.
            StatementTimeout: one took longer than the role's `statement_timeout`; what is made stays.
        """
        todo = await self.lacking()
        for done, (name, definition) in enumerate(todo.items()):
            told(done, len(todo))
            async with self._database.pool.connection() as conn:
                with driver_errors():
                    await _make(conn, name, definition)
        told(len(todo), len(todo))
        return [*todo]


async def _being_made(conn: Connection) -> set[str]:
    with driver_errors():
        rows = await (await conn.execute(_SQL["being_made"].source)).fetchall()
    return {row["name"] for row in rows}


def _lacking(there: Objects, wanted: Objects, being_made: set[str]) -> dict[str, str]:
    of_constraints = {f"{name.split('.')[0]}.{name.split('.')[-1]}" for kind, name in wanted if kind == "constraint"}
    return {
        name: made.definition
        for (kind, name), made in sorted(wanted.items(), key=lambda each: each[0])
        if kind == "index"
        and name not in of_constraints | being_made
        and not ((found := there.get((kind, name))) and found.valid)
    }


async def _make(conn: Connection, name: str, definition: str) -> None:
    """Make one outside any transaction, as CONCURRENTLY demands. The definition is what our schema's own is read as."""
    await conn.execute(SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(Identifier(*name.split("."))))
    text = definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
    await conn.execute(cast("LiteralString", text), prepare=False)  # type: ignore[redundant-cast]
