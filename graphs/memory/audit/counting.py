"""Records that are counted for a second before they are written."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from graphs.memory.database.database import Database, PrincipalQueries, to_the_end
from graphs.memory.errors import GraphMemoryError

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

_NOTED_SECONDS = 1.0
"""Seconds between two writes of the log."""

_SLACK_SECONDS = 2.0
"""Seconds that a write may wait for a connection. Reads of a person who was erased, and is there
again within that time, leave no record."""

_MOST_NOTED = 100_000
"""Records that are kept in memory while the database is unavailable."""


class CountingLog(ABC, Generic[K]):
    """A log in which events of one key within a second become one record with counts.

    It is written in the background: a process that is killed loses the last second. While the
    database is unavailable, nothing is lost until there are `_MOST_NOTED` records.

    Args:
        database: the database of the audit log.
        name: what the records are called in the log of the process.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._noted: dict[K, Counter[str]] = {}
        self._since = 0.0
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    @abstractmethod
    def _parts(self, noted: Mapping[K, Counter[str]], seconds: float) -> Sequence[PrincipalQueries]:
        """Return the queries that write these records, in one transaction.

        The oldest one is from some seconds ago. What is about somebody who was erased since then
        is not to be written.
        """

    def _counts(self, key: K) -> Counter[str]:
        """Return the counts of a record that is written soon, to add to them."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_later())
        if not self._noted:
            self._since = time.monotonic()
        return self._noted.setdefault(key, Counter())

    async def finish(self) -> None:
        """Wait until everything is recorded, or its loss is logged."""
        async with self._writing:
            if self._task:
                self._task.cancel()  # it sleeps, or waits for the lock
            await self._write()

    async def _write_later(self) -> None:
        while self._noted:
            await asyncio.sleep(_NOTED_SECONDS)
            async with self._writing:
                await self._write()

    async def _write(self) -> None:
        noted, since, self._noted = self._noted, self._since, {}
        if not noted:
            return
        parts = self._parts(noted, time.monotonic() - since + _SLACK_SECONDS)
        try:
            await to_the_end(self._database.run_parts(parts))
        except GraphMemoryError as error:
            log.warning("%d %s could not be written yet: %s", len(noted), self._name, error)
            for key, counts in list(noted.items())[: _MOST_NOTED - len(self._noted)]:
                self._noted.setdefault(key, Counter()).update(counts)
            self._since = since
