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
    """What makes a write the same as another: its key, and a digest of what it says."""

    key: str | None
    digest: str


def claim_of(
    payload: MemoryPayload, task_id: str | None, beside: Sequence[Mapping[str, Any]] = ()
) -> IdempotencyClaim:
    """Return what identifies a write: the key that its writer gave it, or the task of the graph and what it says.

    Without either it is a write of its own. The timestamp is left out: a retried node says the same thing a little
    later. `beside` is what is written with it.
    """
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
    """Ask for a payload to be logged as accepted; True if it was, False if the same write was stored before."""
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
    """Ask what an earlier write under the same key became.

    Raises:
        IdempotencyConflict: when it is answered, if that write said something else.
    """

    def read(rows: Rows) -> Addresses:
        if rows and rows[0].digest not in (None, claim.digest):
            raise IdempotencyConflict
        return [(tuple(namespace), key) for namespace, key in rows[0].memories] if rows else []

    return Query(_SQL["claimed_write"], {"user_id": user_id, "idempotency_key": claim.key}, read)
