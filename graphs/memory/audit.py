"""Events, and the log of accepted writes. Changes of memories are recorded by triggers, which no path can skip."""

import hashlib
import json
from typing import Any
from uuid import UUID

from graphs.memory import sql
from graphs.memory.contract import MemoryPayload
from graphs.memory.errors import ContractError, InvalidValue
from graphs.memory.namespaces import Namespace
from graphs.memory.text import problem_with, to_json
from graphs.memory.transaction import Query, Rows

_SQL = sql.load("audit")

RESERVED = "memory."
"""How the types of events begin that only the database's triggers record."""

Addresses = list[tuple[Namespace, str]]


def check_event(event_type: str, data: dict[str, Any]) -> str:
    """Return an event's data as JSON text.

    Raises:
        ContractError: the type is empty, or the data is not JSON.
    """
    if not event_type or problem_with(event_type) or event_type.startswith(RESERVED):
        raise ContractError({"event_type": f"must be a non-empty text that does not begin with {RESERVED!r}"})
    try:
        return to_json(data, "data")
    except InvalidValue as error:
        raise ContractError({error.path: error.problem}) from error


def log_event(user_id: str | None, event_type: str, data: str, event_id: UUID) -> Query[None]:
    """Ask for an event to be logged, about a user or (None) about the service; once for each `event_id`."""
    event = {"user_id": user_id, "event_type": event_type, "data": data, "event_id": event_id}
    return Query(_SQL["log_event"], event)


def claim_write(payload: MemoryPayload, addresses: Addresses, key: str | None) -> Query[bool]:
    """Ask for a payload to be logged as accepted; True if it was, False if the same write was stored before."""
    claim = {
        "user_id": payload.identity,
        "session_id": payload.session_id,
        "agent": payload.agent,
        "type": payload.type,
        "memories": json.dumps(addresses),
        "idempotency_key": key,
        "said_at": payload.timestamp,
    }
    return Query(_SQL["claim_write"], claim, bool)


def claimed_write(user_id: str, key: str | None) -> Query[Addresses]:
    """Ask what an earlier write under the same key became."""

    def read(rows: Rows) -> Addresses:
        return [(tuple(namespace), key) for namespace, key in rows[0].memories] if rows else []

    return Query(_SQL["claimed_write"], {"user_id": user_id, "idempotency_key": key}, read)


def idempotency_key(task_id: str | None, payload: MemoryPayload) -> str | None:
    """Return what identifies a write: the task of the graph that makes it, and what it says; None outside a graph.

    The timestamp is left out: a retried node says the same thing a little later.
    """
    if task_id is None:
        return None
    said = payload.model_dump_json(exclude={"timestamp"})
    return hashlib.sha256(f"{task_id}:{said}".encode()).hexdigest()
