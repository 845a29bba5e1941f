"""Sessions and turns: the relational side of a conversation, and the snapshot a run starts with."""

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.store.base import PutOp

from graphs.memory.contract import (
    MemoryPayload,
    RecalledMemory,
    Session,
    Turn,
)
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.search.recalled import as_memory, search_item
from graphs.memory.values.namespaces import Namespace, from_text, to_text

_SQL = statements.load("sessions", __package__)


def touch_session(user_id: str, session_id: str, agent: str) -> Query[None]:
    """Ask for the session to be created, or for a note that something happened in it."""
    return Query(
        _SQL["touch_session"], {"user_id": user_id, "session_id": session_id, "agent": agent}
    )


def put_turns(payload: MemoryPayload, exchange: str, turns: Mapping[str, PutOp]) -> Query[None]:
    """Ask for the items of an exchange to get their place in the session; `turns` maps role to item."""
    places = {
        "user_id": payload.identity,
        "session_id": payload.session_id,
        "exchange": exchange,
        "agent": payload.agent,
        "namespaces": [to_text(op.namespace) for op in turns.values()],
        "roles": list(turns),
        "keys": [op.key for op in turns.values()],
    }
    return Query(_SQL["put_turns"], places)


def record_execution(run_id: str, payload: MemoryPayload) -> Query[None]:
    """Ask for a note that an agent's run wrote what it had to say."""
    execution = {
        "run_id": run_id,
        "agent": payload.agent,
        "user_id": payload.identity,
        "session_id": payload.session_id,
    }
    return Query(_SQL["record_execution"], execution)


def session(user_id: str, session_id: str) -> Query[Session]:
    """Ask for a session; one that is new has no turns and no times."""

    def read(rows: Rows) -> Session:
        return Session.model_validate(rows[0]._asdict()) if rows else Session(id=session_id)

    return Query(_SQL["session"], {"user_id": user_id, "session_id": session_id}, read)


def recent_turns(user_id: str, session_id: str, limit: int) -> Query[list[Turn]]:
    """Ask for the last turns of a session, oldest first."""

    def read(rows: Rows) -> list[Turn]:
        return [
            Turn.model_validate({name: getattr(row, name) for name in Turn.model_fields})
            for row in rows
        ]

    return Query(
        _SQL["recent_turns"], {"user_id": user_id, "session_id": session_id, "limit": limit}, read
    )


def pinned(user_id: str, agent: str | None, limit: int) -> Query[list[RecalledMemory]]:
    """Ask for the memories that a user pinned, or those that an agent wrote of them, what changed last first."""

    def read(rows: Rows) -> list[RecalledMemory]:
        return [as_memory(search_item(row, None), None) for row in rows]

    return Query(_SQL["pinned"], {"user_id": user_id, "agent": agent, "limit": limit}, read)


def pinned_among(addresses: Sequence[tuple[Namespace, str]]) -> Query[set[tuple[Namespace, str]]]:
    """Ask at which of some addresses there is a memory that is pinned."""
    given = {
        "namespaces": [to_text(namespace) for namespace, _ in addresses],
        "keys": [key for _, key in addresses],
    }
    return Query(
        _SQL["pinned_among"],
        given,
        lambda rows: {(from_text(row.namespace), row.key) for row in rows},
    )


def profile(user_id: str) -> Query[dict[str, Any]]:
    """Ask for what is known about a user as such."""
    return Query(
        _SQL["profile"], {"user_id": user_id}, lambda rows: rows[0].profile if rows else {}
    )


def with_pinned(
    kept: Sequence[RecalledMemory], found: Sequence[RecalledMemory], limit: int
) -> list[RecalledMemory]:
    """Return what was found, behind what is pinned: each memory once, and no more than `limit`.

    Pinned memories that were found keep the score that they were found with.
    """
    at = {(memory.namespace, memory.key): memory for memory in found}
    memories = {
        (memory.namespace, memory.key): at.get((memory.namespace, memory.key), memory)
        for memory in kept
    }
    return list((memories | at).values())[:limit]
