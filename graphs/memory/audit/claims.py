"""The log of accepted writes, and the idempotency keys that make a retry change nothing."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from graphs.memory.contract import MemoryPayload
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import (
    IdempotencyConflict,
)
from graphs.memory.values.namespaces import Namespace

_SQL = statements.load("claims", __package__)


Addresses = list[tuple[Namespace, str]]


class IdempotencyClaim(NamedTuple):
    """The identity of a write: its key, and a digest of its content."""

    key: str | None
    digest: str


def claim_of(
    payload: MemoryPayload, task_id: str | None, beside: Sequence[Mapping[str, Any]] = ()
) -> IdempotencyClaim:
    """Return the identity of a write.

    Its key is derived from the payload's idempotency key, or else from the task and the content.
    Without either the key is None, and the write is always a new one.

    Args:
        payload: the payload.
        task_id: the task of a graph that writes; None outside of a graph.
        beside: the parameters of the queries that commit with it.
    """
    # The timestamp is left out: a retried node writes the same payload a little later.
    said = payload.model_dump_json(exclude={"timestamp", "idempotency_key"})
    said += "".join(json.dumps(dict(part)) for part in beside)
    digest = _sha256(said)
    if payload.idempotency_key is not None:
        return IdempotencyClaim(_sha256(f"key:{payload.idempotency_key}"), digest)
    return IdempotencyClaim(_sha256(f"{task_id}:{said}") if task_id else None, digest)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def claim_write(
    payload: MemoryPayload, addresses: Addresses, claim: IdempotencyClaim
) -> Query[bool]:
    """Return the query that logs a payload as accepted.

    Its answer is False if the same write was stored before.
    """
    given = {
        "user_id": payload.identity,
        "session_id": payload.session_id,
        "agent": payload.agent,
        "type": payload.type,
        "memories": json.dumps(addresses),
        "idempotency_key": claim.key,
        "digest": claim.digest,
        "said_at": payload.timestamp,
    }
    return Query(_SQL["claim_write"], given, bool)


def claimed_write(user_id: str, claim: IdempotencyClaim) -> Query[Addresses]:
    """Return the query of the addresses that an earlier write with the same key stored.

    Its answer raises `IdempotencyConflict` if the content of that write was different.
    """

    def read(rows: Rows) -> Addresses:
        if rows and rows[0].digest not in (None, claim.digest):
            raise IdempotencyConflict
        return [(tuple(namespace), key) for namespace, key in rows[0].memories] if rows else []

    return Query(_SQL["claimed_write"], {"user_id": user_id, "idempotency_key": claim.key}, read)
