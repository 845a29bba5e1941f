"""TTLs: minutes, fractions included, after which an item expires."""

import asyncio
from unittest import SkipTest

from langgraph.store.base import BaseStore, TTLConfig

from graphs.testing.registry import promise
from graphs.testing.support import keys

NS = ("users", "u1", "notes")
REFRESHING: TTLConfig = {"refresh_on_read": True}
MINUTES = 0.02
"""1.2 seconds: long enough for a read in between, short enough for a test to wait."""


def _needs_ttl(store: BaseStore) -> None:
    if not store.supports_ttl:
        raise SkipTest("the store has no TTLs: supports_ttl is False")


@promise(ttl={"refresh_on_read": False})
async def an_expired_item_is_never_read(store: BaseStore) -> None:
    """An item is read until its TTL ends, and by no read after that, swept or not."""
    _needs_ttl(store)
    await store.aput(NS, "k", {"text": "aaaa"}, ttl=0.01)
    await store.aput(("other",), "k", {"text": "aaaa"})
    assert await store.aget(NS, "k") is not None
    assert keys(await store.asearch(NS, query="aaaa")) == ["k"]
    await asyncio.sleep(0.8)
    assert await store.asearch(NS) == []
    assert await store.asearch(NS, query="aaaa") == []
    assert await store.aget(NS, "k") is None
    assert await store.alist_namespaces() == [("other",)]


@promise(ttl=REFRESHING)
async def reading_prolongs_a_life(store: BaseStore) -> None:
    """A get or search that refreshes gives an item its full TTL again; any other leaves it."""
    _needs_ttl(store)
    for key in ("got", "seen"):
        await store.aput(("kept", key), key, {}, ttl=MINUTES)
        await store.aput(("lost", key), key, {}, ttl=MINUTES)
    await asyncio.sleep(0.75)
    assert await store.aget(("kept", "got"), "got", refresh_ttl=True)
    assert await store.asearch(("kept", "seen"), refresh_ttl=True)
    assert await store.aget(("lost", "got"), "got", refresh_ttl=False)
    assert await store.asearch(("lost", "seen"), refresh_ttl=False)
    await asyncio.sleep(0.75)
    assert set(keys(await store.asearch(("kept",), refresh_ttl=False))) == {"got", "seen"}
    assert await store.asearch(("lost",), refresh_ttl=False) == []


@promise(ttl=REFRESHING)
async def reading_never_revives_what_has_expired(store: BaseStore) -> None:
    """A read that refreshes does not revive an expired item."""
    _needs_ttl(store)
    await store.aput(NS, "k", {}, ttl=0.005)
    await asyncio.sleep(0.5)
    for _ in range(2):
        assert await store.aget(NS, "k", refresh_ttl=True) is None
        assert await store.asearch(NS, refresh_ttl=True) == []


@promise(ttl={"default_ttl": 0.01, "refresh_on_read": False})
async def the_default_ttl_is_for_puts_that_name_none(store: BaseStore) -> None:
    """A put without a TTL gets the default, and a put with `ttl=None` never expires."""
    _needs_ttl(store)
    await store.aput(NS, "default", {})
    await store.aput(NS, "forever", {}, ttl=None)
    await store.aput(NS, "longer", {}, ttl=10)
    assert len(await store.asearch(NS)) == 3
    await asyncio.sleep(0.8)
    assert set(keys(await store.asearch(NS))) == {"forever", "longer"}


@promise(ttl={"refresh_on_read": False})
async def an_update_sets_the_ttl_anew(store: BaseStore) -> None:
    """An update sets its own TTL, or none; the earlier TTL no longer counts."""
    _needs_ttl(store)
    await store.aput(NS, "freed", {"n": 1}, ttl=0.01)
    await store.aput(NS, "freed", {"n": 2})
    await store.aput(NS, "bound", {"n": 1})
    await store.aput(NS, "bound", {"n": 2}, ttl=0.01)
    await asyncio.sleep(0.8)
    assert keys(await store.asearch(NS)) == ["freed"]


@promise(ttl={"refresh_on_read": False})
async def an_expired_item_can_be_put_again(store: BaseStore) -> None:
    """A put under the key of an expired item stores a new one."""
    _needs_ttl(store)
    await store.aput(NS, "k", {"n": 1}, ttl=0.005)
    await asyncio.sleep(0.5)
    await store.aput(NS, "k", {"n": 2})
    item = await store.aget(NS, "k")
    assert item is not None
    assert item.value == {"n": 2}
