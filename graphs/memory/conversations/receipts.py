"""Recall receipts: the memories that a recall chose, the runners-up, and their scores.

They are written in the background, after the recall has returned.
"""

import asyncio
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter

from graphs.memory.contract import RecallReceipt
from graphs.memory.database import statements
from graphs.memory.database.coalescing import Coalescer
from graphs.memory.database.database import Database, PrincipalQueries
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import GraphMemoryError, StoreUnavailable
from graphs.memory.principal import Principal, Provenance
from graphs.memory.search.recalled import Found
from graphs.memory.values.namespaces import Namespace

log = logging.getLogger(__name__)

_SQL = statements.load("receipts", __package__)

NEARLY = 5
"""Number of runners-up in a receipt."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt to write; `chosen` and `nearly` are JSON."""

    actor: str
    user_id: str
    query: str
    chosen: str
    nearly: str
    as_of: str | None


def receipt(
    actor: str, user_id: str, query: str, found: Found, moment: datetime | None = None
) -> Receipt:
    """Return the receipt of a recall, which read the present or a moment of the past."""
    parts: Iterable[Mapping[str, float]] = found.parts or [{} for _ in found.items]
    chosen = [(i.namespace, i.key, i.score, p) for i, p in zip(found.items, parts, strict=True)]
    as_of = moment.isoformat() if moment else None
    return Receipt(actor, user_id, query, _told(chosen), _told(found.nearly), as_of)


def _told(memories: Iterable[tuple[Namespace, str, float | None, Mapping[str, float]]]) -> str:
    return json.dumps(
        [
            {
                "namespace": namespace,
                "key": key,
                "score": None if score is None or not math.isfinite(score) else round(score, 4),
                "parts": {name: round(part, 4) for name, part in parts.items()},
            }
            for namespace, key, score, parts in memories
        ]
    )


def put(receipts: Sequence[Receipt]) -> Query[None]:
    """Return the query that stores receipts."""
    given = {
        "actors": [r.actor for r in receipts],
        "user_ids": [r.user_id for r in receipts],
        "queries": [r.query for r in receipts],
        "chosen": [r.chosen for r in receipts],
        "nearly": [r.nearly for r in receipts],
        "moments": [r.as_of for r in receipts],
    }
    return Query(_SQL["put"], given)


def latest(user_id: str, run_id: str | None, limit: int) -> Query[list[RecallReceipt]]:
    """Return the query of a user's latest receipts, of one run or of all, the newest first."""

    def read(rows: Rows) -> list[RecallReceipt]:
        return [RecallReceipt.model_validate(row._asdict()) for row in rows]

    return Query(_SQL["latest"], {"user_id": user_id, "run_id": run_id, "limit": limit}, read)


class Receipts:
    """The writer of receipts. It runs in the background and coalesces receipts.

    Args:
        database: the database of the receipts.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._calls: Coalescer[Provenance, Receipt, None] = Coalescer(
            self._store,
            at_once=1,
            together=lambda _: None,
            in_turn=lambda _: True,
            # An unavailable database would refuse each receipt alone as well.
            hopeless=lambda error: isinstance(error, StoreUnavailable),
        )
        self._unwritten: set[asyncio.Task[None]] = set()

    def note(self, provenance: Provenance, receipt: Receipt) -> None:
        """Write a receipt soon."""
        # The event loop keeps only weak references to tasks.
        task = asyncio.create_task(self._submit(provenance, receipt))
        self._unwritten.add(task)
        task.add_done_callback(self._unwritten.discard)

    async def finish(self) -> None:
        """Wait until every receipt is written, or its loss is logged."""
        while self._unwritten:
            await asyncio.wait(self._unwritten)

    async def _submit(self, provenance: Provenance, receipt: Receipt) -> None:
        try:
            await self._calls.submit(provenance, receipt)
        except GraphMemoryError as error:
            log.warning("A recall receipt could not be written: %s", error)

    async def _store(self, noted: Sequence[tuple[Provenance, Receipt]]) -> list[None]:
        parts = [
            PrincipalQueries(
                Principal.service(), [put([receipt for _, receipt in receipts])], dict(provenance)
            )
            for provenance, receipts in groupby(noted, key=itemgetter(0))
        ]
        await self._database.run_parts(parts)
        return [None] * len(noted)
