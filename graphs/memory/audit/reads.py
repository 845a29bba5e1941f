"""The log of reads, written behind them."""

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


_MOST_NOTED = 100_000


class _Read(NamedTuple):
    """Reads of one scope by one caller."""

    principal: Principal
    provenance: Provenance
    scope: Namespace


class ReadLog:
    """Records who read which scope, from which run: what one caller reads of it within a second is one record.

    It is written behind the reads. A process that is killed loses the last second; a database that is away loses
    nothing until it has been away for so long that there are `_MOST_NOTED` scopes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[_Read, Counter[str]] = {}
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    def note(
        self, principal: Principal, provenance: Provenance, scope: Namespace, kind: str, found: int
    ) -> None:
        """Have a read recorded soon.

        Args:
            principal: who read.
            provenance: which run and node.
            scope: the namespace, or the prefix of one.
            kind: `gets`, `searches` or `lists`.
            found: how many items it gave.
        """
        noted = self._noted.setdefault(_Read(principal, provenance, scope), Counter())
        noted[kind] += 1
        noted["found"] += found
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_later())

    async def finish(self) -> None:
        """Return when every read that was noted is recorded, or was reported as not recorded."""
        async with self._writing:
            if self._task:
                self._task.cancel()  # it sleeps, or waits for its turn
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
    """What the database is told of a read."""
    who = read.principal.user_id or read.principal.role
    return {**dict(read.provenance), "actor": who, "namespace": to_text(read.scope), "data": counts}
