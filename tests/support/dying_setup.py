"""Setting up a database in a process of its own, which may be killed at a statement."""

import asyncio
import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess
from typing import Any

import psycopg
from psycopg.rows import dict_row

from graphs.memory.database import schema
from graphs.memory.database.schema import Scripts

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


def begin(database: str, scripts: Scripts, dies_at: int = 0) -> BaseProcess:
    """Start a process that sets a database up, and dies before its nth statement; 0 is never."""
    process = _PROCESSES.Process(target=_set_up, args=(database, scripts, dies_at))
    process.start()
    return process


async def ended(process: BaseProcess) -> int | None:
    """Wait for a process, and return its exit code."""
    await asyncio.to_thread(process.join, 60)
    return process.exitcode


def _set_up(database: str, scripts: Scripts, dies_at: int) -> None:
    asyncio.run(_apply(database, scripts, dies_at))


async def _apply(database: str, scripts: Scripts, dies_at: int) -> None:
    left = dies_at

    class Dying(psycopg.AsyncConnection[Any]):
        async def execute(self, *given: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return await super().execute(*given, **options)

    async with await Dying.connect(database, autocommit=True, row_factory=dict_row) as conn:
        await schema.apply(conn, scripts)
