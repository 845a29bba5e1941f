"""Payloads as items of the store."""

import hashlib
from collections.abc import Iterable

from langgraph.store.base import PutOp

from graphs.memory.contract import COLLECTIONS, Exchange, MemoryPayload
from graphs.memory.values.namespaces import encode_label, user_scope


def items_of(payload: MemoryPayload) -> list[PutOp]:
    """Return the items of a checked payload: one, or both sides of an exchange."""
    common = {
        "agent": payload.agent,
        "session_id": payload.session_id,
        "timestamp": payload.timestamp.isoformat(),
        "tags": payload.tags,
        "importance": payload.importance,
        "metadata": payload.metadata,
    }

    def put(type_: str, labels: tuple[str, ...], key: str, content: str, **more: str) -> PutOp:
        namespace = user_scope(payload.identity, COLLECTIONS[type_], *labels)
        return PutOp(
            namespace, key, {"content": content, "type": type_, **more, **common}, index=["content"]
        )

    if isinstance(payload.content, str):
        return [put(payload.type, (), key_of(payload.content), payload.content)]
    exchange, session = payload.content, (encode_label(payload.session_id),)
    sides = {"user": exchange.user, "assistant": exchange.assistant}
    return [
        put("turn", session, f"{exchange.id}:{role}", text, role=role)
        for role, text in sides.items()
        if text
    ]


def turns_of(payload: MemoryPayload, puts: Iterable[PutOp]) -> dict[str, PutOp]:
    """Return the items among `puts` that are turns, by role; none unless the payload is a turn."""
    if not isinstance(payload.content, Exchange):
        return {}
    return {op.value["role"]: op for op in puts if op.value and op.value["type"] == "turn"}


def key_of(text: str) -> str:
    """Return the key of a text memory: the same for the same words, in any spacing and case."""
    normalised = " ".join(text.casefold().split()).rstrip(".!") or text
    return hashlib.sha256(normalised.encode()).hexdigest()[:32]
