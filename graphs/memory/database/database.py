"""Transactions as a principal, retried after passing failures of the database."""

import asyncio
import json
import logging
import time
import weakref
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import errors as pg
from tenacity import RetryCallState

from graphs.memory import telemetry
from graphs.memory.database import statements
from graphs.memory.database.driver_errors import TRANSIENT, VERSION_CONFLICT, driver_errors
from graphs.memory.database.parts import SchemaPart, part_named_in
from graphs.memory.database.query import Query
from graphs.memory.database.statements import Statement
from graphs.memory.database.transaction import Connection, Transaction
from graphs.memory.errors import OutcomeUnknown, StoreUnavailable, error_sentence
from graphs.memory.principal import Principal
from graphs.memory.retry import retrying

log = logging.getLogger(__name__)

_SQL = statements.load("database", __package__)

T = TypeVar("T")


class Pool(Protocol):
    """A connection pool, such as `psycopg_pool.AsyncConnectionPool`."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection."""

    async def check(self) -> None:
        """Throw away the connections that died while they lay idle."""


_prepared: weakref.WeakKeyDictionary[Connection, set[bytes]] = weakref.WeakKeyDictionary()
"""The prepared statements of each connection; several `Database` objects may share a pool."""

_FOREIGN_PLAN = (pg.InvalidSqlStatementName, pg.DuplicatePreparedStatement)
"""Errors behind a transaction pooler: another server has other prepared statements."""

_STALE_PLAN = pg.FeatureNotSupported
"""The error of a prepared statement whose result changed with the schema."""


def is_transient(error: BaseException) -> bool:
    """Return whether the same transaction may succeed if it is tried again."""
    final = (pg.QueryCanceled, pg.ProgramLimitExceeded, pg.DiskFull, pg.InvalidPassword)
    return isinstance(error, (*TRANSIENT, *_FOREIGN_PLAN, _STALE_PLAN)) and not isinstance(
        error, final
    )


async def retrying_on(pool: Pool, work: Callable[[], Awaitable[T]]) -> T:
    """Return what database work returns, tried at most five times, with waits of up to 2 s.

    What is retried must be safe to repeat: a commit whose answer was lost is tried again.
    """

    async def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        told = error_sentence(error) if error else ""
        log.warning(
            "Database work failed (attempt %d) and is tried again: %s", state.attempt_number, told
        )
        await _throw_away_dead(pool, error)

    return await retrying(
        work, is_transient, attempts=5, first=0.05, longest=2, before_sleep=before_sleep
    )


async def _throw_away_dead(pool: Pool, error: BaseException | None) -> None:
    """Check the pool's connections after one was lost: others were too."""
    if getattr(error, "sqlstate", None) not in (
        pg.DeadlockDetected.sqlstate,
        pg.SerializationFailure.sqlstate,
    ):
        await pool.check()


_PLACES, _PLACE_SECONDS = 4, 30.0
"""Connections that one person may have at once, and the seconds to wait for one of them."""

_LOOK_AGAIN_SECONDS = 60.0
"""Seconds after which a missing part of the schema is looked for again."""

_unfinished: set[asyncio.Task[Any]] = set()


async def to_the_end(work: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
    """Run work in a task of its own, so that cancelling the caller does not cancel it.

    A cancelled caller returns at once; the work continues to its end, and is stored whole.
    Cancelled halfway, it would lose its connection: a pipeline cannot be left in order then.
    """
    task = asyncio.ensure_future(work)
    _unfinished.add(task)
    task.add_done_callback(_unfinished.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_tell_failure)
        raise


def _tell_failure(task: asyncio.Task[Any]) -> None:
    """Log the failure of work whose caller was cancelled."""
    if not task.cancelled() and (error := task.exception()):
        log.warning(
            "Database work failed after its caller had been cancelled: %s", error_sentence(error)
        )


@dataclass(frozen=True, slots=True)
class PrincipalQueries:
    """The queries of one principal in a transaction.

    Args:
        principal: sets role and claims; row-level security does the rest.
        queries: the queries, in order.
        provenance: run_id, thread_id, checkpoint_id, task_id and session_id for written rows.
    """

    principal: Principal
    queries: Sequence[Query[Any]]
    provenance: Mapping[str, Any] | None = None
    moment: datetime | None = None
    """The moment as of which the queries read; None for the present."""


def refuse_deleted_runs(runs: Collection[tuple[str, str]]) -> Query[None]:
    """Return a query that refuses its transaction if one of these runs was deleted.

    Deletions of the runs, and of their threads, wait until the transaction has ended.

    Args:
        runs: pairs of a run's id and its thread's, not empty.
    """
    run_ids, thread_ids = zip(*runs, strict=True)
    return Query(_SQL["refuse_deleted_runs"], {"run_ids": run_ids, "thread_ids": thread_ids})


def no_time_limit() -> Query[None]:
    """Return a query that lets later ones of its transaction take as long as they need."""
    return Query(_SQL["no_time_limit"])


class Database:
    """Runs queries in transactions over a pool that somebody else opened and will close."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.adapters: Mapping[str, Any] = {}
        """The adapters that receive changes, as `memory.fan_out` reads them; none by default."""
        self.statement_timeout: float | None = None
        """Seconds after which a person's statement is cancelled; None for the database's limit."""
        self._places: weakref.WeakValueDictionary[str, asyncio.Semaphore] = (
            weakref.WeakValueDictionary()
        )
        self._generation = 0
        self._prepares = True
        self._lacking: frozenset[SchemaPart] = frozenset()
        self._looked = 0.0
        self.refusal: StoreUnavailable | None = None
        """The last refusal of a write that an operator has to end."""
        self.refused_at = float("-inf")

    async def run(
        self,
        principal: Principal,
        queries: Sequence[Query[Any]],
        provenance: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Return the answers to queries of one principal, after they committed together."""
        return (await self.run_parts([PrincipalQueries(principal, queries, provenance)]))[0]

    async def run_parts(self, parts: Sequence[PrincipalQueries]) -> list[list[Any]]:
        """Return the answers to the queries of all parts: one transaction, one round trip.

        It must not be cancelled: wrap it in `to_the_end`, or call it from a task that is not.

        Raises:
            GraphMemoryError: the driver's error as one of ours. Nothing was stored.
        """
        starts = [_SQL["begin"], *[_SQL["act"]] * (len(parts) - 1)]
        groups = [
            [*self._begin(part.principal, part.provenance, start), *_at(part)]
            for part, start in zip(parts, starts, strict=True)
        ]
        queries = [query for group in groups for query in group]
        people = {part.principal.user_id for part in parts}
        who = people.pop() if len(people) == 1 else None

        async def attempt() -> list[list[Any]]:
            plans = [
                self._plans(part.principal)
                for part, group in zip(parts, groups, strict=True)
                for _ in group
            ]
            async with self._connection(who) as conn, self._on(conn, plans[0]) as transaction:
                answers = iter(await transaction.run(queries, plans))
            return [
                list(islice(answers, len(group)))[len(group) - len(part.queries) :]
                for part, group in zip(parts, groups, strict=True)
            ]

        with telemetry.transaction(_name_of(parts)), self._noticing(), driver_errors():
            return await self._retrying(attempt)

    async def transaction(
        self,
        principal: Principal,
        work: Callable[[Transaction], Awaitable[T]],
        provenance: Mapping[str, Any] | None = None,
    ) -> T:
        """Return the result of `work` after its commit, for queries that depend on one another.

        Args:
            principal: sets role and claims; row-level security does the rest.
            work: receives the open transaction; may run more than once.
            provenance: run_id, thread_id, checkpoint_id, task_id and session_id for written rows.

        Raises:
            GraphMemoryError: the driver's error as one of ours. Nothing was stored.
        """

        async def attempt() -> T:
            async with (
                self._connection(principal.user_id) as conn,
                self._on(conn, self._plans(principal)) as transaction,
            ):
                transaction.begin_with([Query(_SQL["open"]), *self._begin(principal, provenance)])
                try:
                    result = await work(transaction)
                except Exception:
                    await transaction.run([Query(_SQL["rollback"])])
                    raise
                await transaction.run([Query(_SQL["commit"])])
                return result

        with telemetry.transaction("transaction"), self._noticing(), driver_errors():
            return await to_the_end(self._retrying(attempt))

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Keep a refusal that an operator has to end, for the report of health."""
        try:
            yield
        except StoreUnavailable as error:
            if error.advice:
                self.refusal, self.refused_at = error, time.monotonic()
            raise

    def _begin(
        self,
        principal: Principal,
        provenance: Mapping[str, Any] | None,
        start: Statement = _SQL["begin"],
    ) -> Iterator[Query[None]]:
        told = {**(provenance or {}), "adapters": self.adapters} if self.adapters else provenance
        settings = {
            "role": principal.role,
            "claims": principal.claims,
            "seconds": self.statement_timeout if principal.user_id else None,
        }
        yield Query(start, settings | {"provenance": json.dumps(told) if told else "{}"})
        # A job that makes facts of what a run said has no task: its turns say whether it may.
        if provenance and "task_id" in provenance and (run_id := provenance.get("run_id")):
            yield refuse_deleted_runs([(run_id, provenance.get("thread_id", ""))])

    @asynccontextmanager
    async def _connection(self, user_id: str | None) -> AsyncIterator[Connection]:
        """Lend a connection to a person, or (None) to the service or several people.

        Raises:
            StoreUnavailable: none became free in time.
        """
        if user_id is None:
            async with self.pool.connection() as conn:
                yield conn
            return
        places = self._places.get(user_id) or asyncio.Semaphore(_PLACES)
        self._places[user_id] = places
        try:
            async with asyncio.timeout(_PLACE_SECONDS):
                await places.acquire()
        except TimeoutError:
            raise StoreUnavailable(
                f"This person has {_PLACES} statements under way, and none ended within "
                f"{_PLACE_SECONDS:.0f} s: try again later."
            ) from None
        try:
            async with self.pool.connection() as conn:
                yield conn
        finally:
            places.release()

    def _plans(self, principal: Principal) -> str:
        return f"{principal.role}_{self._generation}"

    def _on(self, conn: Connection, plans: str) -> Transaction:
        may_prepare = self._prepares and conn.prepare_threshold is not None
        prepared = _prepared.setdefault(conn, set()) if may_prepare else None
        return Transaction(conn, prepared, plans, self._lacking)

    async def _look_for_parts(self) -> None:
        """Find out which parts of the schema the database is without."""
        async with self.pool.connection() as conn:
            row = await (await conn.execute(_SQL["lacking"].source, prepare=False)).fetchone()
        self._lacking, self._looked = (
            frozenset(map(SchemaPart, row["parts"] if row else ())),
            time.monotonic(),
        )

    async def _retrying(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try once without the cost of the retry policy, which the first attempt rarely needs."""
        try:
            if self._lacking and time.monotonic() - self._looked > _LOOK_AGAIN_SECONDS:
                await self._look_for_parts()
            return await attempt()
        except pg.UndefinedTable as error:
            part = part_named_in(error.diag.message_primary)
            if part is None or part in self._lacking:
                raise
            await self._look_for_parts()
        except psycopg.Error as error:
            if not is_transient(error):
                raise
            log.warning("Database work failed and is tried again: %s", error_sentence(error))
            self._generation += isinstance(error, _STALE_PLAN)
            self._prepares = self._prepares and not isinstance(error, _FOREIGN_PLAN)
            await _throw_away_dead(self.pool, error)
            if not isinstance(error, (pg.DeadlockDetected, pg.SerializationFailure)):
                return await self._after_a_lost_answer(attempt)
        return await retrying_on(self.pool, attempt)

    async def _after_a_lost_answer(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try again what may have been committed before the connection broke.

        Raises:
            OutcomeUnknown: an item is not at its expected version, perhaps by this very write.
        """
        try:
            return await retrying_on(self.pool, attempt)
        except psycopg.Error as error:
            if error.sqlstate != VERSION_CONFLICT:
                raise
            raise OutcomeUnknown(
                "The connection broke before the answer came, and the item has another version. "
                "This write may have been stored: read the item before you write it again."
            ) from error


def _at(part: PrincipalQueries) -> Sequence[Query[Any]]:
    """Return the queries of a part, on the past if it names a moment."""
    if part.moment is None:
        return part.queries
    looking: Query[None] = Query(_SQL["look_back"], {"moment": part.moment.isoformat()})
    return [looking, *(query.of_past() for query in part.queries)]


def _name_of(parts: Sequence[PrincipalQueries]) -> str:
    """Return a transaction's name in metrics: that of its first statement."""
    return next((query.statement.name for part in parts for query in part.queries), "begin")
