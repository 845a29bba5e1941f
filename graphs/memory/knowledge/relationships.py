"""Relationships: typed edges with a strength between memories; the graph of a user's memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any, Literal, get_args

from pydantic import Field

from graphs.memory.access import Access
from graphs.memory.contract import RecalledMemory
from graphs.memory.database import statements
from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import InvalidInput, InvalidValue, MemoryNotFound
from graphs.memory.knowledge.common import check_limit, check_share, located
from graphs.memory.search.recalled import Found, recalled, search_item
from graphs.memory.values.models import FrozenModel
from graphs.memory.values.namespaces import Address, check_address, from_text, user_scope
from graphs.memory.values.text import problem_with, to_json

_SQL = statements.load("relationships", __package__)

_IN_ORDER: Query[None] = Query(_SQL["in_order"])

ABOUT, REFLECTS_ON, SUPERSEDES = "about", "reflects_on", "supersedes"
"""The types that beliefs and reflections use. Any other name is a type of your own.

`about` leads from a belief to the memories that it is about, `reflects_on` from a reflection to the
memories that it was made from, `supersedes` from a belief to the one that it replaced.
"""

MAX_HOPS = 3
MAX_TYPE_BYTES = 100

Direction = Literal["out", "in", "both"]
"""The edges to follow: outgoing, incoming, or both."""


class Relationship(FrozenModel):
    """An edge of the graph."""

    source: tuple[tuple[str, ...], str] = Field(
        description="Namespace and key of the memory at its start."
    )
    target: tuple[tuple[str, ...], str] = Field(
        description="Namespace and key of the memory at its end."
    )
    type: str
    strength: float = Field(description="From 0 to 1.")
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime


class PathStep(FrozenModel):
    """An edge of a path, and its direction on the path."""

    type: str
    strength: float
    forward: bool = Field(description="True from source to target, False from target to source.")


class Path(FrozenModel):
    """A path through the graph. It visits no memory twice."""

    memories: list[RecalledMemory] = Field(
        description="All memories of the path, from its start to its end."
    )
    steps: list[PathStep] = Field(description="The edges between these memories.")
    strength: float = Field(description="Product of the strengths of its edges.")

    @property
    def depth(self) -> int:
        """The number of edges."""
        return len(self.steps)

    @property
    def end(self) -> RecalledMemory:
        """The last memory of the path."""
        return self.memories[-1]


class Relationships:
    """The graph of users' memories.

    Every method acts as the current principal, and refuses other users' graphs. An edge belongs to
    the user who created it. It may lead to any memory that this user can read, such as memories of
    an organisation or an agent. It is deleted with either of its ends. No path contains memories
    that are expired, or that the user cannot see.

    Args:
        access: checks the principal and runs the queries.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def relate(
        self,
        user_id: str,
        source: Address,
        target: Address,
        type: str,  # noqa: A002  the column's name
        strength: float = 1.0,
        metadata: Mapping[str, Any] | None = None,
    ) -> Relationship:
        """Create an edge, or update the strength and metadata of an existing one.

        Args:
            user_id: the user.
            source: namespace and key of the memory at its start.
            target: namespace and key of the memory at its end.
            type: the relation of source to target, such as `supports`.
            strength: from 0 to 1. The strengths along a path are multiplied.
            metadata: a JSON object to store with it.

        Raises:
            MemoryNotFound: the user cannot see one of the two; nothing was written.
            InvalidValue: the type, the strength, the metadata or an address cannot be stored, or
                both ends are the same memory.
            AccessDenied: the principal is neither this user nor the service.
        """
        found: Relationship = await self._access.ask(
            user_id, relate(user_id, source, target, type, strength, metadata)
        )
        return found

    async def unrelate(self, user_id: str, source: Address, target: Address, type: str) -> bool:  # noqa: A002
        """Delete an edge, and return True if there was one.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {
            "user_id": user_id,
            "type": type,
            **located(source, "source_"),
            **located(target, "target_"),
        }
        removed: bool = await self._access.ask(user_id, Query(_SQL["unrelate"], given, bool))
        return removed

    async def of(
        self,
        user_id: str,
        memory: Address,
        *,
        types: Sequence[str] | None = None,
        direction: Direction = "both",
        limit: int = 100,
    ) -> list[Relationship]:
        """Return the edges of a memory, the strongest first; empty if there is no such memory.

        Args:
            user_id: the user.
            memory: namespace and key.
            types: only edges of these types.
            direction: outgoing edges (`out`), incoming edges (`in`), or both.
            limit: the most results to return, 1 to 1000.

        Raises:
            InvalidInput: the direction is unknown, or the limit is out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {
            "user_id": user_id,
            "limit": limit,
            **located(memory),
            **_followed(types, direction),
        }
        check_limit(limit)
        query = Query(_SQL["of"], given, _relationships)
        edges: list[Relationship] = await self._access.ask(
            user_id, query, first=_IN_ORDER, past=True
        )
        return edges

    async def traverse(
        self,
        user_id: str,
        start: Address,
        *,
        hops: int = 2,
        types: Sequence[str] | None = None,
        direction: Direction = "both",
        min_strength: float = 0.0,
        limit: int = 50,
    ) -> list[Path]:
        """Return the strongest paths that start at a memory, the strongest first.

        Of two equally strong paths the shorter one comes first. The result is exact, even if a
        memory has many edges. The work is bounded by `hops · limit²` edges, because no path is
        stronger than a shorter path that it continues.

        Args:
            user_id: the user.
            start: namespace and key.
            hops: the most edges of a path, 1 to 3.
            types: follow only edges of these types.
            direction: follow outgoing edges (`out`), incoming edges (`in`), or both.
            min_strength: the least strength of a path, the product of its edges.
            limit: the most paths to return, 1 to 1000.

        Raises:
            MemoryNotFound: the user can see no such memory.
            InvalidInput: `hops`, `direction`, `min_strength` or `limit` is out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        if hops not in range(1, MAX_HOPS + 1):
            raise InvalidInput(f"hops must be a number from 1 to {MAX_HOPS}; got {hops!r}.")
        check_share("min_strength", min_strength)
        check_limit(limit)
        given = {
            "user_id": user_id,
            "hops": hops,
            "least": min_strength,
            "limit": limit,
            **located(start),
        }
        query = Query(_SQL["traverse"], given | _followed(types, direction), lambda rows: rows)
        scope = user_scope(user_id)
        rows = await self._access.ask(user_id, query, scope, first=_IN_ORDER, past=True)
        if not rows:
            raise MemoryNotFound(tuple(start[0]), start[1])
        return _paths(rows)


def relate(
    user_id: str,
    source: Address,
    target: Address,
    type_: str,
    strength: float = 1.0,
    metadata: Mapping[str, Any] | None = None,
) -> Query[Relationship]:
    """Return the query that creates or updates an edge.

    Its answer raises `MemoryNotFound` if the user cannot see one of the two memories.

    Raises:
        InvalidValue: it cannot be stored.
    """
    source, target = (tuple(source[0]), source[1]), (tuple(target[0]), target[1])
    check_address(*source)
    check_address(*target)
    if source == target:
        raise InvalidValue(
            "target", "is the same memory as the source; an edge joins two memories."
        )
    if not type_ or problem_with(type_) or len(type_.encode()) > MAX_TYPE_BYTES:
        raise InvalidValue(
            "type", f"must be a text of 1 to {MAX_TYPE_BYTES} bytes; got {type_[:200]!r}."
        )
    check_share("strength", strength)
    given = {
        "user_id": user_id,
        "type": type_,
        "strength": strength,
        "metadata": to_json(metadata or {}, "metadata"),
    }

    def read(rows: Rows) -> Relationship:
        [row] = rows
        for end, found in ((source, row.has_source), (target, row.has_target)):
            if not found:
                raise MemoryNotFound(*end)
        edge = {"strength": row.strength, "metadata": row.metadata, "created_at": row.created_at}
        return Relationship(source=source, target=target, type=type_, **edge)

    return Query(
        _SQL["relate"], given | located(source, "source_") | located(target, "target_"), read
    )


def noted(edge: Query[Relationship]) -> Query[Relationship]:
    """Return the query of an edge, to be left out if the database has no graph."""
    return replace(edge, part=SchemaPart.GRAPH)


def _followed(types: Sequence[str] | None, direction: Direction) -> dict[str, Any]:
    """Return the parameters that select the edges to follow.

    Raises:
        InvalidInput: the direction is unknown, or the types are one text instead of a list.
    """
    if direction not in get_args(Direction):
        raise InvalidInput(
            f"direction must be one of {', '.join(get_args(Direction))}; got {direction!r}."
        )
    if isinstance(types, str):
        raise InvalidInput(f"types must be a list of texts; got {types!r}.")
    wanted = None if types is None else list(types)
    return {"types": wanted, "outgoing": direction != "in", "incoming": direction != "out"}


def _relationships(rows: Rows) -> list[Relationship]:
    return [
        Relationship(
            source=(from_text(row.source_namespace), row.source_key),
            target=(from_text(row.target_namespace), row.target_key),
            type=row.type,
            strength=row.strength,
            metadata=row.metadata,
            created_at=row.created_at,
        )
        for row in rows
    ]


def _paths(rows: Rows) -> list[Path]:
    """Return the paths of rows, which are one for each memory of each path.

    The first path is the start alone, and is left out.
    """
    known = {row.id: row for row in rows}
    memories = dict(
        zip(known, recalled(Found([search_item(row, None) for row in known.values()])), strict=True)
    )
    paths = []
    for n, (_, of_path) in enumerate(groupby(rows, key=lambda row: row.path)):
        on_the_way = list(of_path)
        if n:
            first = on_the_way[0]
            steps = zip(first.types, first.strengths, first.forwards, strict=True)
            paths.append(
                Path(
                    memories=[memories[row.id] for row in on_the_way],
                    steps=[
                        PathStep(type=type_, strength=strength, forward=forward)
                        for type_, strength, forward in steps
                    ],
                    strength=first.strength,
                )
            )
    return paths
