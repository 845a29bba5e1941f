"""Relationships: typed edges from one memory to another, with a strength; the graph of a person's memory."""

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
"""The types that beliefs and reflections use: from a belief to what it is about, from a reflection to what it was made
of, from a belief to the one that it replaced. Any other name is a type of your own."""

MAX_HOPS = 3
MAX_TYPE_BYTES = 100

Direction = Literal["out", "in", "both"]
"""Along the edges, against them, or either way."""


class Relationship(FrozenModel):
    """An edge of the graph."""

    source: tuple[tuple[str, ...], str] = Field(
        description="Namespace and key of the memory that it leads from."
    )
    target: tuple[tuple[str, ...], str] = Field(
        description="Namespace and key of the memory that it leads to."
    )
    type: str
    strength: float = Field(description="From 0 to 1.")
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime


class PathStep(FrozenModel):
    """An edge as a path takes it."""

    type: str
    strength: float
    forward: bool = Field(description="True from source to target, False against the edge.")


class Path(FrozenModel):
    """A way through the graph on which no memory comes twice."""

    memories: list[RecalledMemory] = Field(
        description="Where it starts, and every memory on the way to its end."
    )
    steps: list[PathStep] = Field(description="The edges between them.")
    strength: float = Field(description="Product of the strengths of its edges.")

    @property
    def depth(self) -> int:
        """How many edges it has."""
        return len(self.steps)

    @property
    def end(self) -> RecalledMemory:
        """The memory that it leads to."""
        return self.memories[-1]


class Relationships:
    """The graph of people's memories. Every method acts as whoever is acting now, and refuses another person's graph.

    An edge is the person's who drew it. It may lead to what they may read beside their own memories (an organisation's,
    what agents know), and vanishes with either of its ends. What expired, or is not theirs to see, is on no path.

    Args:
        access: the way to the database.
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
        """Draw an edge; drawn again, it gets its new strength and metadata.

        Args:
            user_id: whose graph.
            source: namespace and key of the memory that it leads from.
            target: namespace and key of the memory that it leads to.
            type: what the one is to the other, such as `supports`.
            strength: from 0 to 1; along a path strengths are multiplied.
            metadata: a JSON object that is kept with it.

        Raises:
            MemoryNotFound: one of the two is not there for the user; nothing was written.
            InvalidValue: type, strength, metadata or an address cannot be stored, or the two are the same.
            AccessDenied: the principal is neither this user nor the service.
        """
        found: Relationship = await self._access.ask(
            user_id, relate(user_id, source, target, type, strength, metadata)
        )
        return found

    async def unrelate(self, user_id: str, source: Address, target: Address, type: str) -> bool:  # noqa: A002
        """Remove an edge, and return whether there was one.

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
        """Return the edges of a memory, the strongest first; none if there is no such memory.

        Args:
            user_id: whose graph.
            memory: namespace and key.
            types: only edges of these types.
            direction: which leave it (`out`), which lead to it (`in`), or both.
            limit: how many at most.

        Raises:
            InvalidInput: a direction or a limit that there is not.
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
        edges: list[Relationship] = await self._access.ask(user_id, query, first=_IN_ORDER)
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
        """Return the strongest paths that start at a memory, the strongest first, of two as strong the shorter.

        They are the best there are: a weaker path never hides a stronger one, however many edges a memory has. The
        work is bounded all the same, by `hops · limit²` edges, since no path is stronger than what it goes on from.

        Args:
            user_id: whose graph.
            start: namespace and key.
            hops: how many edges a path has at most, 1 to 3.
            types: only along edges of these types.
            direction: along the edges (`out`), against them (`in`), or both.
            min_strength: the least product of strengths.
            limit: how many paths at most.

        Raises:
            MemoryNotFound: there is no such memory for the user.
            InvalidInput: hops, direction, min_strength or limit are out of range.
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
        rows = await self._access.ask(user_id, query, user_scope(user_id), first=_IN_ORDER)
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
    """Ask for an edge to be drawn.

    Raises:
        InvalidValue: it cannot be stored.
        MemoryNotFound: when it is answered, if an end is not there.
    """
    source, target = (tuple(source[0]), source[1]), (tuple(target[0]), target[1])
    check_address(*source)
    check_address(*target)
    if source == target:
        raise InvalidValue("target", "is the source itself; an edge joins two memories.")
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
    """Return an edge that is drawn beside what is stored, and left out where the database has no graph."""
    return replace(edge, part=SchemaPart.GRAPH)


def _followed(types: Sequence[str] | None, direction: Direction) -> dict[str, Any]:
    """The parameters that say which edges are followed, and which way."""
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
    """The paths that rows describe, one for each memory of each path; the first is the start alone."""
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
