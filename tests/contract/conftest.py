"""The stores that the contract is checked on, each with a database of its own."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from langgraph.store.base import BaseStore, IndexConfig, TTLConfig
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import AsyncPostgresStore

from graphs.memory_manager import MemoryManager
from graphs.testing.conformance import OpenStore


def open_in_memory_store(
    *,
    index: IndexConfig | None,
    ttl: TTLConfig | None,  # it has no TTL, and raises an error
) -> AbstractAsyncContextManager[BaseStore]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[BaseStore]:
        yield InMemoryStore(index=index)

    return opened()


def opens_async_postgres_store(database: str) -> OpenStore:
    """Return an opener of AsyncPostgresStore with a pool, whose reads leave out expired items."""

    @asynccontextmanager
    async def open_store(
        *, index: IndexConfig | None, ttl: TTLConfig | None
    ) -> AsyncIterator[BaseStore]:
        strict: TTLConfig | None = {**ttl, "omit_expired": True} if ttl else None
        async with AsyncPostgresStore.from_conn_string(
            database,
            pool_config={"min_size": 1, "max_size": 4},
            index=index,  # type: ignore[arg-type]
            ttl=strict,
        ) as store:
            await store.setup()
            yield store

    return open_store


def opens_memory_manager(database: str) -> OpenStore:
    @asynccontextmanager
    async def open_store(
        *, index: IndexConfig | None, ttl: TTLConfig | None
    ) -> AsyncIterator[BaseStore]:
        async with MemoryManager.from_conn_string(database, index=index, ttl=ttl) as store:
            await store.setup()
            yield store

    return open_store


STORES = ("InMemoryStore", "AsyncPostgresStore", "MemoryManager")


@pytest.fixture
def open_store(request: pytest.FixtureRequest, store_name: str) -> OpenStore:
    """Return the opener of the tested store; each check opens the store once."""
    if store_name == "AsyncPostgresStore":
        return opens_async_postgres_store(request.getfixturevalue("empty_database"))
    if store_name == "MemoryManager":
        return opens_memory_manager(request.getfixturevalue("database"))
    return open_in_memory_store
