"""The vector index of the model in use, made anew beside the old one while everybody searches and writes.

A migration looks at what there is and takes the next step, until there is none: cut off anywhere, the next call goes
on. Searches have a whole index all the time. The new one is built under another name; then names and the choice change
in one transaction, and the old one is dropped last.
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
"""A migration takes at most seven steps, what others leave behind included; who needs more is being worked against."""

_MET = (pg.DuplicateTable, pg.DeadlockDetected)
"""Two have come to the same at once: one of them gives way, and looks at what there is then."""

StepProgress = Callable[[str, int, int | None], None]
"""Gets what is being done, how much of it is, and of how much."""

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
    """What becomes of a vector index."""

    model_config = ConfigDict(frozen=True)

    model: str
    index: str
    vectors: int
    before: IndexChoice | None = Field(
        description="How the index is that searches use; None where there is none."
    )
    after: IndexChoice
    steps: list[BuildStep] = Field(
        description="What there is to do, in this order; none where it is as it should be."
    )


@dataclass(frozen=True, slots=True)
class Built:
    """An index that there is, whole or not."""

    name: str
    choice: IndexChoice
    valid: bool
    builder: int | None
    """The process of the server that is at work on it."""


@dataclass(frozen=True, slots=True)
class _BuildPlan:
    """What there is, and what it is to become."""

    model: Any
    kept: IndexChoice
    """What the model is said to have."""
    wanted: IndexChoice
    now: Built | None
    next: Built | None
    old: Built | None

    @property
    def name(self) -> str:
        return f"embeddings_vectors_{self.model.id}"

    def steps(self) -> list[tuple[BuildStep, str]]:
        """Return what there is to do, each with the name of the index that it concerns."""
        whole = self.now if self.now and self.now.valid else None
        todo: list[tuple[BuildStep, str]] = []
        if (
            self.old and self.now
        ):  # where the one that is in use is cut off, the old one still serves
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
            # Its lists are laid where the vectors are that it holds when it is built.
            waits = self.wanted.method == "ivfflat" and 10 * self.model.waiting > self.model.vectors
            todo += [("index what waits", name)] if waits else []
            todo.append(("build", name))
        return [*todo, ("swap", name), ("drop the old one", f"{self.name}_old")]


class VectorIndex:
    """Makes the vector index of the model in use another one.

    Args:
        database: where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def plan(self, wish: IndexChoice) -> IndexMigration:
        """Return what a migration would do.

        Raises:
            InvalidInput: `wish` names what the method does not have.
            SetupRequired: there is no schema, or no embedding model yet.
            GraphMemoryError: another index is being built in its place.
        """
        wish.check()
        return _told(await self._look(wish))

    async def migrate(self, wish: IndexChoice, told: StepProgress) -> IndexMigration:
        """Make the index what is wished for; return what that took.

        Raises:
            StatementTimeout: building took longer than the role's `statement_timeout`; the index in use stays.
            GraphMemoryError: as `plan`, or somebody else changes the same index all the time.
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
            "Somebody else changes the same vector index: look at `graph-memory indexes status`."
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
        for there in (
            next_,
            now,
        ):  # what is there, or nearly, is not made anew because of a few vectors more
            if there and wish.asks_for(there.choice, model.vectors):
                wanted = there.choice
        if next_ and next_.builder and next_.choice != wanted:
            raise GraphMemoryError(
                f"The server's process {next_.builder} is building {next_.choice} in its place: wait until it has "
                f"ended (`graph-memory indexes status`), or end it with SELECT pg_cancel_backend({next_.builder})."
            )
        return _BuildPlan(model, _choice(model), wanted, now, next_, found.get(f"{name}_old"))

    async def _found(self, names: Sequence[str]) -> dict[str, Built]:
        """Those of some indexes that there are; looked at twice: one that was just finished seems to be cut off."""
        built: Query[Any] = Query(
            _SQL["built"], {"names": names}, lambda rows: [*map(_built, rows)]
        )
        [found] = await to_the_end(self._database.run(Principal.owner(), [built]))
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
        """Carry out what no transaction may contain. A caller who leaves ends it."""
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
        """Tell how far the server is."""
        looked: Query[Any] = Query(
            _SQL["progress"], {"name": name}, lambda rows: rows[0] if rows else None
        )
        try:
            [row] = await to_the_end(self._database.run(Principal.owner(), [looked]))
        except (
            StoreUnavailable
        ):  # nothing is wrong with the work itself; it tells when something is
            return
        if row:
            tuples = (
                row.tuples_total or work.model.vectors
            )  # HNSW does not say how many there will be
            counts = ((row.tuples_done, tuples), (row.blocks_done, row.blocks_total))
            done, of = next(((d, o) for d, o in counts if d), (row.lockers_done, row.lockers_total))
            told(row.phase, done, of or None)

    async def _index(self, work: _BuildPlan, told: StepProgress) -> None:
        """Put what waited at the beginning into the index that is there; what comes meanwhile may wait."""
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
        """Give the new index the name that everybody knows, and keep the choice with the model, in one transaction."""
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
            "The database cancelled it, most likely at the role's statement_timeout; searches go on with the index "
            "they have. Connect directly (no transaction pooler), ALTER ROLE … SET statement_timeout = 0, and run it "
            "again."
        ) from error


async def _unchanged(conn: Connection, work: _BuildPlan) -> bool:
    """Whether nobody else has come to the swap first."""
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
    """What a model is said to have; nothing said is what the schema makes."""
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
