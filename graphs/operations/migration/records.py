"""Records made of other systems' memories: values under the JSON contract, and their history."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from graphs.memory.contract import COLLECTIONS, check_payload
from graphs.memory.errors import ContractError, InvalidValue
from graphs.memory.values.namespaces import encode_label, user_scope
from graphs.operations.migration.source import Rejected, SourceRecord, SourceVersion

UNNAMED = "migration"
"""The agent or session of a memory that came without one."""


@dataclass(frozen=True, slots=True)
class SourceChange:
    """A change of a memory in its source."""

    event: Literal["ADD", "UPDATE", "DELETE"]
    at: datetime
    old: str | None = None
    """The content before the change."""


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
    """Return the record of a user's memory or, without `user_id`, of agent knowledge.

    Raises:
        ContractError: it violates the JSON contract; `fields` names the fields.
    """
    owner = user_id or agent
    if not (isinstance(owner, str) and owner.strip()):
        raise ContractError(
            {"user_id": "is missing, and so is the agent: give one of them as the owner"}
        )
    if type_ == "turn":
        raise ContractError(
            {"type": "is turn: turns belong to a session and cannot be imported as memories"}
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
    """Return the versions of a memory before each of its changes.

    Args:
        value: the current value. Of earlier versions only the content is known.
        since: creation time.
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
    """Parse one of mem0's times. A time without a zone is in UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def expiry(text: str | None) -> datetime | None:
    """Return the expiry of a mem0 memory, None if it has none. A date includes its whole day."""
    if not text or text.startswith("9999-12-31"):  # the last representable day means never
        return None
    return moment(text) + timedelta(days=len(text) == len("2026-01-31"))


def rejected(source_id: str, error: ContractError | InvalidValue, raw: Any) -> Rejected:
    """Return the rejection of an invalid memory, with its first problem and field."""
    if isinstance(error, InvalidValue):
        return Rejected(source_id, error.path, error.problem, raw)
    field, problem = next(iter(error.fields.items()))
    return Rejected(source_id, "user_id" if field == "identity" else field, problem, raw)
