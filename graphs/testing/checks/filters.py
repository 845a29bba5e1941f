"""Filters: the items that match, and those that must not."""

from typing import Any

from langgraph.store.base import BaseStore

from graphs.testing.registry import promise
from graphs.testing.support import keys, raises

NS = ("users", "u1", "notes")


async def _matches(store: BaseStore, condition: dict[str, Any]) -> set[str]:
    return set(keys(await store.asearch(NS, filter=condition, limit=100)))


@promise(index=None)
async def equality_and_comparisons(store: BaseStore) -> None:
    """Equality, `$eq`, `$ne`, `$gt`, `$gte`, `$lt` and `$lte` work, and can be combined."""
    await store.aput(NS, "one", {"colour": "red", "size": 1})
    await store.aput(NS, "two", {"colour": "blue", "size": 2})
    await store.aput(NS, "three", {"colour": "red", "size": 3})
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({"colour": "red"}, {"one", "three"}),
        ({"colour": "red", "size": 3}, {"three"}),
        ({"size": {"$gt": 1}}, {"two", "three"}),
        ({"size": {"$gte": 2, "$lt": 3}}, {"two"}),
        ({"size": {"$lte": 1}}, {"one"}),
        ({"colour": {"$ne": "red"}}, {"two"}),
        ({"colour": {"$eq": "blue"}}, {"two"}),
        ({"colour": "green"}, set()),
        ({}, {"one", "two", "three"}),
    ]
    for condition, expected in cases:
        assert await _matches(store, condition) == expected, condition


@promise(index=None)
async def numbers_compare_as_numbers(store: BaseStore) -> None:
    """Numbers compare by size, not by digits: 10 is more than 9, -1 less than 0, 1e3 is 1000."""
    for n in (-1, 0, 9, 10, 10.5, 1e3):
        await store.aput(NS, str(n), {"n": n})
    assert await _matches(store, {"n": {"$gt": 9}}) == {"10", "10.5", "1000.0"}
    assert await _matches(store, {"n": {"$lt": 0}}) == {"-1"}
    assert await _matches(store, {"n": {"$gte": 10.5, "$lte": 1000}}) == {"10.5", "1000.0"}


@promise(index=None)
async def comparisons_keep_to_their_type(store: BaseStore) -> None:
    """A comparison with a number matches only numbers: no text, boolean, null or missing field."""
    others: dict[str, Any] = {
        "text": "7",
        "word": "seven",
        "truth": True,
        "null": None,
        "list": [7],
        "object": {"n": 7},
    }
    for name, other in others.items():
        await store.aput(NS, name, {"n": other})
    await store.aput(NS, "missing", {})
    await store.aput(NS, "number", {"n": 7})
    assert await _matches(store, {"n": {"$gt": 0}}) == {"number"}
    assert await _matches(store, {"n": {"$gte": 0}}) == {"number"}
    assert await _matches(store, {"n": {"$lt": 100}}) == {"number"}
    assert await _matches(store, {"n": {"$lte": 100}}) == {"number"}


@promise(index=None)
async def nested_fields_can_be_filtered(store: BaseStore) -> None:
    """A condition in a condition reaches a nested field, whatever else the object holds."""
    await store.aput(NS, "low", {"meta": {"page": 1, "by": {"name": "ann"}, "more": True}})
    await store.aput(NS, "high", {"meta": {"page": 20, "by": {"name": "ann"}}})
    await store.aput(NS, "flat", {"meta": 20})
    assert await _matches(store, {"meta": {"page": 1}}) == {"low"}
    assert await _matches(store, {"meta": {"by": {"name": "ann"}}}) == {"low", "high"}
    assert await _matches(store, {"meta": {"page": {"$gt": 3}}}) == {"high"}
    assert await _matches(store, {"meta": {"by": {"name": {"$ne": "ann"}}}}) == set()


@promise(index=None)
async def not_equal_matches_a_missing_field(store: BaseStore) -> None:
    """`$ne` matches an item that lacks the field, as it does in LangGraph's InMemoryStore."""
    await store.aput(NS, "red", {"colour": "red"})
    await store.aput(NS, "blue", {"colour": "blue"})
    await store.aput(NS, "none", {})
    assert await _matches(store, {"colour": {"$ne": "red"}}) == {"blue", "none"}


@promise(index=None)
async def lists_are_equal_as_a_whole(store: BaseStore) -> None:
    """A list equals only a list with the same elements in the same order."""
    await store.aput(NS, "ab", {"tags": ["a", "b"]})
    await store.aput(NS, "ba", {"tags": ["b", "a"]})
    await store.aput(NS, "abc", {"tags": ["a", "b", "c"]})
    assert await _matches(store, {"tags": ["a", "b"]}) == {"ab"}


@promise(index=None)
async def names_and_texts_are_data(store: BaseStore) -> None:
    """Quotes, percent signs, dots and braces in a field's name or value are plain characters."""
    for n, text in enumerate(
        ("it's", 'a"b', "100%", "a.b", "{a}", "$.a", "a\\b", "%s", "'; DROP TABLE store; --")
    ):
        await store.aput(NS, f"name{n}", {f"f {text}": "x"})
        await store.aput(NS, f"value{n}", {"f": text})
        assert await _matches(store, {f"f {text}": "x"}) == {f"name{n}"}, text
        assert await _matches(store, {f"f {text}": {"$eq": "x"}}) == {f"name{n}"}, text
        assert await _matches(store, {"f": text}) == {f"value{n}"}, text
        assert await _matches(store, {"f": {"$eq": text}}) == {f"value{n}"}, text


@promise(index=None)
async def an_unknown_operator_is_refused(store: BaseStore) -> None:
    """An unknown operator raises an error that names it, and never matches nothing or all."""
    await store.aput(NS, "k", {"n": 1})
    for operator in ("$regex", "$near", "$"):
        with raises(Exception, operator):
            await store.asearch(NS, filter={"n": {operator: 1}})
        with raises(Exception, operator):
            await store.asearch(NS, filter={"meta": {"n": 1}, "n": {"$gt": 0, operator: 1}})
