"""The common part of beliefs, goals and reflections.

Each of them is a memory of its type. Its text is stored in that memory only.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.contract import (
    MemoryPayload,
    MemoryType,
    check_payload,
)
from graphs.memory.errors import InvalidInput, InvalidValue
from graphs.memory.store.payloads import items_of
from graphs.memory.values.namespaces import Address, from_text, to_text
from graphs.memory.values.text import to_json

MOST = 1000
"""Largest `limit` of a query."""


class Knowledge(BaseModel):
    """A memory of a type with fields of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: tuple[str, ...]
    key: str
    content: str
    tags: list[str] = Field(default_factory=list)
    agent: str | None = Field(default=None, description="The agent that wrote it.")
    session_id: str | None = Field(default=None, description="The session that it comes from.")
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime
    updated_at: datetime = Field(description="When its text or its other fields last changed.")

    @property
    def address(self) -> Address:
        """Namespace and key, as relationships take them."""
        return self.namespace, self.key

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return the object of a row; columns other than the memory's own become its fields."""
        fields = row._asdict()
        value = fields.pop("value")
        texts = {
            name: value[name]
            for name in ("agent", "session_id")
            if isinstance(value.get(name), str)
        }
        tags, metadata = value.get("tags"), value.get("metadata")
        return cls(
            content=value["content"],
            tags=[tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
            metadata=metadata if isinstance(metadata, dict) else {},
            **texts,
            **fields | {"namespace": from_text(fields["namespace"])},
        )


def payload_of(
    user_id: str,
    type_: MemoryType,
    content: str,
    *,
    session_id: str,
    agent: str,
    tags: Sequence[str],
    importance: float,
    metadata: Mapping[str, Any] | None,
) -> MemoryPayload:
    """Return the payload of a memory, with the current time.

    Raises:
        ContractError: it breaks the contract; `fields` names the wrong fields.
    """
    given = {
        "identity": user_id,
        "timestamp": datetime.now(UTC),
        "agent": agent,
        "session_id": session_id,
        "type": type_,
        "content": content,
        "tags": tags,
        "importance": importance,
        "metadata": dict(metadata or {}),
    }
    return check_payload(user_id, session_id, given)


def address_of(payload: MemoryPayload) -> Address:
    """Return the address at which a payload of text is stored."""
    [put] = items_of(payload)
    return put.namespace, put.key


def located(address: Address, end: str = "") -> dict[str, Any]:
    """Return the parameters `<end>namespace` and `<end>key` of the address of a memory."""
    namespace, key = address
    return {f"{end}namespace": to_text(tuple(namespace)), f"{end}key": key}


def containing(tags: Sequence[str], agent: str | None) -> str:
    """Return the JSON that the values of matching memories contain (`@>`).

    Args:
        tags: the tags that a memory must all carry.
        agent: the agent that wrote it; None for any.

    Raises:
        InvalidInput: the tags are one text instead of a list.
        InvalidValue: Postgres cannot store such tags, so no memory has them.
    """
    if isinstance(tags, str):
        raise InvalidInput(f"tags must be a list of texts; got {tags!r}.")
    return to_json(
        ({"tags": list(tags)} if tags else {}) | ({"agent": agent} if agent else {}), "filter"
    )


def check_share(name: str, number: float) -> None:
    """Check that a value is a number from 0 to 1.

    Raises:
        InvalidValue: it is not; `path` is the name.
    """
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= 1:
        raise InvalidValue(name, f"must be a number from 0 to 1; got {number!r}.")


def check_limit(limit: int) -> None:
    """Check that a limit is a number from 1 to `MOST`.

    Raises:
        InvalidInput: it is not.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
        raise InvalidInput(f"limit must be a number from 1 to {MOST}; got {limit!r}.")
