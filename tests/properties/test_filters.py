"""Compiled filters find what the schema's definition of a filter finds."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from graphs.memory.errors import InvalidFilter
from graphs.memory.search.filters import check_filter, to_jsonpath
from graphs.memory.values.text import to_json

names = st.sampled_from(["a", "b", 'q"\\', "", "ü 😀", "key", "1"])
texts = st.sampled_from(["", "a", "ab", "b", "Z", "é", "\U0001f600", "￿", 'q"\\\n', "a.*", "1"])
scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 2, 1.0, -0.5, 1e300, 2**64 - 1, -(2**63), 1e-7])
    | texts
)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
values = st.dictionaries(names, plain, max_size=4)
operands = {
    **dict.fromkeys(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$contains"], plain),
    "$in": st.lists(plain, max_size=3),
    "$nin": st.lists(plain, max_size=3),
    "$exists": st.booleans(),
}


def conditions(filters: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return conditions on a field, some with filters of nested objects."""
    return st.recursive(
        plain | filters | st.fixed_dictionaries({}, optional=operands),
        lambda inner: st.lists(inner, max_size=2) | st.fixed_dictionaries({"$not": inner}),
        max_leaves=4,
    )


filters = st.recursive(
    st.dictionaries(names, plain, max_size=2),
    lambda inner: (
        st.dictionaries(names, conditions(inner), max_size=3)
        | st.fixed_dictionaries({"$not": inner})
        | st.fixed_dictionaries({"$and": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"$or": st.lists(inner, max_size=3)})
    ),
    max_leaves=6,
)


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    """Yield a connection that all examples share."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(stored=st.lists(values, min_size=1, max_size=8), condition=filters)
@example(stored=[{"a": None}, {}, {"a": [None]}, {"a": {}}], condition={"a": {"$not": None}})
@example(stored=[{"a": "x"}, {"a": ""}, {"a": ["x"]}], condition={"a": {"$contains": ""}})
@example(stored=[{"a": {"b": 1, "c": 2}}], condition={"a": {"$eq": {"b": 1}}})
@example(stored=[{"a": True}, {"a": None}], condition={"$not": {"a": {"$gte": None}}})
def test_a_compiled_filter_finds_what_its_definition_finds(
    stored: list[dict[str, Any]], condition: dict[str, Any], conn: psycopg.Connection
) -> None:
    try:
        check_filter(condition)
    except InvalidFilter:  # a field that is named like an operator, deeper down
        return
    given = {
        "stored": [to_json(value, "value") for value in stored],
        "filter": to_json(condition, "filter"),
        "path": to_jsonpath(condition),
    }
    found = conn.execute(
        "SELECT value, memory.matches(value, %(filter)s::jsonb), value @? %(path)s::jsonpath"
        " FROM unnest(%(stored)s::jsonb[]) AS value",
        given,
        binary=False,
    ).fetchall()
    for value, expected, actual in found:
        assert actual is expected, f"{json.dumps(value)} for {given['path']}"
