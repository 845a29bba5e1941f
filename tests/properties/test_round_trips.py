"""Invariants over unusual values."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import Item, Op, PutOp
from langgraph.store.memory import InMemoryStore

from graphs.memory.values.namespaces import (
    bounds,
    decode_label,
    encode_label,
    from_text,
    to_text,
)
from graphs.memory_manager import MemoryManager

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
labels = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0."), min_size=1, max_size=10
)
namespaces = st.lists(labels, min_size=1, max_size=4).map(tuple)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
values = st.dictionaries(
    text,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    ),
    max_size=4,
)


@given(st.text())
def test_a_label_gives_its_id_back(identifier: str) -> None:
    assert decode_label(encode_label(identifier)) == identifier
    assert "." not in encode_label(identifier)


@given(namespaces)
def test_a_namespace_gives_its_labels_back(namespace: tuple[str, ...]) -> None:
    assert from_text(to_text(namespace)) == namespace


@given(namespaces, namespaces)
def test_a_range_covers_a_scope_and_nothing_beside_it(
    prefix: tuple[str, ...], namespace: tuple[str, ...]
) -> None:
    """Compare bytes, as the C collation of the database does."""
    low, high = bounds(prefix)
    stored = to_text(namespace).encode()
    assert high is not None
    assert (low.encode() <= stored < high.encode()) == (namespace[: len(prefix)] == prefix)
    assert low.encode() <= to_text(prefix + namespace).encode() < high.encode()


@pytest.fixture
def loop() -> Any:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=values)
def test_any_value_comes_back_exactly(
    value: dict[str, Any], database: str, loop: asyncio.AbstractEventLoop
) -> None:
    async def round_trip() -> object:
        async with MemoryManager.from_conn_string(database) as store:
            await store.aput(("n",), "k", value)
            item = await store.aget(("n",), "k")
            assert item is not None
            return item.value

    assert loop.run_until_complete(round_trip()) == value


keys = st.sampled_from(["k1", "k2", "k3"])
few_namespaces = st.sampled_from([("a",), ("a", "b"), ("ab",), ("a", "b", "c")])
small_values = st.fixed_dictionaries(
    {"n": st.integers(0, 3)}, optional={"t": st.sampled_from(["x", "y"])}
)
puts = st.builds(
    PutOp, few_namespaces, keys, st.none() | small_values, index=st.none(), ttl=st.none()
)


def contents(items: Sequence[Item]) -> set[tuple[object, ...]]:
    return {(item.namespace, item.key, json.dumps(item.value, sort_keys=True)) for item in items}


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=st.lists(st.lists(puts, max_size=6), max_size=5))
def test_any_sequence_of_writes_leaves_what_it_leaves_in_memory(
    batches: list[list[Op]], database: str, loop: asyncio.AbstractEventLoop
) -> None:
    """Use LangGraph's InMemoryStore as the oracle."""

    async def compare() -> None:
        oracle = InMemoryStore()
        async with MemoryManager.from_conn_string(database) as store:
            old = await store.asearch((), limit=1000)
            await store.abatch([PutOp(item.namespace, item.key, None) for item in old])
            for batch in batches:
                await oracle.abatch(batch)
                await store.abatch(batch)
            for prefix in [(), ("a",), ("a", "b"), ("ab",)]:
                for condition in [None, {"n": 1}, {"n": {"$gte": 2}}, {"t": {"$ne": "x"}}]:
                    expected = await oracle.asearch(prefix, filter=condition, limit=100)
                    actual = await store.asearch(prefix, filter=condition, limit=100)
                    assert contents(actual) == contents(expected)

    loop.run_until_complete(compare())
