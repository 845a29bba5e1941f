"""What beliefs, goals and reflections have in common: each is a memory of its type, and its text lives there alone."""

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
"""How many of anything can be asked for at once."""


class Knowledge(BaseModel):
    """A memory of a type that has more to it than its text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: tuple[str, ...]
    key: str
    content: str
    tags: list[str] = Field(default_factory=list)
    agent: str | None = Field(default=None, description="The agent that wrote it.")
    session_id: str | None = Field(default=None, description="The session it was learned in.")
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime
    updated_at: datetime = Field(
        description="When its text, or what is said about it, last changed."
    )

    @property
    def address(self) -> Address:
        """Namespace and key: what relationships join."""
        return self.namespace, self.key

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return what a row of a memory stands for; columns beside the memory's own are fields."""
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
    """Return the payload of a memory that is learned now.

    Raises:
        ContractError: it breaks the contract; `fields` names where.
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
    """Return where the memory lies that a payload of text becomes."""
    [put] = items_of(payload)
    return put.namespace, put.key


def located(address: Address, end: str = "") -> dict[str, Any]:
    """Return the parameters that name a memory: `namespace` and `key`, behind `end` where there are two of them."""
    namespace, key = address
    return {f"{end}namespace": to_text(tuple(namespace)), f"{end}key": key}


def containing(tags: Sequence[str], agent: str | None) -> str:
    """Return the JSON that a memory's value contains if it carries all tags and, where one is given, is of the agent.

    Raises:
        InvalidInput: the tags are one text.
        InvalidValue: no memory can carry them.
    """
    if isinstance(tags, str):
        raise InvalidInput(f"tags must be a list of texts; got {tags!r}.")
    return to_json(
        ({"tags": list(tags)} if tags else {}) | ({"agent": agent} if agent else {}), "filter"
    )


def check_share(name: str, number: float) -> None:
    """Refuse what is not a number from 0 to 1.

    Raises:
        InvalidValue: it is not; `path` is its name.
    """
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= 1:
        raise InvalidValue(name, f"must be a number from 0 to 1; got {number!r}.")


def check_limit(limit: int) -> None:
    """Refuse a number of results that nobody can be given.

    Raises:
        InvalidInput: it is not from 1 to `MOST`.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
        raise InvalidInput(f"limit must be a number from 1 to {MOST}; got {limit!r}.")
