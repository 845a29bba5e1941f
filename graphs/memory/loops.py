"""Objects that belong to one event loop, and may be awaited on any."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


class AtHome(Protocol):
    """Something that belongs to an event loop, such as a pool of connections and what is made of it."""

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
