"""Helpers of checks: embeddings of known geometry, strict comparison, and threads that may hang."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from langgraph.store.base import IndexConfig, Item

T = TypeVar("T")

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def embed_letters(texts: Sequence[str]) -> list[list[float]]:
    """Embed texts by counting letters, so that similar texts have similar vectors."""
    return [[text.casefold().count(letter) + 0.01 for letter in ALPHABET] for text in texts]


def embed_point(texts: Sequence[str]) -> list[list[float]]:
    """Read a vector from a text such as `0.6 0.8`, so that a check can place its items exactly."""
    return [[*map(float, text.split())] for text in texts]


LETTERS: IndexConfig = {"dims": len(ALPHABET), "embed": embed_letters, "fields": ["$"]}
"""Vector search over whole values, by their letters."""

POINTS: IndexConfig = {"dims": 2, "embed": embed_point, "fields": ["at"]}
"""Vector search over the field `at`: points of the plane as text, or a list of them."""


def keys(items: Iterable[Item]) -> list[str]:
    """Return the keys of items, in order."""
    return [item.key for item in items]


def found(item: Item | None) -> Item:
    """Return an item, and fail if it is None."""
    assert item is not None, "the item is not there"
    return item


def same(one: Any, other: Any) -> bool:
    """Return true if two JSON values are equal, including types: 1, 1.0 and true differ."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@contextmanager
def raises(kind: type[BaseException], *words: str) -> Iterator[None]:
    """Fail unless the block raises an error of this kind, with these words in its message."""
    try:
        yield
    except kind as error:
        for word in words:
            assert word in str(error), f"the error does not name {word}: {error}"
    else:
        raise AssertionError(f"no {kind.__name__} was raised")


async def refusal(call: Coroutine[Any, Any, Any]) -> Exception | None:
    """Return the error that a call was refused with, or None if it succeeded."""
    try:
        await call
    except Exception as error:  # noqa: BLE001  each store has errors of its own
        return error
    return None


async def in_thread(work: Callable[[], T]) -> T:
    """Return the result of `work` in a new thread. A check that gives up does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(report: Callable[..., None], outcome: Any) -> None:
        if not done.done():
            report(outcome)

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  it is raised where the thread is awaited
            report, outcome = done.set_exception, error
        else:
            report, outcome = done.set_result, result  # type: ignore[assignment]
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, report, outcome)

    threading.Thread(target=run, daemon=True).start()
    return await done
