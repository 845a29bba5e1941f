"""Recall: a semantic search finds the truly nearest items, in any scope, among many vectors."""

from math import cos, sin
from typing import Any

from langgraph.store.base import BaseStore, PutOp

from graphs.testing.registry import promise
from graphs.testing.support import (
    LETTERS,
    POINTS,
    keys,
    refusal,
)

NS = ("users", "u1", "notes")
QUERY = "1 0"


def _at(angle: float) -> str:
    """Return a point at an angle from the query: the larger the angle, the lower the score."""
    return f"{cos(angle):.6f} {sin(angle):.6f}"


@promise(index=POINTS)
async def a_small_scope_among_many_vectors(store: BaseStore) -> None:
    """A search in a small scope returns its true best, despite nearer vectors in other scopes."""
    await store.abatch(
        [PutOp(("others", str(n % 7)), f"o{n}", {"at": _at(n / 20_000)}) for n in range(3000)]
    )
    await store.abatch([PutOp(("mine",), f"m{n:02}", {"at": _at(0.5 + n / 10)}) for n in range(20)])
    items = await store.asearch(("mine",), query=QUERY, limit=10)
    assert keys(items) == [f"m{n:02}" for n in range(10)], keys(items)
    assert len(await store.asearch(("mine",), query=QUERY, limit=100)) == 20


@promise(index=POINTS)
async def a_rare_match_among_many_vectors(store: BaseStore) -> None:
    """A search with a rare filter returns the few matches, despite nearer vectors without it."""
    puts = [PutOp(NS, f"common{n}", {"at": _at(n / 20_000), "kind": "common"}) for n in range(2000)]
    puts += [PutOp(NS, f"rare{n}", {"at": _at(0.5 + n / 10), "kind": "rare"}) for n in range(5)]
    await store.abatch(puts)
    items = await store.asearch(NS, query=QUERY, filter={"kind": "rare"}, limit=3)
    assert keys(items) == ["rare0", "rare1", "rare2"], keys(items)


@promise(index=POINTS)
async def a_large_scope_is_searched_to_its_end(store: BaseStore) -> None:
    """A search of everything returns the requested number of items, and the true best."""
    await store.abatch([PutOp(NS, f"k{n:04}", {"at": _at(0.2 + n / 6000)}) for n in range(6000)])
    items = await store.asearch((), query=QUERY, limit=100)
    assert len(items) == 100, f"{len(items)} of 100 were found"
    worst = max(int(item.key[1:]) for item in items)
    assert worst < 120, f"k{worst:04} is among the 100 best"


@promise(index=POINTS)
async def semantic_pages_are_complete(store: BaseStore) -> None:
    """Pages of a semantic search have every item once, in the order of scores."""
    await store.abatch([PutOp(NS, f"k{n:02}", {"at": _at(0.5 + n / 40)}) for n in range(60)])
    pages = [
        keys(await store.asearch(NS, query=QUERY, limit=7, offset=offset))
        for offset in range(0, 63, 7)
    ]
    together = [key for page in pages for key in page]
    assert [len(page) for page in pages] == [7] * 8 + [4], [len(page) for page in pages]
    assert together == sorted(together), "the pages are not in the order of scores"
    assert len(set(together)) == 60


@promise(index=POINTS)
async def equal_scores_are_paged_completely(store: BaseStore) -> None:
    """Pages of items with equal scores have no gap and no repetition."""
    await store.abatch([PutOp(NS, f"k{n:02}", {"at": _at(0.5) + " " * n}) for n in range(50)])
    together = [
        key
        for offset in range(0, 50, 4)
        for key in keys(await store.asearch(NS, query=QUERY, limit=4, offset=offset))
    ]
    assert len(together) == 50
    assert len(set(together)) == 50, f"{50 - len(set(together))} items are missing"


@promise(index=POINTS)
async def limit_counts_items(store: BaseStore) -> None:
    """`limit` and `offset` count items, not vectors: each item comes once, with its best vector."""
    for n in range(6):
        await store.aput(
            NS,
            f"k{n}",
            {"at": [_at(0.2 + n / 5 + part / 1000) for part in range(30)]},
            index=["at[*]"],
        )
    assert keys(await store.asearch(NS, query=QUERY, limit=4)) == ["k0", "k1", "k2", "k3"]
    assert keys(await store.asearch(NS, query=QUERY, limit=4, offset=4)) == ["k4", "k5"]


@promise(index=POINTS)
async def a_zero_vector_never_ranks_first(store: BaseStore) -> None:
    """A zero vector is refused, or ranks behind everything that is similar to the query."""
    await refusal(store.aput(NS, "zero", {"at": "0 0"}))
    await store.aput(NS, "near", {"at": _at(0.1)})
    await store.aput(NS, "far", {"at": _at(1.4)})
    items = await store.asearch(NS, query=QUERY)
    assert keys(items)[:2] == ["near", "far"], [(item.key, item.score) for item in items]
    assert all(item.score is None or item.score == item.score for item in items), "a score is NaN"


@promise(index=POINTS)
async def a_vector_that_is_no_number_never_ranks_first(store: BaseStore) -> None:
    """A vector with NaN or infinity is refused, or ranks behind others, and breaks no search."""
    for name, point in (("nan", "nan nan"), ("half", "nan 1"), ("infinite", "inf 0")):
        await refusal(store.aput(NS, name, {"at": point}))
    await store.aput(NS, "near", {"at": _at(0.1)})
    await store.aput(NS, "far", {"at": _at(1.4)})
    items = await store.asearch(NS, query=QUERY)
    assert keys(items)[:2] == ["near", "far"], [(item.key, item.score) for item in items]


@promise(index=POINTS)
async def a_query_without_direction_is_no_error(store: BaseStore) -> None:
    """A query whose vector is zero finds items, and no score is NaN."""
    await store.aput(NS, "k", {"at": _at(0.1)})
    items = await store.asearch(NS, query="0 0")
    assert keys(items) == ["k"]
    assert all(item.score is None or abs(item.score) <= 1 for item in items), [
        item.score for item in items
    ]


async def _score(store: BaseStore, query: str) -> float:
    items = [item for item in await store.asearch(NS, query=query) if item.key == "k"]
    return max((item.score for item in items if item.score is not None), default=0.0)


@promise(index=LETTERS)
async def an_update_drops_every_vector_of_the_old_value(store: BaseStore) -> None:
    """After an update, the old value is not found: no removed list element, no removed field."""
    steps: list[tuple[dict[str, Any], list[str], dict[str, Any], list[str]]] = [
        ({"parts": ["aaaa", "zzzz"]}, ["parts[*]"], {"parts": ["aaaa"]}, ["parts[*]"]),
        (
            {"parts": ["aaaa", "zzzz", "bbbb"]},
            ["parts[*]"],
            {"parts": ["bbbb", "aaaa"]},
            ["parts[*]"],
        ),
        (
            {"title": "aaaa", "body": "zzzz"},
            ["title", "body"],
            {"title": "aaaa"},
            ["title", "body"],
        ),
        (
            {"title": "aaaa", "body": "zzzz"},
            ["title", "body"],
            {"title": "aaaa", "body": "zzzz"},
            ["title"],
        ),
    ]
    for old, old_index, new, new_index in steps:
        await store.aput(NS, "k", old, index=old_index)
        assert await _score(store, "zzzz") > 0.9
        await store.aput(NS, "k", new, index=new_index)
        assert await _score(store, "zzzz") < 0.5, (
            f"{old} by {old_index} is still found after {new} by {new_index}"
        )
        assert await _score(store, "aaaa") > 0.9


@promise(index=LETTERS)
async def an_update_without_index_drops_the_vectors(store: BaseStore) -> None:
    """An update with `index=False` deletes all vectors; a later one with an index adds new ones."""
    await store.aput(NS, "k", {"text": "zzzz"}, index=["text"])
    await store.aput(NS, "k", {"text": "zzzz"}, index=False)
    assert await _score(store, "zzzz") == 0.0
    await store.aput(NS, "k", {"text": "aaaa"}, index=["text"])
    assert await _score(store, "zzzz") < 0.5
    assert await _score(store, "aaaa") > 0.9


@promise(index=LETTERS)
async def a_deleted_item_leaves_no_vector(store: BaseStore) -> None:
    """A key that was deleted and put again is found only by its new value."""
    await store.aput(NS, "k", {"text": "zzzz"}, index=["text"])
    await store.adelete(NS, "k")
    await store.aput(NS, "k", {"text": "aaaa"}, index=False)
    assert await _score(store, "zzzz") == 0.0
