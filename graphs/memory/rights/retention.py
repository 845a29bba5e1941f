"""Retention: decay of memories, and expiry of turns."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from langgraph.store.base import PutOp

from graphs.memory.contract import COLLECTIONS, DecayReport
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import InvalidInput
from graphs.memory.values.namespaces import from_text, user_scope

log = logging.getLogger(__name__)

_SQL = statements.load("retention", __package__)

IMPORTANT = 0.7
"""Importance from which decay halves a memory's importance instead of deleting it."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Retention periods, which background jobs apply. 0 means forever.

    Args:
        retention_days: days after which turns are deleted; important ones become episodes.
        decay_days: days without an update or a recall after which memories decay.
        receipt_days: days after which recall receipts go, with their queries.
        history_days: days after which versions that were replaced or forgotten go.
        as_of_days: days after which such versions lose their vectors; by their words they are found
            as long as they are kept.
        audit_days: days after which audit records go; digests stay.
        delivery_days: days after which ended deliveries to services outside go.
        execution_days: days after which records of runs and of accepted writes go.
    """

    retention_days: float = 0
    decay_days: float = 0
    receipt_days: float = 0
    history_days: float = 0
    as_of_days: float = 0
    audit_days: float = 0
    delivery_days: float = 0
    execution_days: float = 0


def check_threshold(days: float) -> None:
    """Check a threshold, since 0 or less would delete everything.

    Raises:
        InvalidInput: it is not a positive number of days.
    """
    if not 0 < days < 36525:
        raise InvalidInput(
            f"threshold_days must be a positive number of days, less than 36525 (a century); "
            f"got {days!r}."
        )


def decay(user_id: str, threshold_days: float) -> list[Query[Any]]:
    """Return the queries that decay a user's memories that were untouched for `threshold_days`.

    Important ones lose half of their importance, the others expire and are deleted. It affects only
    memories written under the contract, not items that an application put itself. The first query
    answers with the report.
    """
    rule = {"user_id": user_id, "days": threshold_days, "important": IMPORTANT}

    def read(rows: Rows) -> DecayReport:
        return DecayReport(faded=rows[0].faded, trimmed=rows[0].trimmed)

    return [Query(_SQL["decay"], rule, read), Query(_SQL["sweep_user"], {"user_id": user_id})]


def decaying(threshold_days: float) -> Query[list[str]]:
    """Return the query of the users who have memories without an update for `threshold_days`."""
    return Query(
        _SQL["decaying"], {"days": threshold_days}, lambda rows: [row.user_id for row in rows]
    )


class OldTurn(NamedTuple):
    """A turn whose retention period is over."""

    namespace: str
    key: str
    user_id: str
    value: dict[str, Any]
    important: bool


def old_turns(days: float, limit: int = 200) -> Query[list[OldTurn]]:
    """Return the query of turns that were stored `days` ago or earlier, the oldest first."""
    given = {"days": days, "important": IMPORTANT, "limit": limit}
    return Query(_SQL["old_turns"], given, lambda rows: [OldTurn(*row) for row in rows])


def episodes(turns: Iterable[OldTurn]) -> list[PutOp]:
    """Return the operations that store the important turns as episodes; repeating them is safe."""
    return [
        PutOp(
            user_scope(turn.user_id, COLLECTIONS["episode"]),
            f"{from_text(turn.namespace)[-1]}:{turn.key}",
            {**turn.value, "type": "episode"},
            index=["content"],
        )
        for turn in turns
        if turn.important
    ]


def expire(turns: Sequence[OldTurn], days: float) -> list[Query[Any]]:
    """Return the queries that let turns expire and delete them, so that no version stays."""
    given = {
        "namespaces": [turn.namespace for turn in turns],
        "keys": [turn.key for turn in turns],
        "days": days,
    }
    return [Query(_SQL["expire_turns"], given), Query(_SQL["sweep_turns"], given)]
