"""Results of a search, and the memories that they become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph.store.base import SearchItem

from graphs.memory.contract import (
    RecalledMemory,
)
from graphs.memory.values.namespaces import Namespace, from_text


@dataclass(frozen=True, slots=True)
class Found:
    """Items, best first, and details of the search."""

    items: list[SearchItem]
    stale: list[tuple[str, str]] = field(default_factory=list)
    """Stored addresses of the items whose TTL must be refreshed."""
    wide: bool | None = None
    """True if they come from the vector index, which may end early; False for a full scan."""
    parts: list[Mapping[str, float]] = field(default_factory=list)
    """The parts of each item's score, for a hybrid ranking."""
    nearly: list[tuple[Namespace, str, float | None, Mapping[str, float]]] = field(
        default_factory=list
    )
    """The next items after the page: namespace, key, score and its parts."""


def search_item(row: Any, score: float | None) -> SearchItem:
    """Return a row as LangGraph's item."""
    return SearchItem(
        namespace=from_text(row.namespace),
        key=row.key,
        value=row.value,
        created_at=row.created_at,
        updated_at=row.updated_at,
        score=score,
    )


def recalled(found: Found, *, explain: bool = False) -> list[RecalledMemory]:
    """Return found items as memories; `explain` adds the parts of their scores."""
    parts: Sequence[Mapping[str, float] | None] = found.parts or [
        None if item.score is None else {"similarity": item.score} for item in found.items
    ]
    return [as_memory(item, parts[n] if explain else None) for n, item in enumerate(found.items)]


def content_of(value: Mapping[str, Any]) -> str:
    """Return an item's text; of an item of any other shape than a memory's, its value."""
    found = (
        value[name] for name in ("content", "text", "memory") if isinstance(value.get(name), str)
    )
    return next(found, str(value))


def as_memory(item: SearchItem, explanation: Mapping[str, float] | None) -> RecalledMemory:
    """Return an item as a memory; the content of any other shape is its JSON."""
    value, tags = item.value, item.value.get("tags")
    return RecalledMemory(
        namespace=item.namespace,
        key=item.key,
        content=content_of(value),
        type=value.get("type") if isinstance(value.get("type"), str) else None,
        tags=[tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
        score=item.score,
        pinned=value.get("pinned") is True,
        session_id=value.get("session_id") if isinstance(value.get("session_id"), str) else None,
        created_at=item.created_at,
        updated_at=item.updated_at,
        explanation=dict(explanation) if explanation is not None else None,
    )
