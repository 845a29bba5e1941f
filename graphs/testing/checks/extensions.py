"""Extensions of `BaseStore`: more filter operators, and errors that say where."""

from typing import Any

from langgraph.store.base import BaseStore

from graphs.testing.registry import promise
from graphs.testing.support import keys, refusal

NS = ("users", "u1", "notes")

ITEMS: dict[str, dict[str, Any]] = {
    "red": {"colour": "red", "size": 1, "tags": ["a", "b"]},
    "blue": {"colour": "blue", "size": 2, "tags": ["b"]},
    "none": {"colour": None, "size": 3, "tags": []},
    "bare": {},
}


async def _expect(store: BaseStore, cases: list[tuple[dict[str, Any], set[str]]]) -> None:
    for key, value in ITEMS.items():
        await store.aput(NS, key, value)
    for condition, expected in cases:
        matched = set(keys(await store.asearch(NS, filter=condition)))
        assert matched == expected, f"{condition} matched {matched}"


@promise(index=None)
async def in_and_nin(store: BaseStore) -> None:
    """`$in` matches any value of a list; `$nin` matches all others, and a missing field."""
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({"colour": {"$in": ["red", "green"]}}, {"red"}),
        ({"colour": {"$in": []}}, set()),
        ({"size": {"$in": [1, 3]}}, {"red", "none"}),
        ({"colour": {"$nin": ["red", "green"]}}, {"blue", "none", "bare"}),
        ({"colour": {"$nin": []}}, {"red", "blue", "none", "bare"}),
    ]
    await _expect(store, cases)


@promise(index=None)
async def exists(store: BaseStore) -> None:
    """`$exists` tells a field that is present, even if null, from a missing one."""
    await _expect(
        store,
        [
            ({"colour": {"$exists": True}}, {"red", "blue", "none"}),
            ({"colour": {"$exists": False}}, {"bare"}),
        ],
    )


@promise(index=None)
async def contains(store: BaseStore) -> None:
    """`$contains` matches a list that has the element."""
    await _expect(
        store,
        [
            ({"tags": {"$contains": "a"}}, {"red"}),
            ({"tags": {"$contains": "b"}}, {"red", "blue"}),
            ({"tags": {"$contains": "c"}}, set()),
        ],
    )


@promise(index=None)
async def conditions_can_be_combined(store: BaseStore) -> None:
    """`$and`, `$or` and `$not` combine conditions, and can be nested."""
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({"$and": [{"size": {"$gte": 1}}, {"size": {"$lte": 2}}]}, {"red", "blue"}),
        ({"$or": [{"colour": "red"}, {"size": 3}]}, {"red", "none"}),
        ({"$not": {"colour": "red"}}, {"blue", "none", "bare"}),
        ({"colour": {"$not": {"$in": ["red", "blue"]}}}, {"none", "bare"}),
        (
            {
                "$or": [
                    {"$and": [{"colour": "blue"}, {"size": 2}]},
                    {"$not": {"size": {"$exists": True}}},
                ]
            },
            {"blue", "bare"},
        ),
        (
            {
                "$and": [
                    {"$or": [{"colour": "red"}, {"colour": "blue"}]},
                    {"tags": {"$contains": "a"}},
                ]
            },
            {"red"},
        ),
    ]
    await _expect(store, cases)


@promise(index=None)
async def a_refused_filter_names_its_operator(store: BaseStore) -> None:
    """An invalid filter is a ValueError whose `operator` is the invalid operator or field."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({"n": {"$regex": "x"}}, "$regex"),
        ({"$nor": [{"n": 1}]}, "$nor"),
        ({"n": {"$in": 1}}, "$in"),
        ({"$or": {"n": 1}}, "$or"),
        ({"n": {"$exists": "yes"}}, "$exists"),
        ({"a": {"b": {"$regex": "x"}}}, "$regex"),
    ]
    for condition, operator in cases:
        error = await refusal(store.asearch(NS, filter=condition))
        assert isinstance(error, ValueError), f"{condition}: {error!r}"
        assert getattr(error, "operator", None) == operator, f"{condition}: {error!r}"


@promise(index=None)
async def a_refused_value_names_its_place(store: BaseStore) -> None:
    """A value that cannot be stored is a ValueError whose `path` leads to the invalid part."""
    cases: list[tuple[Any, str]] = [
        ({"a": {"b": [1, object()]}}, "value.a.b[1]"),
        ({"a": ["x", "a\0b"]}, "value.a[1]"),
        ({"a": "\ud800"}, "value.a"),
        ({"n": float("nan")}, "value.n"),
        ({"n": {1: "x"}}, "value.n"),
        ("text", "value"),
    ]
    for value, path in cases:
        error = await refusal(store.aput(NS, "k", value))
        assert isinstance(error, ValueError), f"{value!r}: {error!r}"
        assert getattr(error, "path", None) == path, f"{value!r}: {error!r}"
    assert await store.aget(NS, "k") is None
