"""A move that dies at one of its transactions, in a fork of a process with all modules loaded."""

import asyncio
import multiprocessing
import os
import signal
from typing import Any

from graphs.deployment.pools import open_pool
from graphs.memory.database.database import Database
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings
from graphs.operations.operations import Operations

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


async def killed_at(call: int, database: str, source: str) -> int:
    """Copy and follow up to a transaction; return the exit code.

    The process dies before an odd transaction, and after an even one.
    """
    process = _PROCESSES.Process(target=_move, args=(call, database, source))
    process.start()
    await asyncio.to_thread(process.join, 60)
    return process.exitcode or 0


def _move(call: int, database: str, source: str) -> None:
    asyncio.run(_copy_and_follow(call, database, source))


async def _copy_and_follow(call: int, database: str, source: str) -> None:
    calls = 0
    attempt: Any = Database._retrying

    async def dies(self: Database, work: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and call % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        result = await attempt(self, work)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    index: Any = {
        "dims": 256,
        "embed": OfflineEmbeddings(),
        "fields": ["$"],
        "model": "offline:wordllama",
    }
    async with (
        open_pool(source) as pool,
        MemoryManager.from_conn_string(database, index=index) as store,
    ):
        moving = Operations(store).moving
        there = await moving.open(pool, follow=True)
        Database._retrying = dies  # type: ignore[method-assign,assignment]
        await moving.copy(there)
        await moving.follow(there)
