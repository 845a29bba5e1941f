"""Queries on sessions, turns, pinned memories and profiles: the snapshot that a run starts with."""

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
    """Return the query that creates a session, or records new activity in it."""
    return Query(
        _SQL["touch_session"], {"user_id": user_id, "session_id": session_id, "agent": agent}
    )


def put_turns(payload: MemoryPayload, exchange: str, turns: Mapping[str, PutOp]) -> Query[None]:
    """Return the query that records an exchange in its session; `turns` maps roles to items."""
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
    """Return the query that records that a run of an agent wrote memory."""
    execution = {
        "run_id": run_id,
        "agent": payload.agent,
        "user_id": payload.identity,
        "session_id": payload.session_id,
    }
    return Query(_SQL["record_execution"], execution)


def session(user_id: str, session_id: str) -> Query[Session]:
    """Return the query of a session; a new session has no turns and no times."""

    def read(rows: Rows) -> Session:
        return Session.model_validate(rows[0]._asdict()) if rows else Session(id=session_id)

    return Query(_SQL["session"], {"user_id": user_id, "session_id": session_id}, read)


def recent_turns(user_id: str, session_id: str, limit: int) -> Query[list[Turn]]:
    """Return the query of the last turns of a session, the oldest first."""

    def read(rows: Rows) -> list[Turn]:
        return [
            Turn.model_validate({name: getattr(row, name) for name in Turn.model_fields})
            for row in rows
        ]

    return Query(
        _SQL["recent_turns"], {"user_id": user_id, "session_id": session_id, "limit": limit}, read
    )


def pinned(user_id: str, agent: str | None, limit: int) -> Query[list[RecalledMemory]]:
    """Return the query of a user's pinned memories, the latest change first.

    With `agent`, only those that this agent wrote.
    """

    def read(rows: Rows) -> list[RecalledMemory]:
        return [as_memory(search_item(row, None), None) for row in rows]

    return Query(_SQL["pinned"], {"user_id": user_id, "agent": agent, "limit": limit}, read)


def pinned_among(addresses: Sequence[tuple[Namespace, str]]) -> Query[set[tuple[Namespace, str]]]:
    """Return the query of those of the addresses whose memories are pinned."""
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
    """Return the query of a user's profile; empty if there is none."""
    return Query(
        _SQL["profile"], {"user_id": user_id}, lambda rows: rows[0].profile if rows else {}
    )


def with_pinned(
    kept: Sequence[RecalledMemory], found: Sequence[RecalledMemory], limit: int
) -> list[RecalledMemory]:
    """Return pinned memories, then found ones: each memory once, and at most `limit`.

    A pinned memory that was also found keeps its score.
    """
    at = {(memory.namespace, memory.key): memory for memory in found}
    memories = {
        (memory.namespace, memory.key): at.get((memory.namespace, memory.key), memory)
        for memory in kept
    }
    return list((memories | at).values())[:limit]
