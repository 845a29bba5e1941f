"""Search: in a scope, by similarity, over the indexed fields."""

from langgraph.store.base import BaseStore, SearchItem

from graphs.testing.registry import promise
from graphs.testing.support import LETTERS, embed_letters, keys

NS = ("users", "u1", "notes")


@promise()
async def a_search_covers_everything_below_its_prefix(store: BaseStore) -> None:
    """A search covers its namespace and all below it; the empty prefix covers everything."""
    for namespace in [("d",), ("d", "e"), ("d", "e", "f"), ("g",)]:
        await store.aput(namespace, "k", {"depth": len(namespace)})
    for prefix, expected in (
        (("d",), 3),
        (("d", "e"), 2),
        (("d", "e", "f"), 1),
        ((), 4),
        (("e",), 0),
    ):
        items = await store.asearch(prefix)
        assert len(items) == expected, f"{prefix}: {items}"
        assert all(item.namespace[: len(prefix)] == prefix for item in items)


@promise()
async def a_query_ranks_by_similarity(store: BaseStore) -> None:
    """With a query, the most similar item comes first, and each item has its score."""
    await store.aput(NS, "z", {"text": "zzzz"})
    await store.aput(NS, "a", {"text": "aaaa"})
    await store.aput(NS, "az", {"text": "aazz"})
    items = await store.asearch(NS, query="aaaaaaaa")
    assert keys(items) == ["a", "az", "z"]
    assert all(isinstance(item, SearchItem) and isinstance(item.score, float) for item in items)
    assert [item.score for item in items] == sorted(
        (item.score or 0 for item in items), reverse=True
    )


@promise()
async def the_score_is_the_cosine(store: BaseStore) -> None:
    """The score is the cosine of query and vector: one for the same text, however long."""
    await store.aput(NS, "k", {"text": "qqqq"}, index=["text"])
    (item,) = await store.asearch(NS, query="q" * 400)
    assert item.score is not None
    assert abs(item.score - 1) < 0.01


@promise()
async def without_a_query_there_is_no_score(store: BaseStore) -> None:
    """A search without a query, or with an empty one, lists items without scores."""
    await store.aput(NS, "k", {"text": "aaaa"})
    for query in (None, ""):
        (item,) = await store.asearch(NS, query=query)
        assert item.key == "k"
        assert item.score is None


@promise(index=None)
async def without_an_index_a_query_is_no_error(store: BaseStore) -> None:
    """A store without an index ignores the query of a search."""
    await store.aput(NS, "k", {"text": "aaaa"})
    (item,) = await store.asearch(NS, query="anything")
    assert item.key == "k"
    assert item.score is None


@promise()
async def a_query_and_a_filter_go_together(store: BaseStore) -> None:
    """A query ranks the items that match the filter."""
    await store.aput(NS, "a1", {"text": "aaaa", "keep": False})
    await store.aput(NS, "a2", {"text": "aaab", "keep": True})
    assert keys(await store.asearch(NS, query="aaaa", filter={"keep": True})) == ["a2"]


@promise()
async def an_item_chooses_what_of_it_is_indexed(store: BaseStore) -> None:
    """A put with `index` indexes only these fields of its item, and list elements one by one."""
    await store.aput(NS, "title", {"title": "qqqq", "body": "bbbb"}, index=["title"])
    await store.aput(NS, "body", {"title": "bbbb", "body": "qqqq"}, index=["body"])
    await store.aput(NS, "list", {"parts": ["xxxx", "qqqq"]}, index=["parts[*]"])
    await store.aput(NS, "other", {"title": "qqqq", "body": "bbbb"}, index=["body"])
    items = await store.asearch(NS, query="qqqq", limit=3)
    assert set(keys(items)) == {"title", "body", "list"}
    assert all(item.score is not None and item.score > 0.99 for item in items)


@promise(index={"dims": LETTERS["dims"], "embed": embed_letters, "fields": ["title", "meta.topic"]})
async def the_store_chooses_what_is_indexed(store: BaseStore) -> None:
    """The fields of the store's index are embedded; an item without any of them is no error."""
    await store.aput(NS, "nested", {"meta": {"topic": "qqqq"}, "body": "bbbb"})
    await store.aput(NS, "title", {"title": "tttt", "body": "qqqq"})
    await store.aput(NS, "neither", {"body": "qqqq"})
    (item,) = await store.asearch(NS, query="qqqq", limit=1)
    assert item.key == "nested"


@promise()
async def an_item_without_index_has_no_score(store: BaseStore) -> None:
    """An item put with `index=False` is stored and listed, and no query ranks it."""
    await store.aput(NS, "hidden", {"text": "qqqq"}, index=False)
    await store.aput(NS, "shown", {"text": "zzzz"})
    items = await store.asearch(NS, query="qqqq")
    assert items[0].key == "shown"
    assert all(item.score is None for item in items if item.key == "hidden")
    assert set(keys(await store.asearch(NS))) == {"hidden", "shown"}
