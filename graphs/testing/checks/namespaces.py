"""Namespaces: labels match as a whole, and namespaces are listed while they hold an item."""

from langgraph.store.base import BaseStore, GetOp, InvalidNamespaceError, PutOp, SearchOp

from graphs.testing.registry import promise
from graphs.testing.support import raises


@promise()
async def a_prefix_matches_whole_labels(store: BaseStore) -> None:
    """The prefix ("a",) never matches ("ab",); `%`, `_` and `*` in a label are plain characters."""
    labels = ("a", "ab", "a_", "a%", "a-b", "A", "a b", "a/", "a\\", "ä", "[a]", "a\n", "*")
    for label in labels:
        await store.aput((label, "x"), "k", {"label": label})
    for label in labels:
        for query in (None, "label"):
            items = await store.asearch((label,), query=query)
            assert [item.value["label"] for item in items] == [label], f"{label!r}: {items}"
        if label != "*":
            assert await store.alist_namespaces(prefix=(label,)) == [(label, "x")], label
    await store.adelete(("a", "x"), "k")
    assert len(await store.asearch((), limit=100)) == len(labels) - 1


@promise()
async def the_same_key_in_two_namespaces_is_two_items(store: BaseStore) -> None:
    """A key belongs to its namespace: the same key in any other namespace is another item."""
    namespaces = [("a",), ("a", "b"), ("b",), ("a", "b", "k")]
    for n, namespace in enumerate(namespaces):
        await store.aput(namespace, "k", {"n": n})
    await store.adelete(("a",), "k")
    assert await store.aget(("a",), "k") is None
    for n, namespace in enumerate(namespaces[1:], start=1):
        item = await store.aget(namespace, "k")
        assert item is not None
        assert item.value == {"n": n}


@promise()
async def namespaces_are_listed_by_prefix_suffix_and_depth(store: BaseStore) -> None:
    """Namespaces are listed by prefix, suffix, wildcard and depth, in order, once, in pages."""
    for namespace in [
        ("a", "b", "c"),
        ("a", "b", "d", "e"),
        ("a", "b", "d", "i"),
        ("a", "b", "f"),
        ("a", "c", "f"),
        ("b",),
    ]:
        await store.aput(namespace, "k", {})
        await store.aput(namespace, "k2", {})
    listing = store.alist_namespaces
    assert await listing(prefix=("a", "b"), max_depth=3) == [
        ("a", "b", "c"),
        ("a", "b", "d"),
        ("a", "b", "f"),
    ]
    assert await listing(suffix=("f",)) == [("a", "b", "f"), ("a", "c", "f")]
    assert await listing(prefix=("a", "*", "f")) == [("a", "b", "f"), ("a", "c", "f")]
    assert await listing(suffix=("d", "*")) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
    assert await listing(prefix=("a",), suffix=("e",)) == [("a", "b", "d", "e")]
    assert await listing(max_depth=1) == [("a",), ("b",)]
    assert await listing(max_depth=3, limit=2, offset=1) == [("a", "b", "d"), ("a", "b", "f")]
    assert await listing(limit=2, offset=1) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
    assert len(await listing()) == 6
    assert await listing(prefix=("nothing",)) == []


@promise()
async def a_namespace_is_listed_while_it_holds_something(store: BaseStore) -> None:
    """A namespace that was only read, or whose last item was deleted, is not listed."""
    await store.aget(("read",), "k")
    await store.asearch(("searched",))
    await store.aput(("emptied",), "k", {})
    await store.adelete(("emptied",), "k")
    await store.aput(("held",), "k", {})
    assert await store.alist_namespaces() == [("held",)]


@promise()
async def a_bad_namespace_is_refused(store: BaseStore) -> None:
    """A put refuses an empty namespace or label, a label with a dot, and the root `langgraph`."""
    for namespace in ((), ("",), ("a", ""), ("a.b",), ("langgraph", "x")):
        with raises(InvalidNamespaceError):
            await store.aput(namespace, "k", {})
    assert await store.asearch(()) == []


@promise()
async def a_batch_does_not_reach_another_namespace(store: BaseStore) -> None:
    """A label with a dot is refused in a batch too: ("a.b",) never means ("a", "b")."""
    await store.aput(("a", "b"), "k", {"n": 1})
    for op in (
        GetOp(("a.b",), "k"),
        SearchOp(("a.b",)),
        PutOp(("a.b",), "k", {"n": 2}),
        PutOp(("a.b",), "k", None),
    ):
        with raises(InvalidNamespaceError):
            await store.abatch([op])
    item = await store.aget(("a", "b"), "k")
    assert item is not None
    assert item.value == {"n": 1}
