"""Any sequence of operations, with LangGraph's InMemoryStore as the oracle."""

import asyncio
import json
from collections.abc import Iterator
from math import hypot
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import (
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from graphs.memory_manager import MemoryManager
from graphs.testing.support import ALPHABET, embed_letters

INDEX: IndexConfig = {"dims": len(ALPHABET), "embed": embed_letters, "fields": ["text", "parts[*]"]}
EVERYTHING = 1000

Address = tuple[tuple[str, ...], str]

words = st.text("abz", min_size=1, max_size=4)
numbers = st.sampled_from([-1, 0, 1, 2, 9, 10, 100, 0.5, 9.5])
colours = st.sampled_from(["red", "blue", "it's", "100%"])
values = st.fixed_dictionaries(
    {"n": numbers},
    optional={
        "text": words,
        "parts": st.lists(words, max_size=3),
        "colour": colours | st.none(),
        "meta": st.fixed_dictionaries({"page": numbers}, optional={"by": colours}),
    },
)
keys = st.sampled_from(["k1", "k2", "k3"])
namespaces = st.sampled_from([("a",), ("a", "b"), ("ab",), ("a", "b", "c"), ("a_",), ("%a", "b")])
prefixes = st.just(()) | namespaces | st.just(("nothing",))

comparisons = st.dictionaries(
    st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), numbers, min_size=1, max_size=2
)
equalities = st.builds(
    lambda operator, colour: {operator: colour}, st.sampled_from(["$eq", "$ne"]), colours
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "n": numbers | comparisons | st.builds(lambda n: {"$ne": n}, numbers),
        "colour": colours | st.none() | equalities,
        "parts": st.lists(words, max_size=2),
        "meta": st.fixed_dictionaries({"page": numbers})
        | st.fixed_dictionaries({"by": colours | equalities}),
    },
)
paths = st.lists(st.sampled_from(["a", "b", "c", "ab", "a_", "*"]), min_size=1, max_size=3).map(
    tuple
)
matches = st.builds(MatchCondition, st.sampled_from(["prefix", "suffix"]), paths)

puts = st.builds(
    PutOp, namespaces, keys, st.none() | values, index=st.none() | st.just(False), ttl=st.none()
)
gets = st.builds(GetOp, namespaces, keys)
browses = st.builds(
    SearchOp, prefixes, conditions, limit=st.just(EVERYTHING), offset=st.just(0), query=st.none()
)
recalls = st.builds(
    SearchOp, prefixes, conditions, limit=st.just(EVERYTHING), offset=st.just(0), query=words
)
listings = st.builds(
    ListNamespacesOp,
    st.none() | st.lists(matches, max_size=2).map(tuple),
    st.none() | st.integers(1, 3),
    st.integers(0, 5),
    st.integers(0, 3),
)
batches = st.lists(puts | gets | browses | recalls | listings, min_size=1, max_size=8)


def cosine(one: str, other: str) -> float:
    a, b = embed_letters([one, other])
    return sum(x * y for x, y in zip(a, b, strict=True)) / (hypot(*a) * hypot(*b))


class Oracle:
    """InMemoryStore, corrected: it lists empty namespaces, and keeps old vectors."""

    def __init__(self) -> None:
        self.store = InMemoryStore()
        self.unindexed: set[Address] = set()

    def batch(self, ops: list[Op]) -> list[Any]:
        present = InMemoryStore()
        present.batch(
            [PutOp(i.namespace, i.key, i.value) for i in self.store.search((), limit=EVERYTHING)]
        )
        scores = [self.scores(op) if isinstance(op, SearchOp) and op.query else {} for op in ops]
        answers = self.store.batch(
            [op._replace(query=None) if isinstance(op, SearchOp) else op for op in ops]
        )
        for n, op in enumerate(ops):
            if isinstance(op, ListNamespacesOp):
                (answers[n],) = present.batch([op])
            elif isinstance(op, PutOp):
                (self.unindexed.add if op.index is False else self.unindexed.discard)(
                    (op.namespace, op.key)
                )
        return [
            scored if isinstance(op, SearchOp) and op.query else plain(answer)
            for op, scored, answer in zip(ops, scores, answers, strict=True)
        ]

    def scores(self, op: SearchOp) -> dict[Address, float]:
        """Return the best cosine similarity of each item in a scope that has vectors."""
        found: dict[Address, float] = {}
        for item in self.store.search(op.namespace_prefix, filter=op.filter, limit=EVERYTHING):
            texts = [
                *([item.value["text"]] if "text" in item.value else []),
                *item.value.get("parts", []),
            ]
            address = (item.namespace, item.key)
            if texts and op.query and address not in self.unindexed:
                found[address] = max(cosine(op.query, text) for text in texts)
        return found


def plain(answer: Any) -> Any:
    """Return an answer without times, and sorted where the contract promises no order."""
    if isinstance(answer, Item):
        return (answer.namespace, answer.key, json.dumps(answer.value, sort_keys=True))
    if isinstance(answer, list) and answer and isinstance(answer[0], Item):
        return sorted(map(plain, answer))
    return answer


def assert_same(op: Op, actual: Any, expected: Any) -> None:
    if isinstance(op, SearchOp) and op.query:
        scores = [item.score for item in actual]
        assert scores == sorted(scores, reverse=True), op
        assert {(item.namespace, item.key): item.score for item in actual} == pytest.approx(
            expected, abs=0.005
        ), op
    else:
        assert plain(actual) == expected, op


@pytest.fixture
def opened(database: str) -> Iterator[tuple[asyncio.Runner, MemoryManager]]:
    """Yield a store that all examples share, and its event loop."""
    with asyncio.Runner() as runner:
        opening = MemoryManager.from_conn_string(database, index=INDEX)
        store = runner.run(opening.__aenter__())
        runner.run(store.setup())
        yield runner, store
        runner.run(opening.__aexit__(None, None, None))


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    first=st.lists(puts, min_size=5, max_size=15), batches=st.lists(batches, min_size=1, max_size=8)
)
def test_any_sequence_of_operations_is_answered_as_in_memory(
    first: list[Op], batches: list[list[Op]], opened: tuple[asyncio.Runner, MemoryManager]
) -> None:
    runner, store = opened

    async def compare() -> None:
        left = await store.asearch((), limit=EVERYTHING)
        await store.abatch([PutOp(item.namespace, item.key, None) for item in left])
        oracle = Oracle()
        for ops in [first, *batches]:
            for op, actual, expected in zip(
                ops, await store.abatch(ops), oracle.batch(ops), strict=True
            ):
                assert_same(op, actual, expected)

    runner.run(compare())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    puts=st.lists(puts, min_size=5, max_size=30),
    prefix=prefixes,
    condition=conditions,
    size=st.integers(1, 5),
    query=words,
)
def test_pages_of_any_size_hold_everything_once(
    puts: list[PutOp],
    prefix: tuple[str, ...],
    condition: dict[str, Any],
    size: int,
    query: str,
    opened: tuple[asyncio.Runner, MemoryManager],
) -> None:
    runner, store = opened

    async def compare() -> None:
        left = await store.asearch((), limit=EVERYTHING)
        await store.abatch([PutOp(item.namespace, item.key, None) for item in left])
        await store.abatch(puts)
        for asked in (None, query):
            whole = await store.asearch(prefix, query=asked, filter=condition, limit=EVERYTHING)
            pages = [
                await store.asearch(
                    prefix, query=asked, filter=condition, limit=size, offset=offset
                )
                for offset in range(0, len(whole) + size, size)
            ]
            assert [item for page in pages for item in page] == whole

    runner.run(compare())
