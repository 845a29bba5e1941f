"""What LangGraph's BaseStore promises, asked of three stores."""

import asyncio
from datetime import UTC, datetime

import pytest
from langgraph.store.base import (
    BaseStore,
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchItem,
    SearchOp,
)

NS = ("users", "u1", "notes")


async def test_an_item_comes_back_as_it_was_put(any_store: BaseStore) -> None:
    value = {
        "text": "héllo 🌍",
        "n": 1,
        "f": 1.5,
        "t": True,
        "z": None,
        "l": [],
        "o": {},
        "deep": {"a": [{"b": [1, "2"]}]},
    }
    await any_store.aput(NS, "k", value)

    item = await any_store.aget(NS, "k")

    assert isinstance(item, Item)
    assert (item.namespace, item.key, item.value) == (NS, "k", value)
    assert abs((datetime.now(UTC) - item.created_at).total_seconds()) < 60
    assert item.updated_at >= item.created_at


async def test_a_missing_item_is_none(any_store: BaseStore) -> None:
    assert await any_store.aget(NS, "nothing") is None


async def test_a_put_replaces_the_whole_value(any_store: BaseStore) -> None:
    await any_store.aput(NS, "k", {"a": 1, "b": 2})
    await any_store.aput(NS, "k", {"a": 3})
    item = await any_store.aget(NS, "k")
    assert item is not None
    assert item.value == {"a": 3}


async def test_a_deleted_item_is_gone_and_deleting_again_is_fine(any_store: BaseStore) -> None:
    await any_store.aput(NS, "k", {"a": 1})
    await any_store.adelete(NS, "k")
    await any_store.adelete(NS, "k")
    assert await any_store.aget(NS, "k") is None
    assert await any_store.asearch(NS) == []


async def test_namespaces_are_apart_even_where_names_begin_alike(any_store: BaseStore) -> None:
    for label in ("a", "ab", "a_", "a%"):
        await any_store.aput((label, "x"), "k", {"label": label})
    for label in ("a", "ab", "a_", "a%"):
        found = await any_store.asearch((label,))
        assert [item.value["label"] for item in found] == [label]


async def test_a_search_covers_everything_below_its_prefix(any_store: BaseStore) -> None:
    for namespace in [("d",), ("d", "e"), ("d", "e", "f"), ("g",)]:
        await any_store.aput(namespace, "k", {"depth": len(namespace)})
    found = {item.namespace for item in await any_store.asearch(("d",))}
    assert found == {("d",), ("d", "e"), ("d", "e", "f")}
    assert len(await any_store.asearch(())) == 4


async def test_limit_and_offset_page_through_everything_once(any_store: BaseStore) -> None:
    for n in range(7):
        await any_store.aput(NS, f"k{n}", {"n": n})
    pages = [await any_store.asearch(NS, limit=3, offset=offset) for offset in (0, 3, 6)]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert sorted(item.value["n"] for page in pages for item in page) == list(range(7))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"colour": "red"}, {"one", "three"}),
        ({"colour": "red", "size": 3}, {"three"}),
        ({"size": {"$gt": 1}}, {"two", "three"}),
        ({"size": {"$gte": 2, "$lt": 3}}, {"two"}),
        ({"size": {"$lte": 1}}, {"one"}),
        ({"colour": {"$ne": "red"}}, {"two"}),
        ({"colour": {"$eq": "blue"}}, {"two"}),
        ({"colour": "green"}, set()),
    ],
)
async def test_filters(any_store: BaseStore, condition: dict[str, object], expected: set[str]) -> None:
    await any_store.aput(NS, "one", {"colour": "red", "size": 1})
    await any_store.aput(NS, "two", {"colour": "blue", "size": 2})
    await any_store.aput(NS, "three", {"colour": "red", "size": 3})
    assert {item.key for item in await any_store.asearch(NS, filter=condition)} == expected


async def test_a_query_ranks_by_similarity(any_store: BaseStore) -> None:
    await any_store.aput(NS, "z", {"text": "zzzz"})
    await any_store.aput(NS, "a", {"text": "aaaa"})
    await any_store.aput(NS, "az", {"text": "aazz"})

    found = await any_store.asearch(NS, query="aaaaaaaa")

    assert [item.key for item in found] == ["a", "az", "z"]
    assert all(isinstance(item, SearchItem) for item in found)
    scores = [item.score for item in found]
    assert None not in scores
    assert scores == sorted(scores, key=lambda score: -(score or 0))


async def test_a_query_and_a_filter_go_together(any_store: BaseStore) -> None:
    await any_store.aput(NS, "a1", {"text": "aaaa", "keep": False})
    await any_store.aput(NS, "a2", {"text": "aaab", "keep": True})
    found = await any_store.asearch(NS, query="aaaa", filter={"keep": True})
    assert [item.key for item in found] == ["a2"]


async def test_an_item_can_choose_what_of_it_is_indexed(any_store: BaseStore) -> None:
    await any_store.aput(NS, "title", {"title": "qqqq", "body": "bbbb"}, index=["title"])
    await any_store.aput(NS, "body", {"title": "bbbb", "body": "qqqq"}, index=["body"])
    await any_store.aput(NS, "list", {"parts": ["xxxx", "qqqq"]}, index=["parts[*]"])

    found = await any_store.asearch(NS, query="qqqq", limit=3)

    assert {item.key for item in found} == {"title", "body", "list"}
    assert all(item.score is not None and item.score > 0.99 for item in found)


async def test_listing_namespaces(any_store: BaseStore) -> None:
    for namespace in [
        ("a", "b", "c"),
        ("a", "b", "d", "e"),
        ("a", "b", "d", "i"),
        ("a", "b", "f"),
        ("a", "c", "f"),
        ("b",),
    ]:
        await any_store.aput(namespace, "k", {})

    assert await any_store.alist_namespaces(prefix=("a", "b"), max_depth=3) == [
        ("a", "b", "c"),
        ("a", "b", "d"),
        ("a", "b", "f"),
    ]
    assert await any_store.alist_namespaces(suffix=("f",)) == [("a", "b", "f"), ("a", "c", "f")]
    assert await any_store.alist_namespaces(prefix=("a", "*", "f")) == [("a", "b", "f"), ("a", "c", "f")]
    assert await any_store.alist_namespaces(prefix=("a",), suffix=("e",)) == [("a", "b", "d", "e")]
    assert await any_store.alist_namespaces(max_depth=1) == [("a",), ("b",)]
    assert await any_store.alist_namespaces(limit=2, offset=1) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]


async def test_a_batch_answers_each_operation_in_its_place(any_store: BaseStore) -> None:
    await any_store.aput(NS, "old", {"n": 0})

    results = await any_store.abatch(
        [
            PutOp(NS, "new", {"n": 1}),
            GetOp(NS, "old"),
            GetOp(NS, "none"),
            SearchOp(NS),
            ListNamespacesOp((MatchCondition("prefix", ("users",)),)),
        ]
    )

    assert results[0] is None
    assert isinstance(results[1], Item)
    assert results[1].value == {"n": 0}
    assert results[2] is None
    assert isinstance(results[3], list)
    assert results[4] == [NS]
    assert await any_store.aget(NS, "new") is not None


async def test_of_two_puts_to_one_key_in_a_batch_the_last_one_counts(any_store: BaseStore) -> None:
    await any_store.abatch([PutOp(NS, "k", {"n": 1}), PutOp(NS, "k", {"n": 2})])
    item = await any_store.aget(NS, "k")
    assert item is not None
    assert item.value == {"n": 2}


@pytest.mark.parametrize("namespace", [(), ("a.b",), ("",), ("langgraph", "x")])
async def test_a_bad_namespace_is_refused(any_store: BaseStore, namespace: tuple[str, ...]) -> None:
    with pytest.raises(InvalidNamespaceError):
        await any_store.aput(namespace, "k", {})


async def test_synchronous_calls_work_from_another_thread(any_store: BaseStore) -> None:
    def work() -> list[SearchItem]:
        any_store.put(NS, "k", {"text": "from a thread"})
        assert any_store.get(NS, "k") is not None
        assert any_store.list_namespaces() == [NS]
        found = any_store.search(NS, query="thread")
        any_store.delete(NS, "k")
        return found

    assert [item.key for item in await asyncio.to_thread(work)] == ["k"]
    assert await any_store.aget(NS, "k") is None


async def test_many_calls_at_once_all_succeed(any_store: BaseStore) -> None:
    await asyncio.gather(*(any_store.aput(NS, f"k{n}", {"n": n}) for n in range(100)))
    items = await asyncio.gather(*(any_store.aget(NS, f"k{n}") for n in range(100)))
    assert [item.value["n"] for item in items if item] == list(range(100))
