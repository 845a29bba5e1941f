"""Transactions: one at a time, on behalf of a principal, retried when the database was only briefly unwell."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from psycopg import AsyncConnection
from psycopg import errors as pg
from psycopg.rows import DictRow
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from graphs.memory.errors import TRANSIENT, driver_errors, error_sentence
from graphs.memory.principal import Principal

log = logging.getLogger(__name__)

Connection = AsyncConnection[DictRow]
T = TypeVar("T")

# Policies and triggers read these, and they last as long as the transaction: a pooled connection keeps nothing. The
# path is where `vector` may have been installed.
_BEGIN = """
SELECT set_config('role', %(role)s, true), set_config('request.jwt.claims', %(claims)s, true),
  set_config('memory.provenance', %(provenance)s, true), set_config('search_path', 'memory, extensions, public', true)
"""


class Pool(Protocol):
    """What a transaction needs of a connection pool; `psycopg_pool.AsyncConnectionPool` is one."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection."""

    async def check(self) -> None:
        """Throw away the connections that died while they lay idle."""


def is_transient(error: BaseException) -> bool:
    """Return whether the same transaction may succeed if it is tried again."""
    final = (pg.QueryCanceled, pg.ProgramLimitExceeded, pg.DiskFull, pg.InvalidPassword)
    return isinstance(error, TRANSIENT) and not isinstance(error, final)


def retrying(pool: Pool) -> AsyncRetrying:
    """Return the retry policy of database work: at most five attempts, exponential waits with jitter up to 2 s.

    What is retried must be safe to repeat: a commit whose answer was lost is tried again.
    """

    async def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("Database work failed (attempt %d) and is tried again: %s", state.attempt_number, error)
        if getattr(error, "sqlstate", None) not in (pg.DeadlockDetected.sqlstate, pg.SerializationFailure.sqlstate):
            await pool.check()  # where one connection was lost, others were too

    return AsyncRetrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_attempt(5),
        wait=wait_exponential_jitter(multiplier=0.05, max=2, jitter=0.05),
        before_sleep=before_sleep,
        reraise=True,
    )


_unfinished: set[asyncio.Task[Any]] = set()


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
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
        log.warning("Database work failed after its caller had been cancelled: %s", error_sentence(error))


class Database:
    """Runs work in transactions over a pool that somebody else opened and will close."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def transaction(
        self, principal: Principal, work: Callable[[Connection], Awaitable[T]], provenance: dict[str, Any] | None = None
    ) -> T:
        """Return what `work` returns, after its transaction has committed.

        Args:
            principal: whose role and claims the transaction has; row-level security does the rest.
            work: gets a connection in pipeline mode inside the transaction; may run more than once.
            provenance: run_id, thread_id, checkpoint_id, task_id, session_id for the rows that are written.

        Raises:
            GraphMemoryError: what the driver raised, as one of ours. Nothing of the work was stored.
        """
        begin = {"role": principal.role, "claims": principal.claims, "provenance": json.dumps(provenance or {})}
        with driver_errors():
            return await to_the_end(self._attempt(begin, work))

    async def _attempt(self, begin: dict[str, str], work: Callable[[Connection], Awaitable[T]]) -> T:
        async for attempt in retrying(self.pool):
            with attempt:
                async with self.pool.connection() as conn, conn.pipeline(), conn.transaction():
                    await conn.execute(_BEGIN, begin)
                    result = await work(conn)
        return result
