"""Concurrent calls: from tasks, event loops and threads, some of them cancelled or bad."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any
from unittest import SkipTest

from langgraph.store.base import BaseStore, GetOp, PutOp

from graphs.testing.registry import OpenStore, promise
from graphs.testing.support import (
    LETTERS,
    found,
    in_thread,
    keys,
    refusal,
)

NS = ("users", "u1", "notes")


@promise(index=None)
async def many_calls_at_once_all_succeed(store: BaseStore) -> None:
    """Ten thousand concurrent calls, reads and writes, all succeed."""
    calls: list[Coroutine[Any, Any, Any]] = []
    for n in range(2500):
        calls += [store.aput(NS, f"k{n}", {"n": n}), store.aget(NS, f"k{n % 10}")]
        calls += [store.asearch(NS, limit=1), store.adelete(("other",), f"k{n % 10}")]
    await asyncio.gather(*calls)
    items = await asyncio.gather(*(store.aget(NS, f"k{n}") for n in range(2500)))
    assert [item.value["n"] for item in items if item] == list(range(2500))


async def _all_hands_busy(store: BaseStore) -> None:
    """Make a store open all its connections: the order of writes must not depend on having one."""
    await asyncio.gather(*(store.abatch([GetOp(NS, f"k{n}")]) for n in range(600)))


@promise(index=None)
async def writes_of_one_moment_keep_their_order(store: BaseStore) -> None:
    """Of many concurrent writes to a key, the last one counts, be it a put or a delete."""
    await _all_hands_busy(store)
    for last in range(300, 310):
        await asyncio.gather(*(store.aput(NS, "k", {"n": n}) for n in range(last)))
        assert found(await store.aget(NS, "k")).value == {"n": last - 1}, (
            f"of {last} writes not the last one counted"
        )
    await asyncio.gather(
        *(store.aput(NS, "k", {"n": n}) for n in range(300)), store.adelete(NS, "k")
    )
    assert await store.aget(NS, "k") is None


@promise(index=None)
async def writes_set_off_in_turn_keep_their_order(store: BaseStore) -> None:
    """Of writes to a key that a task starts in turn without awaiting any, the last one counts."""
    await _all_hands_busy(store)
    for _ in range(20):
        writes = []
        for n in range(20):
            writes.append(asyncio.ensure_future(store.aput(NS, "k", {"n": n})))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.gather(*writes)
        assert found(await store.aget(NS, "k")).value == {"n": 19}


@promise(index=None)
async def calls_of_one_task_come_one_after_the_other(store: BaseStore) -> None:
    """A call reads what the same task's call before stored, even if others write the same key."""

    async def count(key: str) -> None:
        for n in range(20):
            await store.aput(NS, key, {"n": n})
            assert found(await store.aget(NS, key)).value == {"n": n}

    async def disturb() -> None:
        for n in range(20):
            await store.aput(NS, "shared", {"n": n})

    await asyncio.gather(*(count(f"k{n}") for n in range(8)), *(disturb() for _ in range(4)))


async def _a_bad_call_fails_alone(
    store: BaseStore, name: str, bad: Coroutine[Any, Any, Any]
) -> None:
    """Make a bad call with good ones before and after it, all in one tick of the event loop."""
    good = await asyncio.gather(
        refusal(store.aput(NS, f"{name} before", {"n": 1})),
        refusal(store.aget(NS, "here")),
        refusal(bad),
        refusal(store.asearch(NS, filter={"n": 0})),
        refusal(store.aput(NS, f"{name} after", {"n": 2})),
    )
    errors = [str(error) for n, error in enumerate(good) if error and n != 2]
    assert not errors, f"{name}: other calls failed too: {errors[0]}"
    assert await store.aget(NS, f"{name} before") is not None
    assert await store.aget(NS, f"{name} after") is not None
    assert found(await store.aget(NS, "here")).value == {"n": 0}


@promise(index=None)
async def a_bad_value_fails_alone(store: BaseStore) -> None:
    """A put that cannot be stored fails alone; other calls of the same tick succeed."""
    await store.aput(NS, "here", {"n": 0})
    await _a_bad_call_fails_alone(store, "unserialisable", store.aput(NS, "bad", {"v": object()}))
    await _a_bad_call_fails_alone(store, "NUL", store.aput(NS, "bad", {"v": "a\0b"}))
    await _a_bad_call_fails_alone(store, "surrogate", store.aput(NS, "bad", {"v": "\ud800"}))
    await _a_bad_call_fails_alone(store, "key", store.aput(NS, "a\0b", {}))
    await store.adelete(NS, "bad")


@promise(index=None)
async def a_bad_search_fails_alone(store: BaseStore) -> None:
    """A search with an unknown operator fails for its caller alone."""
    await store.aput(NS, "here", {"n": 0})
    await _a_bad_call_fails_alone(store, "filter", store.asearch(NS, filter={"n": {"$regex": "x"}}))


@promise()
async def a_cancelled_caller_leaves_the_store_in_order(store: BaseStore) -> None:
    """The store answers the next callers, however many are cancelled, at whatever point."""
    for wait in (0.0, 0.0, 0.001, 0.005, 0.02):
        calls = [
            *(asyncio.ensure_future(store.aput(NS, f"k{n}", {"n": n})) for n in range(20)),
            *(asyncio.ensure_future(store.asearch(NS, query="k")) for _ in range(20)),
            asyncio.ensure_future(store.abatch([PutOp(NS, f"b{n}", {}) for n in range(20)])),
        ]
        await asyncio.sleep(wait)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        async with asyncio.timeout(10):
            await asyncio.gather(*(store.aput(NS, f"after{n}", {"n": n}) for n in range(20)))
            assert found(await store.aget(NS, "after7")).value == {"n": 7}


@promise(index=None)
async def a_neighbour_of_a_cancelled_call_succeeds(store: BaseStore) -> None:
    """A cancelled call does not cancel other calls of the same tick."""
    for n in range(20):
        kept = asyncio.ensure_future(store.aput(NS, f"kept{n}", {"n": n}))
        cancelled = asyncio.ensure_future(store.aput(NS, f"cancelled{n}", {"n": n}))
        read = asyncio.ensure_future(store.asearch(NS, limit=100))
        await asyncio.sleep(0.001 * (n % 4))
        cancelled.cancel()
        with suppress(asyncio.CancelledError):
            await cancelled
        await asyncio.gather(kept, read)
    assert (
        len([key for key in keys(await store.asearch(NS, limit=100)) if key.startswith("kept")])
        == 20
    )


@promise(index=None)
async def crossing_batches_do_not_deadlock(store: BaseStore) -> None:
    """Concurrent batches that write the same keys in opposite orders all succeed."""
    there = [PutOp(NS, f"k{n:03}", {"there": n}) for n in range(400)]
    back = [PutOp(NS, f"k{n:03}", {"back": n}) for n in reversed(range(400))]
    gone = [PutOp(NS, f"k{n:03}", None) for n in (399, 3, 257, 0)]
    await _all_hands_busy(store)
    for _ in range(6):
        await asyncio.gather(*(store.abatch(ops) for ops in (there, back, gone, back, there)))
    await store.abatch(there)
    assert len(await store.asearch(NS, limit=500)) == 400


@promise()
async def synchronous_calls_work_from_another_thread(store: BaseStore) -> None:
    """Every synchronous method works from a thread while the store's event loop runs."""

    def work() -> list[str]:
        store.put(NS, "k", {"text": "from a thread"})
        assert store.get(NS, "k") is not None
        assert store.list_namespaces() == [NS]
        items = store.search(NS, query="thread")
        store.delete(NS, "k")
        return keys(items)

    try:
        assert await in_thread(work) == ["k"]
    except NotImplementedError as error:
        raise SkipTest("the store has no synchronous methods") from error
    assert await store.aget(NS, "k") is None


@promise()
async def several_threads_and_event_loops_at_once(store: BaseStore) -> None:
    """The store can be awaited on event loops of other threads, on several at once."""

    async def work(name: str) -> None:
        await asyncio.gather(*(store.aput((name,), f"k{n}", {"n": n}) for n in range(10)))
        assert found(await store.aget((name,), "k3")).value == {"n": 3}
        assert len(await store.asearch((name,), query="k", limit=100)) == 10
        await store.abatch([PutOp((name,), "k3", None)])
        assert await store.aget((name,), "k3") is None

    def in_a_loop_of_its_own(name: str) -> None:
        asyncio.run(asyncio.wait_for(work(name), 20))

    threads = (in_thread(partial(in_a_loop_of_its_own, name)) for name in "abcd")
    await asyncio.gather(*threads, work("home"))
    assert await store.alist_namespaces() == [(name,) for name in ("a", "b", "c", "d", "home")]


@promise(opens=True)
async def a_synchronous_call_never_hangs(open_store: OpenStore) -> None:
    """A synchronous call on the event loop's own thread returns or raises, and never hangs."""

    async def on_its_own_loop() -> None:
        async with open_store(index=LETTERS, ttl=None) as store:
            for call in (
                lambda: store.put(NS, "k", {}),
                lambda: store.get(NS, "k"),
                lambda: store.search(NS),
            ):
                with suppress(Exception):
                    call()
            with suppress(Exception):
                store.batch([PutOp(NS, "k", {})])
            await store.aput(NS, "after", {"n": 1})
            assert found(await store.aget(NS, "after")).value == {"n": 1}

    try:
        await asyncio.wait_for(in_thread(lambda: asyncio.run(on_its_own_loop())), 10)
    except TimeoutError as error:
        raise AssertionError("the loop was blocked by a synchronous call") from error
