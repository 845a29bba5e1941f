"""The indexes of the memory: how they are, and those that are missing made while everybody goes on."""

import asyncio
from collections.abc import Callable
from typing import Any, LiteralString, cast

from psycopg.sql import SQL, Identifier
from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database import schema, statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.objects import Objects
from graphs.memory.database.query import Query
from graphs.memory.database.transaction import Connection
from graphs.memory.principal import Principal
from graphs.memory.values.progress import Progress
from graphs.operations import catalogue, sizing, vector_index
from graphs.operations.service import only_service
from graphs.operations.sizing import IndexChoice
from graphs.operations.vector_index import IndexMigration, VectorIndex

_SQL = statements.load("indexes", __package__)


class IndexStatus(BaseModel):
    """How an index is."""

    model_config = ConfigDict(frozen=True)

    name: str
    on_table: str
    method: str
    bytes: int
    valid: bool = Field(
        description="One that is not is never used; its making was cut off, unless it goes on."
    )
    building: bool
    scans: int = Field(description="How often it was used since the statistics were last reset.")
    m: int | None = Field(description="Neighbours that an HNSW index keeps for each vector.")
    ef_construction: int | None = Field(
        description="Candidates from which an HNSW index chooses them."
    )
    lists: int | None = Field(description="Parts that an IVFFlat index divides the vectors into.")


class Vectors(BaseModel):
    """How many vectors of a model wait for its index."""

    model_config = ConfigDict(frozen=True)

    model: str
    dimensions: int
    active: bool = Field(description="Whether searches use this model.")
    index: str = Field(description="The name of its vector index.")
    vectors: int = Field(description="How many there are.")
    pending: int = Field(
        description="Vectors that each search of a wide scope reads one by one until they are in it."
    )
    advice: str | None = Field(
        default=None, description="What so many vectors want; None where they are not searched."
    )


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
        looked: Query[Any] = Query(
            _SQL["status"], {}, lambda rows: [IndexStatus(**row._asdict()) for row in rows]
        )
        waiting: Query[Any] = Query(
            _SQL["vectors"], {}, lambda rows: [Vectors(**row._asdict()) for row in rows]
        )
        indexes, vectors = await to_the_end(
            self._database.run(Principal.owner(), [looked, waiting])
        )
        there = {index.name: index for index in indexes}
        told = [
            each.model_copy(update={"advice": _advice(each, there) if each.active else None})
            for each in vectors
        ]
        return IndexReport(indexes=indexes, vectors=told)

    async def plan_migration(self, wish: IndexChoice) -> IndexMigration:
        """Return what `migrate` would do, as `VectorIndex.plan` says."""
        only_service(self._principal())
        return await VectorIndex(self._database).plan(wish)

    async def migrate(self, wish: IndexChoice, told: vector_index.StepProgress) -> IndexMigration:
        """Make the vector index of the model in use what is wished for, beside the old one, while everybody goes on.

        It may be cut off anywhere: searches have a whole index all the time, and the next call goes on.

        Raises:
            InvalidInput: `wish` names what its method does not have; nothing was begun.
            SetupRequired: there is no schema, or no embedding model yet.
            StatementTimeout: it took longer than the role's `statement_timeout`; the index in use stays.
            GraphMemoryError: somebody is building another index in its place.
        """
        only_service(self._principal())
        return await VectorIndex(self._database).migrate(wish, told)

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

    async def create(self, told: Progress) -> list[str]:
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


def _advice(vectors: Vectors, there: dict[str, IndexStatus]) -> str:
    """What to do about a vector index, in one line."""
    index = there.get(vectors.index)
    if index is None or not (index.valid or index.building):
        return f"{vectors.index} is {'cut off' if index else 'missing'}: `graph-memory indexes create`."
    if left := [
        name for name in (f"{vectors.index}_next", f"{vectors.index}_old") if name in there
    ]:
        if any(there[name].building for name in left):
            return f"{left[0]} is being built in its place."
        return f"{left[0]} was left by a migration that was cut off: run it again."
    built = IndexChoice.model_validate(
        index.model_dump(include={"method", "m", "ef_construction", "lists"})
    )
    return sizing.advice(built, vectors.vectors)


async def _being_made(conn: Connection) -> set[str]:
    with driver_errors():
        rows = await (await conn.execute(_SQL["being_made"].source)).fetchall()
    return {row["name"] for row in rows}


def _lacking(there: Objects, wanted: Objects, being_made: set[str]) -> dict[str, str]:
    of_constraints = {
        f"{name.split('.')[0]}.{name.split('.')[-1]}"
        for kind, name in wanted
        if kind == "constraint"
    }
    return {
        name: made.definition
        for (kind, name), made in sorted(wanted.items(), key=lambda each: each[0])
        if kind == "index"
        and name not in of_constraints | being_made
        and not ((found := there.get((kind, name))) and found.valid)
    }


async def _make(conn: Connection, name: str, definition: str) -> None:
    """Make one outside any transaction, as CONCURRENTLY demands. The definition is what our schema's own is read as."""
    await conn.execute(
        SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(Identifier(*name.split(".")))
    )
    text = definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
    await conn.execute(cast("LiteralString", text), prepare=False)  # type: ignore[redundant-cast]
