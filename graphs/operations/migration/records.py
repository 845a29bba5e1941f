"""What memories of other systems become: values under the JSON contract, and the versions that they had."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from graphs.memory.contract import COLLECTIONS, check_payload
from graphs.memory.errors import ContractError, InvalidValue
from graphs.memory.values.namespaces import encode_label, user_scope
from graphs.operations.migration.source import Rejected, SourceRecord, SourceVersion

UNNAMED = "migration"
"""The agent, or the session, of a memory that came without one."""


@dataclass(frozen=True, slots=True)
class SourceChange:
    """Something that happened to a memory where it comes from."""

    event: Literal["ADD", "UPDATE", "DELETE"]
    at: datetime
    old: str | None = None
    """What it said before."""


def memory(
    source_id: str,
    content: Any,
    *,
    key: str,
    user_id: Any = None,
    agent: Any = None,
    session_id: Any = None,
    type_: Any = "fact",
    tags: Any = (),
    importance: Any = 0.5,
    metadata: Any = None,
    created_at: datetime,
    updated_at: datetime | None = None,
    expires_at: datetime | None = None,
    run_id: str | None = None,
    changes: Iterable[SourceChange] = (),
    vector: Sequence[float] | None = None,
) -> SourceRecord:
    """Return the record of a memory of a person, or (without `user_id`) of what an agent knows.

    Raises:
        ContractError: it breaks the JSON contract; `fields` names where.
    """
    owner = user_id or agent
    if not (isinstance(owner, str) and owner.strip()):
        raise ContractError({"user_id": "is missing, and so is an agent: say whose memory it is"})
    if type_ == "turn":
        raise ContractError(
            {"type": "is turn: what was said comes with its session, and is not a memory by itself"}
        )
    payload = check_payload(
        owner,
        session := session_id or run_id or UNNAMED,
        {
            "identity": owner,
            "timestamp": created_at,
            "agent": agent or UNNAMED,
            "session_id": session,
            "type": type_,
            "content": content,
            "tags": tags,
            "importance": importance,
            "metadata": metadata or {},
        },
    )
    value = payload.model_dump(
        mode="json", include={"content", "type", "agent", "session_id", "tags", "importance"}
    )
    value |= {"timestamp": created_at.isoformat(), "metadata": payload.metadata}
    label = COLLECTIONS[payload.type]
    return SourceRecord(
        source_id,
        user_scope(owner, label) if user_id else ("agents", encode_label(owner), label),
        key,
        value,
        fields=["content"],
        created_at=created_at,
        updated_at=updated_at,
        expires_at=expires_at,
        session_id=session_id,
        run_id=run_id,
        history=versions(value, created_at, changes),
        vectors={"content": vector} if vector is not None else {},
    )


def versions(
    value: Mapping[str, Any], since: datetime, changes: Iterable[SourceChange]
) -> list[SourceVersion]:
    """Return what a memory was before each of its changes.

    Args:
        value: what it is now; of earlier versions only the content is known.
        since: when it was made.
        changes: in any order.
    """
    found = []
    for change in sorted(changes, key=lambda change: change.at):
        if change.event == "UPDATE" and change.old is not None:
            found.append(
                SourceVersion({**value, "content": change.old}, min(since, change.at), change.at)
            )
        since = change.at
    return found


def moment(text: str) -> datetime:
    """Return a time of mem0's; one without a zone is in UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def expiry(text: str | None) -> datetime | None:
    """Return when a memory of mem0's expires, if it does: a date is the last day on which it counts."""
    if not text or text.startswith("9999-12-31"):  # the last day that there is: never
        return None
    return moment(text) + timedelta(days=len(text) == len("2026-01-31"))


def rejected(source_id: str, error: ContractError | InvalidValue, raw: Any) -> Rejected:
    """Return what is told of something that cannot be a memory: its first problem, and which field has it."""
    if isinstance(error, InvalidValue):
        return Rejected(source_id, error.path, error.problem, raw)
    field, problem = next(iter(error.fields.items()))
    return Rejected(source_id, "user_id" if field == "identity" else field, problem, raw)
