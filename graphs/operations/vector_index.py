"""A migration of the active model's vector index that blocks neither searches nor writes.

The migration examines the current state and takes the next step until none is left, so that
the next call continues after any interruption. Searches always have a complete index: the new
one is built under another name, then one transaction swaps names and stores the choice, and the
old one is dropped last.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

from psycopg import errors as pg
from psycopg.sql import Composed, Identifier
from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database import building, statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.query import Query
from graphs.memory.database.transaction import Connection
from graphs.memory.errors import (
    GraphMemoryError,
    SetupRequired,
    StatementTimeout,
    StoreUnavailable,
)
from graphs.memory.principal import Principal
from graphs.operations.sizing import IndexChoice, wanted_by

_SQL = statements.load("vector_index", __package__)
_INDEX_VECTORS = statements.load("indexing", "graphs.memory.search")["index_vectors"]
_LOCK = statements.load_sources("setup", "graphs.memory.database")["lock"]

_LOOK_SECONDS = 0.25
_PORTION = 32
_ROUNDS = 20
"""Most steps of one migration.

It takes at most seven, clean-up after others included. More steps mean that another session
keeps undoing them.
"""

_MET = (pg.DuplicateTable, pg.DeadlockDetected)
"""Errors of two sessions that take the same step at once. One gives way and looks again."""

StepProgress = Callable[[str, int, int | None], None]
"""A callable that receives the phase, the amount done and the total (None if unknown)."""

BuildStep = Literal[
    "drop what was left",
    "wait for another",
    "index what waits",
    "build",
    "swap",
    "drop the old one",
    "keep the choice",
]


class IndexMigration(BaseModel):
    """The plan of a migration, and its result."""

    model_config = ConfigDict(frozen=True)

    model: str
    index: str
    vectors: int
    before: IndexChoice | None = Field(
        description="The index that searches use now; None if there is none."
    )
    after: IndexChoice
    steps: list[BuildStep] = Field(
        description="The steps in their order; empty if the index is as wished."
    )


@dataclass(frozen=True, slots=True)
class Built:
    """An existing index, complete or not."""

    name: str
    choice: IndexChoice
    valid: bool
    builder: int | None
    """The server process that is building it."""


@dataclass(frozen=True, slots=True)
class _BuildPlan:
    """The current state of the index and the wished one."""

    model: Any
    kept: IndexChoice
    """The choice that is stored with the model."""
    wanted: IndexChoice
    now: Built | None
    next: Built | None
    old: Built | None

    @property
    def name(self) -> str:
        return f"embeddings_vectors_{self.model.id}"

    def steps(self) -> list[tuple[BuildStep, str]]:
        """Return the remaining steps, each with the name of its index."""
        whole = self.now if self.now and self.now.valid else None
        todo: list[tuple[BuildStep, str]] = []
        if self.old and self.now:
            # If the current index is incomplete, the old one still serves searches.
            todo.append(
                ("drop the old one", self.old.name) if whole else ("drop what was left", self.name)
            )
        if whole and whole.choice == self.wanted:
            todo += [("drop what was left", self.next.name)] if self.next else []
            return todo + ([("keep the choice", self.name)] if self.kept != self.wanted else [])
        return todo + self._steps_to_another()

    def _steps_to_another(self) -> list[tuple[BuildStep, str]]:
        name = f"{self.name}_next"
        todo: list[tuple[BuildStep, str]] = []
        there = self.next if self.next and self.next.choice == self.wanted else None
        if there and there.builder:
            todo.append(("wait for another", name))
        elif not (there and there.valid):
            todo += [("drop what was left", name)] if self.next else []
            # IVFFlat places its lists by the vectors present at build time: index them first.
            waits = self.wanted.method == "ivfflat" and 10 * self.model.waiting > self.model.vectors
            todo += [("index what waits", name)] if waits else []
            todo.append(("build", name))
        return [*todo, ("swap", name), ("drop the old one", f"{self.name}_old")]


class VectorIndex:
    """Changes the method or parameters of the active model's vector index.

    Args:
        database: the store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def plan(self, wish: IndexChoice) -> IndexMigration:
        """Return what a migration would do.

        Raises:
            InvalidInput: `wish` has parameters that its method lacks.
            SetupRequired: there is no schema, or no embedding model yet.
            GraphMemoryError: another session is building a different index in its place.
        """
        wish.check()
        return _told(await self._look(wish))

    async def migrate(self, wish: IndexChoice, told: StepProgress) -> IndexMigration:
        """Rebuild the index as wished; return the plan that was carried out.

        Raises:
            StatementTimeout: the build exceeded the role's `statement_timeout`; the old index
                stays.
            GraphMemoryError: as `plan`, or another session keeps changing the same index.
        """
        wish.check()
        work = await self._look(wish)
        migration = _told(work)
        for _ in range(_ROUNDS):
            steps = work.steps()
            if not steps:
                return migration
            await self._take(*steps[0], work, told)
            work = await self._look(migration.after)
        raise GraphMemoryError(
            "Another session keeps changing the same vector index: run "
            "`graph-memory indexes status`, and try again when it has ended."
        )

    async def _look(self, wish: IndexChoice) -> _BuildPlan:
        used: Query[Any] = Query(_SQL["in_use"], {}, lambda rows: rows[0] if rows else None)
        [model] = await to_the_end(self._database.run(Principal.owner(), [used]))
        if model is None:
            raise SetupRequired(
                "This database has no embedding model yet: run `graph-memory setup` first."
            )
        name = f"embeddings_vectors_{model.id}"
        found = await self._found([name, f"{name}_next", f"{name}_old"])
        now, next_ = found.get(name), found.get(f"{name}_next")
        wanted = wish.completed(model.vectors)
        # Keep an index that exists or is nearly built: a few more vectors are no reason to rebuild.
        for there in (next_, now):
            if there and wish.asks_for(there.choice, model.vectors):
                wanted = there.choice
        if next_ and next_.builder and next_.choice != wanted:
            raise GraphMemoryError(
                f"The server process {next_.builder} is building {next_.choice} in its place: wait "
                f"until it has ended (`graph-memory indexes status`), or cancel it "
                f"with SELECT pg_cancel_backend({next_.builder})."
            )
        return _BuildPlan(model, _choice(model), wanted, now, next_, found.get(f"{name}_old"))

    async def _found(self, names: Sequence[str]) -> dict[str, Built]:
        """Return the existing ones of some indexes, by name."""
        built: Query[Any] = Query(
            _SQL["built"], {"names": names}, lambda rows: [*map(_built, rows)]
        )
        [found] = await to_the_end(self._database.run(Principal.owner(), [built]))
        # Look twice: an index whose build ends in between would look invalid and abandoned.
        if any(not (each.valid or each.builder) for each in found):
            await asyncio.sleep(_LOOK_SECONDS)
            [found] = await to_the_end(self._database.run(Principal.owner(), [built]))
        return {each.name: each for each in found}

    async def _take(self, step: BuildStep, name: str, work: _BuildPlan, told: StepProgress) -> None:
        told(step, 0, None)
        match step:
            case "wait for another":
                await self._wait(name, work, told)
            case "index what waits":
                await self._index(work, told)
            case "build":
                await self._carry_out(_statement(work, name), name, work, told)
            case "drop what was left" | "drop the old one":
                await self._carry_out(building.drop(name), name, work, told)
            case "swap" | "keep the choice":
                await self._swap(work)

    async def _carry_out(
        self, statement: Composed, name: str, work: _BuildPlan, told: StepProgress
    ) -> None:
        """Run a statement that no transaction may contain. Cancelling the caller cancels it."""
        async with self._database.pool.connection() as conn:
            with _saying_what_to_do(), driver_errors(), suppress(*_MET):
                working = asyncio.ensure_future(conn.execute(statement, prepare=False))
                try:
                    while not (await asyncio.wait({working}, timeout=_LOOK_SECONDS))[0]:
                        await self._tell(name, work, told)
                finally:
                    if not working.done():
                        working.cancel()
                        await asyncio.wait({working})
                await working

    async def _wait(self, name: str, work: _BuildPlan, told: StepProgress) -> None:
        while (there := (await self._found([name])).get(name)) and there.builder:
            await self._tell(name, work, told)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _tell(self, name: str, work: _BuildPlan, told: StepProgress) -> None:
        """Report the server's progress."""
        looked: Query[Any] = Query(
            _SQL["progress"], {"name": name}, lambda rows: rows[0] if rows else None
        )
        try:
            [row] = await to_the_end(self._database.run(Principal.owner(), [looked]))
        except StoreUnavailable:  # the statement itself may still work; it raises if it fails
            return
        if row:
            # HNSW does not report the total.
            tuples = row.tuples_total or work.model.vectors
            counts = ((row.tuples_done, tuples), (row.blocks_done, row.blocks_total))
            done, of = next(((d, o) for d, o in counts if d), (row.lockers_done, row.lockers_total))
            told(row.phase, done, of or None)

    async def _index(self, work: _BuildPlan, told: StepProgress) -> None:
        """Index the vectors that waited at the start. Vectors that arrive later may wait."""
        given = {"model": work.model.id, "limit": _PORTION}
        done = 0
        while done < work.model.waiting:
            portion: Query[int] = Query(_INDEX_VECTORS, given, lambda rows: int(rows[0].indexed))
            [indexed] = await to_the_end(self._database.run(Principal.service(), [portion]))
            if not indexed:
                return
            done += indexed
            told("index what waits", done, work.model.waiting)

    async def _swap(self, work: _BuildPlan) -> None:
        """Rename the new index to the name in use and store the choice, in one transaction."""
        async with self._database.pool.connection() as conn:
            with driver_errors():
                async with conn.transaction():
                    await conn.execute(_LOCK, prepare=False)
                    if not await _unchanged(conn, work):
                        return
                    await _swap_names(conn, work)
                    values = {
                        name: getattr(work.wanted, name)
                        for name in ("m", "ef_construction", "lists")
                    }
                    await conn.execute(
                        _SQL["keep_choice"].source,
                        {**values, "model": work.model.id},
                        prepare=False,
                    )


@contextmanager
def _saying_what_to_do() -> Iterator[None]:
    try:
        yield
    except StatementTimeout as error:
        raise StatementTimeout(
            "The database cancelled the build, most likely at the role's statement_timeout; "
            "searches keep the index that they have. Connect directly (no transaction pooler), "
            "ALTER ROLE … SET statement_timeout = 0, and run it again."
        ) from error


async def _unchanged(conn: Connection, work: _BuildPlan) -> bool:
    """Return whether no other session has changed the indexes meanwhile."""
    names = [work.name, f"{work.name}_next", f"{work.name}_old"]
    found = await (
        await conn.execute(_SQL["built"].source, {"names": names}, prepare=False)
    ).fetchall()
    return {_built(SimpleNamespace(**row)) for row in found} == {work.now, work.next, work.old} - {
        None
    }


async def _swap_names(conn: Connection, work: _BuildPlan) -> None:
    if work.now and work.now.choice == work.wanted and work.now.valid:
        return
    if work.now:
        await conn.execute(_rename(work.name, f"{work.name}_old"), prepare=False)
    await conn.execute(_rename(f"{work.name}_next", work.name), prepare=False)


def _told(work: _BuildPlan) -> IndexMigration:
    steps = [step for step, _ in work.steps()]
    before = work.now.choice if work.now and work.now.valid else None
    return IndexMigration(
        model=work.model.name,
        index=work.name,
        vectors=work.model.vectors,
        before=before,
        after=work.wanted,
        steps=steps,
    )


def _built(row: Any) -> Built:
    choice = IndexChoice(
        method=row.method, m=row.m, ef_construction=row.ef_construction, lists=row.lists
    )
    return Built(row.name, choice, row.valid, row.builder)


def _choice(model: Any) -> IndexChoice:
    """Return the choice stored with a model; without one, the schema's default."""
    if model.lists is not None:
        return IndexChoice(method="ivfflat", lists=model.lists)
    default = wanted_by(0, "hnsw")
    return IndexChoice(
        method="hnsw",
        m=model.m or default.m,
        ef_construction=model.ef_construction or default.ef_construction,
    )


def _statement(work: _BuildPlan, name: str) -> Composed:
    parameters = work.wanted.model_dump(exclude={"method"})
    return building.build(
        name, work.model.id, work.model.dimensions, work.model.extension, **parameters
    )


def _rename(name: str, other: str) -> Composed:
    return building.filled(_SQL["rename"].source, name=Identifier(name), other=Identifier(other))
