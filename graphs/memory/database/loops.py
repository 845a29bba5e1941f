"""Objects that belong to one event loop, and may be awaited on any."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from graphs.memory.errors import StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")


class AtHome(Protocol):
    """An object that belongs to an event loop, such as a connection pool and its users."""

    home_loop: asyncio.AbstractEventLoop


S = TypeVar("S", bound=AtHome)


def on_home_loop(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Let a method be awaited on any event loop; it runs on the one that its object belongs to."""

    @functools.wraps(method)
    async def wrapper(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        if asyncio.get_running_loop() is self.home_loop:
            return await method(self, *args, **kwargs)
        running = asyncio.run_coroutine_threadsafe(method(self, *args, **kwargs), self.home_loop)
        return await asyncio.wrap_future(running)

    return cast("Callable[Concatenate[S, P], Coroutine[Any, Any, T]]", wrapper)


def from_another_thread(
    home_loop: asyncio.AbstractEventLoop, call: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    """Run a call on the loop that it belongs to, and wait for it here.

    Raises:
        asyncio.InvalidStateError: called on the thread of the loop, which it would block.
        StoreUnavailable: the loop has ended.
    """
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is home_loop:
        raise asyncio.InvalidStateError(
            "A synchronous call on the store's own event loop would block it: use the "
            "asynchronous method, such as `await store.aget(...)` instead of `store.get(...)`."
        )
    if home_loop.is_closed():
        raise StoreUnavailable("This store's event loop has ended, and the store with it.")
    return asyncio.run_coroutine_threadsafe(call(), home_loop).result()
