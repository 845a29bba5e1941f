"""Filling the search indexes after writes: puts do not wait for it, searches do not need it."""

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from graphs.memory.database import statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.query import Query
from graphs.memory.database.vectors import Model
from graphs.memory.errors import AccessDenied, GraphMemoryError
from graphs.memory.principal import Principal

log = logging.getLogger(__name__)

_SQL = statements.load("indexing", __package__)

T = TypeVar("T")

WORTH_INDEXING = 1000
"""Waiting vectors from which on the index is filled; fewer are scanned faster."""

_PORTION = 32
"""Vectors in one transaction. Who writes one of them anew waits for it, about 2 ms for each."""

_PAUSE_SECONDS = 0.5
_QUIET_SECONDS = 2.0
"""Seconds without writes before words and vectors are indexed, so that loads are not delayed."""

_PATIENCE_SECONDS = 60.0
"""After this time it begins although there are still writes."""


class Indexer:
    """Fills the indexes after writes, in a task of its own that ends when nothing waits.

    Words wait in the pending list of the full-text index, vectors in rows not marked as indexed.

    Args:
        database: where they are.
        model: the embedding model in use, None before there is one.
    """

    def __init__(self, database: Database, model: Callable[[], Model | None]) -> None:
        self._database = database
        self._model = model
        self._task: asyncio.Task[None] | None = None
        self._written = 0.0

    def wake(self) -> None:
        """Note that something was written."""
        self._written = asyncio.get_running_loop().time()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(self._written), name="indexer")

    async def finish(self) -> None:
        """Return when nothing waits any more; what others write meanwhile is waited for, too."""
        await self._index_words()
        while await self._index_vectors():
            pass
        while await self._count(1):  # another process has it in hand
            await asyncio.sleep(0.05)
            await self._index_vectors()

    async def stop(self) -> None:
        """Leave what waits to the next one who writes."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _work(self, began: float) -> None:
        try:
            await self._quiet(_PAUSE_SECONDS, began + _PATIENCE_SECONDS)
            await self._index_words()
            await self._quiet(_QUIET_SECONDS, began + _PATIENCE_SECONDS)
            if await self._count(WORTH_INDEXING) == WORTH_INDEXING:
                indexed = 0
                while portion := await self._index_vectors():
                    indexed += portion
                log.info("%d vectors were put into the index", indexed)
        except GraphMemoryError as error:
            log.warning(
                "The indexes could not be filled, which is tried again after the next write: %s",
                error,
            )

    async def _quiet(self, seconds: float, latest: float) -> None:
        """Return when nothing has been written for a while, at the latest at a given time."""
        now = asyncio.get_running_loop().time()
        if self._written + seconds > now and now < latest:
            await asyncio.sleep(self._written + seconds - now)
            await self._quiet(seconds, latest)

    async def _index_words(self) -> None:
        try:
            await self._run(Principal.owner(), Query(_SQL["index_words"]))
        except AccessDenied:
            log.debug("The full-text index belongs to another role; autovacuum will fill it")

    async def _index_vectors(self) -> int:
        model = self._model()
        if model is None:
            return 0
        given = {"model": model.id, "limit": _PORTION}
        return await self._run(
            Principal.service(),
            Query(_SQL["index_vectors"], given, lambda rows: int(rows[0].indexed)),
        )

    async def _count(self, limit: int) -> int:
        model = self._model()
        if model is None:
            return 0
        given = {"model": model.id, "limit": limit}
        return await self._run(
            Principal.service(),
            Query(_SQL["count_waiting"], given, lambda rows: int(rows[0].waiting)),
        )

    async def _run(self, principal: Principal, query: Query[T]) -> T:
        [answer] = await to_the_end(self._database.run(principal, [query]))
        return answer  # type: ignore[no-any-return]  # what a list of queries gives is not typed one by one
