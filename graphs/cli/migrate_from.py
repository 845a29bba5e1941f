"""The database that memories are migrated from, where it is followed: lent, and left as it was."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from graphs.deployment.pools import open_pool
from graphs.deployment.settings import load_settings
from graphs.memory.database.database import Pool
from graphs.memory_manager import MemoryManager
from graphs.operations.migration.langgraph_store import LangGraphStore
from graphs.operations.migration.rollback import RolledBack


@asynccontextmanager
async def source_pool() -> AsyncIterator[Pool | None]:
    """Lend connections to the database of MIGRATE_FROM_URL; None where that is not set: it is the memory's own then."""
    url = (await asyncio.to_thread(load_settings)).migrate_from_url
    if url is None:
        yield None
        return
    async with open_pool(url.get_secret_value(), max_size=2, setting="MIGRATE_FROM_URL") as pool:
        yield pool


@asynccontextmanager
async def followed_store(store: MemoryManager, migration_id: str) -> AsyncIterator[LangGraphStore]:
    """Lend the store of LangGraph's that a move is of."""
    async with source_pool() as pool:
        yield await store.operations.moving.open_again(migration_id, pool)


async def roll_back(store: MemoryManager, migration_id: str, *, dry_run: bool) -> RolledBack:
    """Take a migration back, and out of its source what it has put there."""
    migration = await store.operations.migrations.get(migration_id)
    if not migration.options.get("follow"):
        return await store.operations.migrations.roll_back(migration_id, dry_run=dry_run)
    async with followed_store(store, migration_id) as source:
        return await store.operations.moving.roll_back(source, migration_id, dry_run=dry_run)
