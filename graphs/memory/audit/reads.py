"""The log of reads, written in the background."""

import asyncio
import json
import logging
from collections import Counter
from typing import Any, NamedTuple

from graphs.memory.database import statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.query import Query
from graphs.memory.errors import (
    GraphMemoryError,
)
from graphs.memory.principal import Principal, Provenance
from graphs.memory.values.namespaces import Namespace, to_text

log = logging.getLogger(__name__)
_SQL = statements.load("reads", __package__)


_NOTED_SECONDS = 1.0
"""Seconds between two writes of the log."""

_MOST_NOTED = 100_000
"""Records that are kept in memory while the database is unavailable."""


class _Read(NamedTuple):
    """The key of a record: reads of one scope, by one principal, from one place."""

    principal: Principal
    provenance: Provenance
    scope: Namespace


class ReadLog:
    """The log of reads: who read which scope, in which run.

    Reads of a scope by one principal within a second become one record. The log is written in the
    background: a process that is killed loses the last second. While the database is unavailable,
    nothing is lost until there are `_MOST_NOTED` records.

    Args:
        database: the database of the audit log.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[_Read, Counter[str]] = {}
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    def note(
        self, principal: Principal, provenance: Provenance, scope: Namespace, kind: str, found: int
    ) -> None:
        """Record a read soon.

        Args:
            principal: the principal that read.
            provenance: the run and node that read.
            scope: the namespace, or a namespace prefix.
            kind: `gets`, `searches` or `lists`.
            found: the number of items that it returned.
        """
        noted = self._noted.setdefault(_Read(principal, provenance, scope), Counter())
        noted[kind] += 1
        noted["found"] += found
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_later())

    async def finish(self) -> None:
        """Wait until every read is recorded, or its loss is logged."""
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
        noted, self._noted = self._noted, {}
        if not noted:
            return
        query: Query[None] = Query(
            _SQL["log_reads"], {"reads": json.dumps([_record(*read) for read in noted.items()])}
        )
        try:
            await to_the_end(self._database.run(Principal.service(), [query]))
        except GraphMemoryError as error:
            log.warning("%d records of reads could not be written yet: %s", len(noted), error)
            for read, counts in list(noted.items())[: _MOST_NOTED - len(self._noted)]:
                self._noted.setdefault(read, Counter()).update(counts)


def _record(read: _Read, counts: Counter[str]) -> dict[str, Any]:
    """Return the JSON of a record."""
    who = read.principal.user_id or read.principal.role
    return {**dict(read.provenance), "actor": who, "namespace": to_text(read.scope), "data": counts}
