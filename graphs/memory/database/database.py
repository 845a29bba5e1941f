"""Transactions: one at a time, on behalf of a principal, retried when the database was only briefly unwell."""

import asyncio
import json
import logging
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import errors as pg
from tenacity import RetryCallState

from graphs.memory import telemetry
from graphs.memory.database import statements
from graphs.memory.database.driver_errors import TRANSIENT, driver_errors
from graphs.memory.database.parts import SchemaPart, part_named_in
from graphs.memory.database.query import Query
from graphs.memory.database.transaction import Connection, Transaction
from graphs.memory.errors import error_sentence
from graphs.memory.principal import Principal
from graphs.memory.retry import retrying

log = logging.getLogger(__name__)

_SQL = statements.load("database", __package__)

T = TypeVar("T")


class Pool(Protocol):
    """What a transaction needs of a connection pool; `psycopg_pool.AsyncConnectionPool` is one."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection."""

    async def check(self) -> None:
        """Throw away the connections that died while they lay idle."""


_prepared: weakref.WeakKeyDictionary[Connection, set[bytes]] = weakref.WeakKeyDictionary()
"""What each connection has prepared. It is the connection's, not a `Database`'s: several may share a pool."""

_FOREIGN_PLAN = (pg.InvalidSqlStatementName, pg.DuplicatePreparedStatement)
"""What is prepared here is not what we prepared: a transaction pooler gave us another server."""

_STALE_PLAN = pg.FeatureNotSupported
"""What was prepared has another result now: the schema changed."""


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


_LOOK_AGAIN_SECONDS = 60.0
"""After which a database that lacked a part of the schema is looked at again: somebody may have added it."""

_unfinished: set[asyncio.Task[Any]] = set()


async def to_the_end(work: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
    """Run work that must not be cut off in the middle, in a task of its own.

    A caller that is cancelled leaves at once; the work goes on to its end, and is stored whole. Cancelled half-way it
    would lose its connection: neither the pool nor a pipeline gives one back in order while it is being cancelled.
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
    """Log how work ended whose caller has left, where it did not end well."""
    if not task.cancelled() and (error := task.exception()):
        log.warning(
            "Database work failed after its caller had been cancelled: %s", error_sentence(error)
        )


@dataclass(frozen=True, slots=True)
class PrincipalQueries:
    """What one principal does in a transaction.

    Args:
        principal: whose role and claims hold meanwhile; row-level security does the rest.
        queries: what to do, in this order.
        provenance: run_id, thread_id, checkpoint_id, task_id, session_id for the rows that are written.
    """

    principal: Principal
    queries: Sequence[Query[Any]]
    provenance: Mapping[str, Any] | None = None


class Database:
    """Runs queries in transactions over a pool that somebody else opened and will close."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.adapters: Mapping[str, Any] = {}
        """The adapters that are told what transactions change, as `memory.fan_out` reads them; none by default."""
        self._generation = 0
        self._prepares = True
        self._lacking: frozenset[SchemaPart] = frozenset()
        self._looked = 0.0

    async def run(
        self,
        principal: Principal,
        queries: Sequence[Query[Any]],
        provenance: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Return what each query reads, after all have committed together: `run_parts` for a single part."""
        return (await self.run_parts([PrincipalQueries(principal, queries, provenance)]))[0]

    async def run_parts(self, parts: Sequence[PrincipalQueries]) -> list[list[Any]]:
        """Return what each query of each part reads, after all have committed together: one round trip.

        Not to be cancelled: wrap it in `to_the_end`, or call it from a task that nobody cancels.

        Raises:
            GraphMemoryError: what the driver raised, as one of ours. Nothing was stored.
        """
        queries = [
            query
            for part in parts
            for query in (self._begin(part.principal, part.provenance), *part.queries)
        ]

        async def attempt() -> list[list[Any]]:
            plans = [self._plans(part.principal) for part in parts for _ in (part, *part.queries)]
            async with self.pool.connection() as conn, self._on(conn, plans[0]) as transaction:
                answers = iter(await transaction.run(queries, plans))
            return [list(islice(answers, 1 + len(part.queries)))[1:] for part in parts]

        with telemetry.transaction(_name_of(parts)), driver_errors():
            return await self._retrying(attempt)

    async def transaction(
        self,
        principal: Principal,
        work: Callable[[Transaction], Awaitable[T]],
        provenance: Mapping[str, Any] | None = None,
    ) -> T:
        """Return what `work` returns, after its transaction has committed; for queries that depend on one another.

        Args:
            principal: whose role and claims the transaction has; row-level security does the rest.
            work: gets the open transaction; may run more than once.
            provenance: run_id, thread_id, checkpoint_id, task_id, session_id for the rows that are written.

        Raises:
            GraphMemoryError: what the driver raised, as one of ours. Nothing of the work was stored.
        """

        async def attempt() -> T:
            async with (
                self.pool.connection() as conn,
                self._on(conn, self._plans(principal)) as transaction,
            ):
                transaction.begin_with([Query(_SQL["open"]), self._begin(principal, provenance)])
                try:
                    result = await work(transaction)
                except Exception:
                    await transaction.run([Query(_SQL["rollback"])])
                    raise
                await transaction.run([Query(_SQL["commit"])])
                return result

        with telemetry.transaction("transaction"), driver_errors():
            return await to_the_end(self._retrying(attempt))

    def _begin(self, principal: Principal, provenance: Mapping[str, Any] | None) -> Query[None]:
        told = {**(provenance or {}), "adapters": self.adapters} if self.adapters else provenance
        settings = {"role": principal.role, "claims": principal.claims}
        return Query(_SQL["begin"], settings | {"provenance": json.dumps(told) if told else "{}"})

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
        """Try once as directly as possible, for that is what nearly always happens, and then as `retrying` says."""
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
        return await retrying_on(self.pool, attempt)


def _name_of(parts: Sequence[PrincipalQueries]) -> str:
    """What a transaction is called in metrics: as its first statement."""
    return next((query.statement.name for part in parts for query in part.queries), "begin")
