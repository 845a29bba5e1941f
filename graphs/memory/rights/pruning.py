"""Pruning: the removal of old records, in portions, as background jobs do it."""

import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from graphs.memory.access import Access
from graphs.memory.database import statements
from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.query import Query, Rows
from graphs.memory.principal import Principal
from graphs.memory.rights.retention import Keeping

log = logging.getLogger(__name__)

_SQL = statements.load("pruning", __package__)

PORTION = 5000
"""Most rows that one transaction removes."""

_OF_HISTORY = ("prune_history", "prune_vectors", "prune_rows", "prune_runs")
"""Statements that are left out where the database has no history."""


class Pruner:
    """Removes old records of all users. Digests of sealed records stay, as after an erasure.

    Args:
        access: checks the principal and runs the queries.
        keeping: the retention periods.
    """

    def __init__(self, access: Access, keeping: Keeping) -> None:
        self._access = access
        self._keeping = keeping

    async def prune(self) -> dict[str, int]:
        """Remove all records whose period is over; return their number by statement.

        Raises:
            AccessDenied: the principal is not the service.
        """
        self._access.only_service("prune the records of all users")
        removed: dict[str, int] = {}
        for name, given in self._due().items():
            while gone := await self._portion(name, given):
                removed[name] = removed.get(name, 0) + gone
                if gone < PORTION:
                    break
        if removed:
            log.info("Pruned old records: %s", removed)
        return removed

    def _due(self) -> dict[str, Mapping[str, float]]:
        """Return the parameters of the statements that have something to do."""
        keeping = self._keeping
        # Decay asks receipts for recalls within its own period.
        receipts = max(keeping.receipt_days, keeping.decay_days) if keeping.receipt_days else 0
        periods = {
            "prune_audit": keeping.audit_days,
            "blank_receipts": keeping.receipt_days if keeping.receipt_days < receipts else 0,
            "prune_receipts": receipts,
            "prune_comparisons": keeping.receipt_days,
            "prune_deliveries": keeping.delivery_days,
            "prune_executions": keeping.execution_days,
            "prune_writes": keeping.execution_days,
            "prune_vectors": keeping.as_of_days,
            "prune_rows": keeping.history_days,
            "prune_runs": keeping.execution_days,
        }
        history = {"turn_days": keeping.retention_days, "days": keeping.history_days}
        return {
            "prune_history": history,
            **{name: {"days": days} for name, days in periods.items() if days},
        }

    async def _portion(self, name: str, periods: Mapping[str, float]) -> int:
        given = {**periods, "most": PORTION}
        part = SchemaPart.HISTORY if name in _OF_HISTORY else None
        if name not in ("prune_history", "prune_audit"):
            [gone] = await self._run(Query(_SQL[name], given, _gone, part))
            return int(gone or 0)
        certificate = {"certificate": str(uuid4())}
        _, gone, _ = await self._run(
            Query(_SQL["begin_erasing"], certificate),
            Query(_SQL[name], given | certificate, _gone, part),
            Query(_SQL["certify"], certificate),
        )
        return int(gone or 0)

    async def _run(self, *queries: Query[Any]) -> list[Any]:
        return await self._access.run(Principal.owner(), queries)


def _gone(rows: Rows) -> int:
    return int(rows[0].gone)
