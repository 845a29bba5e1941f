"""Sessions and turns: the relational side of a conversation, and the snapshot a run starts with."""

from collections.abc import Mapping
from typing import Any

from langgraph.store.base import PutOp
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from graphs.memory import sql
from graphs.memory.contract import MemoryPayload, RecalledMemory, Session, Turn
from graphs.memory.namespaces import to_text

_SQL = sql.load("sessions")

Connection = AsyncConnection[DictRow]


async def touch_session(conn: Connection, user_id: str, session_id: str, agent: str) -> None:
    """Create the session, or note that something happened in it."""
    await conn.execute(_SQL["touch_session"], {"user_id": user_id, "session_id": session_id, "agent": agent})


async def put_turns(conn: Connection, payload: MemoryPayload, exchange: str, turns: Mapping[str, PutOp]) -> None:
    """Give the items of an exchange their place in the session; `turns` maps role to item."""
    await conn.execute(
        _SQL["put_turns"],
        {
            "user_id": payload.identity,
            "session_id": payload.session_id,
            "exchange": exchange,
            "agent": payload.agent,
            "namespaces": [to_text(op.namespace) for op in turns.values()],
            "roles": list(turns),
            "keys": [op.key for op in turns.values()],
        },
    )


async def record_execution(conn: Connection, run_id: str, payload: MemoryPayload) -> None:
    """Note that an agent's run wrote what it had to say."""
    await conn.execute(
        _SQL["record_execution"],
        {
            "run_id": run_id,
            "agent": payload.agent,
            "user_id": payload.identity,
            "session_id": payload.session_id,
        },
    )


async def read_session(
    conn: Connection, user_id: str, session_id: str, limit: int
) -> tuple[Session, list[Turn], dict[str, Any]]:
    """Return the session, its last `limit` turns (oldest first) and the user's profile."""
    whom = {"user_id": user_id, "session_id": session_id, "limit": limit}
    session = await conn.execute(_SQL["session"], whom)
    turns = await conn.execute(_SQL["recent_turns"], whom)
    profile = await conn.execute(_SQL["profile"], whom)
    found, person = await session.fetchone(), await profile.fetchone()
    return (
        Session.model_validate(found) if found else Session(id=session_id),
        [Turn.model_validate({name: row[name] for name in Turn.model_fields}) for row in await turns.fetchall()],
        person["profile"] if person else {},
    )


def recalled(item: Any, *, explain: bool = False) -> RecalledMemory:
    """Return a found item as a memory; an item of any other shape shows as its JSON."""
    value, tags = item.value, item.value.get("tags")
    content = next((value[name] for name in ("content", "text", "memory") if isinstance(value.get(name), str)), None)
    return RecalledMemory(
        namespace=item.namespace,
        key=item.key,
        content=content if content is not None else str(value),
        type=value.get("type") if isinstance(value.get("type"), str) else None,
        tags=[tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
        score=item.score,
        session_id=value.get("session_id") if isinstance(value.get("session_id"), str) else None,
        created_at=item.created_at,
        updated_at=item.updated_at,
        explanation={"similarity": item.score} if explain and item.score is not None else None,
    )
