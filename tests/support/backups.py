"""Helpers of the backup tests, to write and restore backups."""

from pathlib import Path
from typing import Any

import psycopg

from graphs.memory_manager import MemoryManager
from graphs.operations.backup.chain import Backup
from graphs.operations.backup.restore import Restored
from graphs.operations.operations import Operations

HOSTILE = 'quo"te \\ back\\n \t tab \u2028 \U0001f600'


async def erase(url: str, user_id: str) -> None:
    """Erase a user, in a deployment without Storage."""
    async with MemoryManager.from_conn_string(url) as store:
        with psycopg.connect(url) as conn:
            conn.execute("DELETE FROM memory.files WHERE user_id = %s", [user_id])
        await store.erase_user(user_id)


async def back_up(url: str, file: Path, user_id: str | None = None, **more: Any) -> Backup:
    """Write a backup to a file."""
    async with MemoryManager.from_conn_string(url) as store:
        return await Operations(store).backups.create(file, user_id=user_id, **more)


async def restore(url: str, *files: Path, user_id: str | None = None, **more: Any) -> Restored:
    """Restore a backup, or several files as one chain."""
    async with MemoryManager.from_conn_string(url) as store:
        return await Operations(store).backups.restore(*files, user_id=user_id, **more)
