"""Checks of the contract: a promise, its requirements, and the function that checks it."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from langgraph.store.base import BaseStore, IndexConfig, TTLConfig

from graphs.testing.support import LETTERS

SECONDS = 60
"""Seconds that a check may take; a store that hangs fails then."""


class OpenStore(Protocol):
    """A context manager that yields a fresh, empty store, and removes it at the end."""

    def __call__(
        self, *, index: IndexConfig | None, ttl: TTLConfig | None
    ) -> AbstractAsyncContextManager[BaseStore]:
        """Open a store with this vector search and these TTLs; None stands for without."""


Function = Callable[[Any], Awaitable[None]]
F = TypeVar("F", bound=Function)


@dataclass(frozen=True, eq=False)
class Check:
    """A promise of the contract. Await it with an `OpenStore`; it raises if the promise is broken.

    A check that does not apply raises `unittest.SkipTest`, which unittest and pytest both count as
    skipped.
    """

    capability: str
    name: str
    promise: str
    function: Function
    index: IndexConfig | None
    ttl: TTLConfig | None
    opens: bool

    @property
    def __name__(self) -> str:
        """Return `capability.name`, which test runners show."""
        return f"{self.capability}.{self.name}"

    def __str__(self) -> str:
        return self.__name__

    async def __call__(self, open_store: OpenStore) -> None:
        """Run the check on a fresh store.

        Raises:
            AssertionError: the promise is not kept, or not within `SECONDS`.
            unittest.SkipTest: the store does not offer the subject of the promise.
        """
        try:
            async with asyncio.timeout(SECONDS) as deadline:
                if self.opens:
                    await self.function(open_store)
                else:
                    async with open_store(index=self.index, ttl=self.ttl) as store:
                        await self.function(store)
        except TimeoutError as error:
            if deadline.expired():
                raise AssertionError(f"not done within {SECONDS} seconds") from error
            raise


_registered: list[Check] = []


def promise(
    *, index: IndexConfig | None = LETTERS, ttl: TTLConfig | None = None, opens: bool = False
) -> Callable[[F], F]:
    """Register a function as a check.

    Its docstring is the promise, and the name of its module is the capability.

    Args:
        index: the vector search that the check needs.
        ttl: the TTL configuration that the check needs.
        opens: the function takes the `OpenStore` and opens its store itself, for checks that need
            another event loop.
    """

    def register(function: F) -> F:
        sentence = " ".join((inspect.getdoc(function) or "").split())
        capability = function.__module__.rpartition(".")[2]
        _registered.append(
            Check(capability, function.__name__, sentence, function, index, ttl, opens)
        )
        return function

    return register


def registered() -> tuple[Check, ...]:
    """Return all registered checks, in the order in which their modules were imported."""
    return tuple(_registered)
