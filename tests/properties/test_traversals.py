"""Traversals of any graph, with cycles, find the strongest of all enumerated paths."""

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphs.memory.errors import MemoryNotFound
from graphs.memory_manager import MemoryManager
from tests.support.sql import rows

NODES = "abcdefg"


class Edge(NamedTuple):
    source: str
    target: str
    type: str
    strength: float


class Way(NamedTuple):
    """A path of the reference: nodes, and the type, strength and direction of each step."""

    nodes: str
    types: tuple[str, ...] = ()
    strengths: tuple[float, ...] = ()
    forwards: tuple[bool, ...] = ()
    strength: float = 1.0

    def order(self) -> Any:
        """Return a key that sorts by strength, then length, then by early strong edges."""
        falling = tuple(-strength for strength in self.strengths)
        return -self.strength, len(self.types), falling, self.nodes, self.types, self.forwards


strengths = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
edges = st.builds(
    Edge, st.sampled_from(NODES), st.sampled_from(NODES), st.sampled_from(["x", "y"]), strengths
)
graphs = st.lists(edges, max_size=25, unique_by=lambda edge: edge[:3]).map(
    lambda drawn: [edge for edge in drawn if edge.source != edge.target]
)
questions = st.fixed_dictionaries(
    {
        "hops": st.integers(1, 3),
        "types": st.none() | st.lists(st.sampled_from(["x", "y", "z"]), max_size=2, unique=True),
        "direction": st.sampled_from(["out", "in", "both"]),
        "min_strength": st.sampled_from([0.0, 0.1, 0.21, 0.3, 0.63]),
        "limit": st.integers(1, 6) | st.just(1000),
    }
)


def expected(graph: list[Edge], gone: set[str], start: str, question: dict[str, Any]) -> list[Way]:
    """Return all paths that a question asks for: enumerate every path, and sort the best."""
    ways, found = [Way(start)], []
    for _ in range(question["hops"]):
        ways = [
            longer
            for way in ways
            for edge in graph
            for end, onward, forward in (
                (edge.source, edge.target, True),
                (edge.target, edge.source, False),
            )
            if end == way.nodes[-1] and onward not in way.nodes and onward not in gone
            if question["direction"] in ("both", "out" if forward else "in")
            if question["types"] is None or edge.type in question["types"]
            for longer in [
                Way(
                    way.nodes + onward,
                    (*way.types, edge.type),
                    (*way.strengths, edge.strength),
                    (*way.forwards, forward),
                    way.strength * edge.strength,
                )
            ]
            if longer.strength >= question["min_strength"]
        ]
        found += ways
    return sorted(found, key=Way.order)[: question["limit"]]


@pytest.fixture
def opened(database: str) -> Iterator[tuple[asyncio.Runner, MemoryManager]]:
    """Yield a store that all examples share, and its event loop."""
    with asyncio.Runner() as runner:
        opening = MemoryManager.from_conn_string(database)
        yield runner, runner.run(opening.__aenter__())
        runner.run(opening.__aexit__(None, None, None))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    graph=graphs,
    gone=st.sets(st.sampled_from(NODES), max_size=2),
    asked=st.lists(questions, min_size=1, max_size=5),
)
def test_the_strongest_paths_are_found_in_any_graph(
    graph: list[Edge],
    gone: set[str],
    asked: list[dict[str, Any]],
    opened: tuple[asyncio.Runner, MemoryManager],
    database: str,
) -> None:
    runner, store = opened
    user_id = str(uuid4())
    notes = ("users", user_id, "notes")

    async def compare() -> None:
        # One by one: of two equal paths, the one to the older memory comes first.
        for node in NODES:
            await store.aput(notes, node, {"content": node}, index=False)
        drawn = [
            store.relationships.relate(
                user_id, (notes, edge.source), (notes, edge.target), edge.type, edge.strength
            )
            for edge in graph
        ]
        await asyncio.gather(*drawn)
        expire = (
            "UPDATE memory.memories SET expires_at = now() WHERE user_id = %s AND key = ANY (%s)"
        )
        await rows(database, expire, user_id, list(gone))
        for question in asked:
            if "a" in gone:
                with pytest.raises(MemoryNotFound):
                    await store.relationships.traverse(user_id, (notes, "a"), **question)
                continue
            found = [
                Way(
                    "".join(memory.content for memory in path.memories),
                    tuple(step.type for step in path.steps),
                    tuple(step.strength for step in path.steps),
                    tuple(step.forward for step in path.steps),
                    path.strength,
                )
                for path in await store.relationships.traverse(user_id, (notes, "a"), **question)
            ]
            assert found == expected(graph, gone, "a", question)

    runner.run(compare())
