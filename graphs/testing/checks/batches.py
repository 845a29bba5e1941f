"""Batches: results in order, all or nothing, of any size."""

from typing import Any

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchOp,
)

from graphs.testing.registry import promise
from graphs.testing.support import found, keys, refusal

NS = ("users", "u1", "notes")


@promise()
async def a_batch_answers_each_operation_in_its_place(store: BaseStore) -> None:
    """Results come in the order of operations: items and lists for reads, None for writes."""
    await store.aput(NS, "old", {"n": 0})
    listing = ListNamespacesOp((MatchCondition("prefix", ("users",)),))
    ops: list[Op] = [
        PutOp(NS, "new", {"n": 1}),
        GetOp(NS, "old"),
        GetOp(NS, "none"),
        SearchOp(NS),
        listing,
    ]
    put, got, none, searched, listed = await store.abatch(ops)
    assert put is None
    assert isinstance(got, Item)
    assert got.value == {"n": 0}
    assert none is None
    assert isinstance(searched, list)
    assert listed == [NS]
    assert await store.aget(NS, "new") is not None


@promise(index=None)
async def reads_see_the_state_before_the_batch(store: BaseStore) -> None:
    """Reads in a batch see the state before its writes, wherever in the batch they are."""
    await store.aput(NS, "k", {"n": 0})
    ops: list[Op] = [
        PutOp(NS, "k", {"n": 1}),
        PutOp(NS, "new", {}),
        GetOp(NS, "k"),
        SearchOp(NS),
        GetOp(NS, "new"),
    ]
    _, _, got, searched, new = await store.abatch(ops)
    assert isinstance(got, Item)
    assert got.value == {"n": 0}
    assert isinstance(searched, list)
    assert [item.value for item in searched if isinstance(item, Item)] == [{"n": 0}]
    assert new is None


@promise()
async def the_last_write_to_a_key_counts(store: BaseStore) -> None:
    """Of several writes to a key in a batch, the last counts, put or delete, with its vectors."""
    writes = [PutOp(NS, "k", {"text": "aaaa"}), PutOp(NS, "k", {"text": "zzzz"}, index=["text"])]
    await store.abatch([*writes, PutOp(NS, "gone", {"n": 1}), PutOp(NS, "gone", None)])
    await store.abatch([PutOp(NS, "back", None), PutOp(NS, "back", {"text": "back"})])
    assert found(await store.aget(NS, "k")).value == {"text": "zzzz"}
    assert await store.aget(NS, "gone") is None
    assert await store.aget(NS, "back") is not None
    first, *_ = await store.asearch(NS, query="zzzz")
    assert first.key == "k"
    assert first.score is not None
    assert first.score > 0.99
    (again,) = [item for item in await store.asearch(NS, query="aaaa") if item.key == "k"]
    assert again.score is None or again.score < 0.5


@promise(index=None)
async def an_empty_batch_answers_nothing(store: BaseStore) -> None:
    """An empty batch is no error."""
    assert await store.abatch([]) == []


@promise(index=None)
async def a_refused_batch_leaves_nothing(store: BaseStore) -> None:
    """A batch that is refused because of one operation stores none of the others."""
    bad_values: list[Any] = [{"v": object()}, {"v": "a\0b"}, {"v": float("nan")}]
    for value in bad_values:
        refused = await refusal(
            store.abatch([PutOp(NS, "before", {}), PutOp(NS, "bad", value), PutOp(NS, "after", {})])
        )
        stored = set(keys(await store.asearch(NS)))
        if refused:
            assert stored == set(), f"{value}: refused, but {stored} are stored"
        else:
            assert stored == {"before", "bad", "after"}
            await store.abatch([PutOp(NS, key, None) for key in stored])


@promise(index=None)
async def a_batch_may_be_large(store: BaseStore) -> None:
    """A batch of 17,000 puts is stored, and a batch of as many gets reads them."""
    await store.abatch([PutOp(NS, f"k{n}", {"n": n}) for n in range(17_000)])
    items = await store.abatch([GetOp(NS, f"k{n}") for n in range(17_000)])
    assert [item.value["n"] for item in items if isinstance(item, Item)] == list(range(17_000))


@promise()
async def many_searches_go_in_a_batch(store: BaseStore) -> None:
    """Searches in one batch each use their own query, filter and scope."""
    for letter in "abcdef":
        await store.aput(("letters", letter), letter, {"text": letter * 4})
    searches = [SearchOp(("letters",), query=letter * 8, limit=1) for letter in "abcdef"]
    scopes = [SearchOp(("letters", letter), filter={"text": letter * 4}) for letter in "abcdef"]
    results = await store.abatch([*searches, *scopes])
    found_keys = [
        item.key
        for result in results
        if isinstance(result, list)
        for item in result
        if isinstance(item, Item)
    ]
    assert found_keys == [*"abcdef", *"abcdef"]


@promise()
async def like_items_in_a_batch_are_each_indexed(store: BaseStore) -> None:
    """Identical items in one batch are each found by a query."""
    await store.abatch([PutOp(NS, f"k{n}", {"text": "qqqq"}) for n in range(5)])
    items = await store.asearch(NS, query="qqqq", limit=10)
    assert len(items) == 5
    assert all(item.score is not None for item in items)
