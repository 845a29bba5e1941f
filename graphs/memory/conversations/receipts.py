"""Recall receipts: for each recall what was chosen, what nearly, and why. They are written behind the recall."""

import asyncio
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
"""How many memories that were nearly chosen a receipt tells of."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt that is yet to be written; `chosen` and `nearly` are JSON."""

    actor: str
    user_id: str
    query: str
    chosen: str
    nearly: str


def receipt(actor: str, user_id: str, query: str, found: Found) -> Receipt:
    """Return the receipt of what a user's memory gave to a query."""
    parts: Iterable[Mapping[str, float]] = found.parts or [{} for _ in found.items]
    chosen = [(i.namespace, i.key, i.score, p) for i, p in zip(found.items, parts, strict=True)]
    return Receipt(actor, user_id, query, _told(chosen), _told(found.nearly))


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
    """Ask for receipts to be stored."""
    given = {
        "actors": [r.actor for r in receipts],
        "user_ids": [r.user_id for r in receipts],
        "queries": [r.query for r in receipts],
        "chosen": [r.chosen for r in receipts],
        "nearly": [r.nearly for r in receipts],
    }
    return Query(_SQL["put"], given)


def latest(user_id: str, run_id: str | None, limit: int) -> Query[list[RecallReceipt]]:
    """Ask for the latest receipts about a user's memory, of one run or of all, newest first."""

    def read(rows: Rows) -> list[RecallReceipt]:
        return [RecallReceipt.model_validate(row._asdict()) for row in rows]

    return Query(_SQL["latest"], {"user_id": user_id, "run_id": run_id, "limit": limit}, read)


class Receipts:
    """Writes receipts behind the calls that they are about, those of one moment together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._calls: Coalescer[Provenance, Receipt, None] = Coalescer(
            self._store,
            at_once=1,
            together=lambda _: None,
            in_turn=lambda _: True,
            hopeless=lambda error: isinstance(error, StoreUnavailable),
        )
        self._unwritten: set[asyncio.Task[None]] = set()

    def note(self, provenance: Provenance, receipt: Receipt) -> None:
        """Have a receipt written soon."""
        task = asyncio.create_task(self._submit(provenance, receipt))
        self._unwritten.add(task)
        task.add_done_callback(self._unwritten.discard)

    async def finish(self) -> None:
        """Return when every receipt that was noted is written, or was reported as lost."""
        while self._unwritten:
            await asyncio.wait(self._unwritten)

    async def _submit(self, provenance: Provenance, receipt: Receipt) -> None:
        try:
            await self._calls.submit(provenance, receipt)
        except GraphMemoryError as error:
            log.warning("The receipt of a recall could not be written: %s", error)

    async def _store(self, noted: Sequence[tuple[Provenance, Receipt]]) -> list[None]:
        parts = [
            PrincipalQueries(
                Principal.service(), [put([receipt for _, receipt in receipts])], dict(provenance)
            )
            for provenance, receipts in groupby(noted, key=itemgetter(0))
        ]
        await self._database.run_parts(parts)
        return [None] * len(noted)
