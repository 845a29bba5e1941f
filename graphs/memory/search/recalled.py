"""What a search found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.store.base import SearchItem

from graphs.memory.values.namespaces import Namespace, from_text


@dataclass(frozen=True, slots=True)
class Found:
    """Items, best first, and what else is known about them."""

    items: list[SearchItem]
    stale: list[tuple[str, str]] = field(default_factory=list)
    """Addresses, as stored, of the items whose TTL is to be refreshed."""
    wide: bool | None = None
    """Whether they come from the vector index, which may give out early; False if the scope was read."""
    parts: list[Mapping[str, float]] = field(default_factory=list)
    """What each item's score is made of, where the ranking is hybrid."""
    nearly: list[tuple[Namespace, str, float | None, Mapping[str, float]]] = field(default_factory=list)
    """What would have come next: namespace, key, score and what that is made of."""


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
