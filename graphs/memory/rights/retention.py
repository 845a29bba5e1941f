"""Retention: expiry of turns, and decay of memories."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from langgraph.store.base import PutOp

from graphs.memory.contract import COLLECTIONS, DecayReport
from graphs.memory.database import statements
from graphs.memory.database.query import Query
from graphs.memory.errors import InvalidInput
from graphs.memory.values.namespaces import from_text, user_scope

log = logging.getLogger(__name__)

_SQL = statements.load("retention", __package__)

IMPORTANT = 0.7
"""From this importance on a memory fades before it is trimmed."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Retention periods, for background jobs. 0 keeps for ever.

    Args:
        retention_days: days until turns expire; important ones become episodes then.
        decay_days: days without a change or read until memories decay.
    """

    retention_days: float = 0
    decay_days: float = 0


def check_threshold(days: float) -> None:
    """Check a threshold: 0 would delete everything.

    Raises:
        InvalidInput: it is not a positive number of days.
    """
    if not 0 < days < 36525:
        raise InvalidInput(
            f"threshold_days must be a positive number of days (at most a century); got {days!r}."
        )


def decay(user_id: str, threshold_days: float) -> Query[DecayReport]:
    """Return the query that trims memories untouched for `threshold_days`; important ones fade.

    It affects memories under the contract only, not the items of applications.
    """
    rule = {"user_id": user_id, "days": threshold_days, "important": IMPORTANT}
    return Query(
        _SQL["decay"], rule, lambda rows: DecayReport(faded=rows[0].faded, trimmed=rows[0].trimmed)
    )


def decaying(threshold_days: float) -> Query[list[str]]:
    """Return the query for users with memories untouched for `threshold_days`."""
    return Query(
        _SQL["decaying"], {"days": threshold_days}, lambda rows: [row.user_id for row in rows]
    )


class OldTurn(NamedTuple):
    """A turn past its retention period."""

    namespace: str
    key: str
    user_id: str
    value: dict[str, Any]
    important: bool


def old_turns(days: float, limit: int = 200) -> Query[list[OldTurn]]:
    """Return the query for turns stored `days` ago or earlier, the oldest first."""
    given = {"days": days, "important": IMPORTANT, "limit": limit}
    return Query(_SQL["old_turns"], given, lambda rows: [OldTurn(*row) for row in rows])


def expire(turns: Iterable[OldTurn]) -> list[PutOp]:
    """Return the operations that delete turns, and keep important ones as episodes."""
    ops: list[PutOp] = []
    for turn in turns:
        namespace = from_text(turn.namespace)
        ops.append(PutOp(namespace, turn.key, None))
        if turn.important:
            episode = {**turn.value, "type": "episode"}
            scope = user_scope(turn.user_id, COLLECTIONS["episode"])
            ops.append(PutOp(scope, f"{namespace[-1]}:{turn.key}", episode, index=["content"]))
    return ops
