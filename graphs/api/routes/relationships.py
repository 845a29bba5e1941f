"""Routes of relationships: the edges of a memory, and the graph around it."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any

from fastapi import Query

from graphs.api import examples
from graphs.api.examples import answer
from graphs.api.ids import PathId, QueryId
from graphs.api.models import (
    Edge,
    Listed,
    Neighbourhood,
    NewRelationship,
    Node,
    RelationshipView,
    TypeName,
    listed,
)
from graphs.api.problems import ProblemError
from graphs.api.routes.common import (
    AS_OF,
    MineDep,
    PageLimit,
    answered,
    routes,
)
from graphs.memory.knowledge.relationships import MAX_HOPS, Direction, Path
from graphs.memory.search.recalled import content_of
from graphs.memory.values.ids import from_id, to_id
from graphs.memory.values.namespaces import Address

router = routes("relationships")

Types = Annotated[list[TypeName] | None, Query(description="Only edges of these types.")]
Way = Annotated[Direction, Query(description="Follow edges outwards, inwards or both ways.")]


@router.put(
    "/relationships",
    responses=answered(
        200, answer(examples.RELATIONSHIP, "The edge in its new version."), 404, 413, 415, 501
    ),
)
async def relate_memories(mine: MineDep, new: NewRelationship) -> RelationshipView:
    """Create an edge between two memories. An existing edge gets the new strength and metadata."""
    source, target = from_id(new.source), from_id(new.target)
    edge = await mine.memory.relationships.relate(
        mine.user_id, source, target, new.type, new.strength, new.metadata
    )
    return RelationshipView.of(edge)


@router.delete(
    "/relationships",
    status_code=204,
    responses=answered(204, {"description": "The edge was deleted."}, 404, 501),
)
async def unrelate_memories(
    mine: MineDep, source: QueryId, target: QueryId, type_: Annotated[TypeName, Query(alias="type")]
) -> None:
    """Delete an edge."""
    if not await mine.memory.relationships.unrelate(
        mine.user_id, from_id(source), from_id(target), type_
    ):
        raise ProblemError(
            404,
            "relationship-not-found",
            "There is no such relationship, or you may not see it.",
        )


@router.get(
    "/memories/{id}/relationships",
    dependencies=[AS_OF],
    responses=answered(
        200, answer({"items": [examples.RELATIONSHIP]}, "Its edges, the strongest first."), 404, 501
    ),
)
async def list_relationships(
    mine: MineDep, id_: PathId, types: Types = None, direction: Way = "both", limit: PageLimit = 100
) -> Listed[RelationshipView]:
    """List the edges of a memory, the strongest first. An unknown memory has none."""
    edges = await mine.memory.relationships.of(
        mine.user_id, from_id(id_), types=types, direction=direction, limit=limit
    )
    return listed(RelationshipView.of(edge) for edge in edges)


@router.get(
    "/memories/{id}/graph",
    dependencies=[AS_OF],
    responses=answered(200, answer(examples.NEIGHBOURHOOD, "The graph around it."), 404, 501),
)
async def memory_graph(
    mine: MineDep,
    id_: PathId,
    hops: Annotated[
        int, Query(ge=1, le=MAX_HOPS, description="Most edges between the memory and a node.")
    ] = 2,
    types: Types = None,
    direction: Way = "both",
    limit: Annotated[PageLimit, Query(description="Most paths, the strongest first.")] = 50,
) -> Neighbourhood:
    """Return the strongest paths from a memory as a graph, with each memory and edge once."""
    start = from_id(id_)
    paths = await mine.memory.relationships.traverse(
        mine.user_id, start, hops=hops, types=types, direction=direction, limit=limit
    )
    depths: dict[Address, int] = {start: 0}
    for path in paths:
        for depth, memory in enumerate(path.memories):
            address = (memory.namespace, memory.key)
            depths[address] = min(depth, depths.get(address, depth))
    values = await mine.values(depths)
    nodes = [
        _node(address, depth, values[address])
        for address, depth in depths.items()
        if address in values
    ]
    edges = dict.fromkeys(edge for path in paths for edge in _edges(path))
    there = {node.id for node in nodes}
    return Neighbourhood(
        nodes=nodes, edges=[edge for edge in edges if {edge.source, edge.target} <= there]
    )


def _node(address: Address, depth: int, value: dict[str, Any]) -> Node:
    """Return a memory as a node. Its value may hold anything, so every field is checked."""
    type_, importance = value.get("type"), value.get("importance")
    return Node(
        id=to_id(*address),
        type=type_ if isinstance(type_, str) else None,
        content=content_of(value),
        importance=importance if isinstance(importance, float) else None,
        pinned=value.get("pinned") is True,
        depth=depth,
    )


def _edges(path: Path) -> Iterator[Edge]:
    """Yield the edges of a path, each in its stored direction."""
    ids = [to_id(memory.namespace, memory.key) for memory in path.memories]
    for step, (here, there) in zip(path.steps, pairwise(ids), strict=True):
        source, target = (here, there) if step.forward else (there, here)
        yield Edge(source=source, target=target, type=step.type, strength=step.strength)
