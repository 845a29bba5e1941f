"""The state of the indexes, and the creation of missing ones without blocking reads or writes."""

import asyncio
from typing import Any, LiteralString, cast

from psycopg.sql import SQL, Identifier
from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.access import Access
from graphs.memory.database import schema, statements
from graphs.memory.database.database import to_the_end
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
    """The state of an index."""

    model_config = ConfigDict(frozen=True)

    name: str
    on_table: str
    method: str
    bytes: int
    valid: bool = Field(
        description="An invalid index is never used. Its build failed, unless `building` is true."
    )
    building: bool
    scans: int = Field(description="Number of scans since the statistics were last reset.")
    m: int | None = Field(description="HNSW: neighbours stored for each vector.")
    ef_construction: int | None = Field(description="HNSW: candidates for neighbours.")
    lists: int | None = Field(description="IVFFlat: lists that the vectors are divided into.")


class Vectors(BaseModel):
    """The vectors of a model, and how many of them are not yet in its index."""

    model_config = ConfigDict(frozen=True)

    model: str
    dimensions: int
    active: bool = Field(description="Whether searches use this model.")
    index: str = Field(description="Name of its vector index.")
    vectors: int = Field(description="Number of vectors.")
    pending: int = Field(
        description="Vectors not yet in the index. Searches of wide scopes compare them one by one."
    )
    advice: str | None = Field(
        default=None, description="Advice on the index; None if no search uses the model."
    )


class IndexReport(BaseModel):
    """The state of all indexes and of the vectors that they hold."""

    model_config = ConfigDict(frozen=True)

    indexes: list[IndexStatus]
    vectors: list[Vectors]


class Indexes:
    """Index status, creation of missing indexes, and migration of the vector index.

    For the service only.

    Args:
        access: the store's access.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._database = access.database

    async def status(self) -> IndexReport:
        """Return the state of the indexes, and the number of vectors that are not yet in theirs.

        Raises:
            SetupRequired: there is no schema.
        """
        only_service(self._access)
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
        """Return the plan of `migrate` without running it. Raises as `VectorIndex.plan`."""
        only_service(self._access)
        return await VectorIndex(self._database).plan(wish)

    async def migrate(self, wish: IndexChoice, told: vector_index.StepProgress) -> IndexMigration:
        """Rebuild the vector index of the active model with other parameters, without blocking.

        The new index is built beside the old one, so searches always have a complete index. After
        an interruption anywhere, the next call continues.

        Args:
            wish: the method and parameters.
            told: receives the progress of each step.

        Raises:
            InvalidInput: `wish` has parameters that its method lacks; nothing was changed.
            SetupRequired: there is no schema, or no embedding model yet.
            StatementTimeout: the build exceeded the role's `statement_timeout`; the old index
                stays.
            GraphMemoryError: another session is building a different index in its place.
        """
        only_service(self._access)
        return await VectorIndex(self._database).migrate(wish, told)

    async def lacking(self) -> dict[str, str]:
        """Return the missing or invalid indexes, each with the statement that creates it.

        Indexes of constraints are left out, since the schema creates them. So are indexes that are
        being built at the moment.
        """
        only_service(self._access)
        scripts = await asyncio.to_thread(schema.read_scripts)
        async with self._database.pool.connection() as conn:
            # Twice: an index whose build ends in between would look invalid and abandoned.
            before = await _being_made(conn)
            there, wanted = await catalogue.both(conn, scripts)
            return _lacking(there, wanted, before | await _being_made(conn))

    async def create(self, told: Progress) -> list[str]:
        """Create the missing indexes one by one, without blocking; return their names.

        After an interruption, at most one invalid index is left. The next call drops and rebuilds
        it.

        Args:
            told: receives the number of created indexes and the total.

        Raises:
            SetupRequired: a table is missing, too.
            StatementTimeout: a build exceeded the role's `statement_timeout`; finished indexes
                stay.
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
    """Return one line of advice about a vector index."""
    index = there.get(vectors.index)
    if index is None or not (index.valid or index.building):
        state = "incomplete" if index else "missing"
        return f"{vectors.index} is {state}: run `graph-memory indexes create`."
    if left := [
        name for name in (f"{vectors.index}_next", f"{vectors.index}_old") if name in there
    ]:
        if any(there[name].building for name in left):
            return f"{left[0]} is being built to replace it."
        return f"{left[0]} was left by an interrupted migration: run it again."
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
    """Create one index, outside any transaction, as CONCURRENTLY demands.

    The definition is trusted: it was read from the catalogue of our own schema.
    """
    await conn.execute(
        SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(Identifier(*name.split(".")))
    )
    text = definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
    await conn.execute(cast("LiteralString", text), prepare=False)  # type: ignore[redundant-cast]
