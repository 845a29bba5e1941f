"""Access to the database that a migration reads, and follows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from graphs.deployment.pools import open_pool
from graphs.deployment.settings import load_settings
from graphs.memory.database.database import Pool
from graphs.memory_manager import MemoryManager
from graphs.operations.migration.langgraph_store import LangGraphStore
from graphs.operations.migration.rollback import RolledBack
from graphs.operations.operations import Operations


@asynccontextmanager
async def source_pool() -> AsyncIterator[Pool | None]:
    """Lend connections to the database of MIGRATE_FROM_URL.

    None if it is not set: the source is then in the memory's own database.
    """
    url = (await asyncio.to_thread(load_settings)).migrate_from_url
    if url is None:
        yield None
        return
    async with open_pool(url.get_secret_value(), max_size=2, setting="MIGRATE_FROM_URL") as pool:
        yield pool


@asynccontextmanager
async def followed_store(store: MemoryManager, migration_id: str) -> AsyncIterator[LangGraphStore]:
    """Lend the LangGraph store that a migration follows."""
    async with source_pool() as pool:
        yield await Operations(store).moving.open_again(migration_id, pool)


async def roll_back(store: MemoryManager, migration_id: str, *, dry_run: bool) -> RolledBack:
    """Roll a migration back, and remove its trigger and tables from a source that it follows."""
    migration = await Operations(store).migrations.get(migration_id)
    if not migration.options.get("follow"):
        return await Operations(store).migrations.roll_back(migration_id, dry_run=dry_run)
    async with followed_store(store, migration_id) as source:
        return await Operations(store).moving.roll_back(source, migration_id, dry_run=dry_run)
