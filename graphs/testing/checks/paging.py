"""Pages without a query: every item once."""

from langgraph.store.base import BaseStore, PutOp

from graphs.testing.registry import promise
from graphs.testing.support import keys

NS = ("users", "u1", "notes")


@promise(index=None)
async def limit_and_offset_page_through_everything_once(store: BaseStore) -> None:
    """Pages have `limit` items, the last one the rest, and together they have every item once."""
    for n in range(7):
        await store.aput(NS, f"k{n}", {"n": n})
    pages = [await store.asearch(NS, limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert sorted(item.value["n"] for page in pages for item in page) == list(range(7))


@promise(index=None)
async def pages_are_complete_after_a_batch(store: BaseStore) -> None:
    """Pages of items that were put in one batch, at one time, have no gap and no repetition."""
    await store.abatch([PutOp(NS, f"k{n:03}", {"n": n}) for n in range(200)])
    for size in (3, 20, 64):
        found = [
            key
            for offset in range(0, 200, size)
            for key in keys(await store.asearch(NS, limit=size, offset=offset))
        ]
        assert len(found) == 200
        missing = 200 - len(set(found))
        assert not missing, (
            f"in pages of {size}, {missing} of 200 items never came and others came twice"
        )


@promise(index=None)
async def the_order_of_pages_is_stable(store: BaseStore) -> None:
    """A page is the same when it is read again, and the order does not depend on the page size."""
    await store.abatch([PutOp(NS, f"k{n:02}", {"n": n}) for n in range(60)])
    whole = keys(await store.asearch(NS, limit=100))
    for size in (1, 7, 30):
        for offset in (0, size, 60 - size):
            page = keys(await store.asearch(NS, limit=size, offset=offset))
            assert page == whole[offset : offset + size], f"limit={size}, offset={offset}"


@promise(index=None)
async def filtered_pages_count_what_matches(store: BaseStore) -> None:
    """`limit` and `offset` count matching items, not those that were examined."""
    for n in range(20):
        await store.aput(NS, f"k{n}", {"n": n, "even": n % 2 == 0})
    pages = [
        await store.asearch(NS, filter={"even": True}, limit=4, offset=offset)
        for offset in (0, 4, 8)
    ]
    assert [len(page) for page in pages] == [4, 4, 2]
    assert sorted(item.value["n"] for page in pages for item in page) == list(range(0, 20, 2))


@promise(index=None)
async def a_limit_of_none_finds_nothing(store: BaseStore) -> None:
    """A limit of zero returns no items, and so does an offset beyond the end."""
    await store.aput(NS, "k", {})
    assert await store.asearch(NS, limit=0) == []
    assert await store.asearch(NS, offset=10) == []
