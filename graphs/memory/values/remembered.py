"""An expiring cache for properties of the data, such as the size of a scope."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """A cache of values, each of which expires at its own time.

    Args:
        most: the size of the cache; the oldest entries are evicted first.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> T | None:
        """Return the value of a key, None if it is unknown or expired."""
        found = self._values.get(key)
        return found[1] if found and time.monotonic() < found[0] else None

    def put(self, key: Hashable, value: T, seconds: float) -> None:
        """Keep a value for some seconds."""
        self._values[key] = (time.monotonic() + seconds, value)
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
