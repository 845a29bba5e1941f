"""The vector index is filled in the background: a put does not wait for it, and a search does not need it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from graphs.memory import sql
from graphs.memory.errors import GraphMemoryError
from graphs.memory.transaction import Query
from graphs.memory.vectors import Model

log = logging.getLogger(__name__)

_SQL = sql.load("indexing")

WORTH_INDEXING = 1000
"""So many waiting vectors are read faster than the index is searched; only from there on it is filled."""

_PORTION = 32
"""Vectors in one transaction. Who writes one of them anew waits for it, about 2 ms for each."""

_QUIET_SECONDS = 2.0
"""How long nothing was written before it begins: what is still being loaded is not in its way."""

_PATIENCE_SECONDS = 60.0
"""After this time it begins although there are still writes."""


def index_pending(model: Model) -> Query[int]:
    """Ask for some vectors that wait to be put into the index, and how many that were."""
    return Query(_SQL["index_pending"], {"model": model.id, "limit": _PORTION}, lambda rows: int(rows[0].indexed))


def count_pending(model: Model, limit: int) -> Query[int]:
    """Ask how many vectors wait, up to a limit."""
    return Query(_SQL["count_pending"], {"model": model.id, "limit": limit}, lambda rows: int(rows[0].pending))


class Indexer:
    """Fills the vector index after writes, in a task of its own that ends when nothing waits.

    Args:
        count: how many vectors wait, up to a limit.
        index: puts some of them into the index and returns how many.
    """

    def __init__(self, count: Callable[[int], Awaitable[int]], index: Callable[[], Awaitable[int]]) -> None:
        self._count = count
        self._index = index
        self._task: asyncio.Task[None] | None = None
        self._written = 0.0

    def wake(self) -> None:
        """Note that something was written."""
        self._written = asyncio.get_running_loop().time()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(self._written), name="vector_indexer")

    async def finish(self) -> None:
        """Return when no vector waits any more; what others write meanwhile is waited for, too."""
        while await self._index():
            pass
        while await self._count(1):  # another process has it in hand
            await asyncio.sleep(0.05)
            await self._index()

    async def stop(self) -> None:
        """Leave what waits to the next one who writes."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _work(self, began: float) -> None:
        await self._quiet(began + _PATIENCE_SECONDS)
        try:
            if await self._count(WORTH_INDEXING) == WORTH_INDEXING:
                indexed = 0
                while portion := await self._index():
                    indexed += portion
                log.info("%d vectors were put into the index", indexed)
        except GraphMemoryError as error:
            log.warning("The vector index could not be filled, which is tried again after the next write: %s", error)

    async def _quiet(self, latest: float) -> None:
        """Return when nothing has been written for a while, at the latest at a given time."""
        now = asyncio.get_running_loop().time()
        if self._written + _QUIET_SECONDS > now and now < latest:
            await asyncio.sleep(self._written + _QUIET_SECONDS - now)
            await self._quiet(latest)
