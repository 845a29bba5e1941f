"""Idle threads, whose history a background job prunes."""

import time
from contextlib import suppress
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver

from graphs.memory.database import statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.query import Query
from graphs.memory.principal import Principal

_SQL = statements.load("idle", __package__)

_TICKS_UNTIL_1970 = 0x01B21DD213814000
"""Units of 100 ns from 1582 to 1970: checkpoint ids begin with their time since 1582."""


async def prune_idle(
    checkpointer: BaseCheckpointSaver[Any], database: Database, days: float
) -> int:
    """Delete the history of threads that nobody used for some days, and return their number.

    The last state of each stays. Threads with a DeltaChannel, which needs its history, are left
    alone.

    Args:
        checkpointer: prunes a thread.
        database: the database of the checkpointer.
        days: the days without a new checkpoint.
    """
    ticks = (time.time_ns() - int(days * 86_400e9)) // 100 + _TICKS_UNTIL_1970
    since = f"{ticks >> 28:08x}-{ticks >> 12 & 0xFFFF:04x}"
    pruned, after = 0, ""
    while threads := await _page(database, since, after):
        for thread_id in threads:
            with suppress(NotImplementedError):
                await checkpointer.aprune([thread_id])
                pruned += 1
        after = threads[-1]
    return pruned


async def _page(database: Database, since: str, after: str) -> list[str]:
    query: Query[list[str]] = Query(
        _SQL["idle_threads"],
        {"since": since, "after": after},
        lambda rows: [row.thread_id for row in rows],
    )
    [threads] = await to_the_end(database.run(Principal.owner(), [query]))
    return list(threads)
