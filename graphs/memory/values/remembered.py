"""What was found out about the data, for as long as it may be taken to hold."""

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """Values by key, each with the time until which it holds.

    Args:
        most: how many are kept; those that were put longest ago are forgotten first.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        """Return the value of a key, if it is known and still holds."""
        found = self._values.get(key)
        return found[1] if found and time.monotonic() < found[0] else None

    def put(self, key: Hashable, value: T, seconds: float) -> None:
        """Remember a value for some time."""
        self._values[key] = (time.monotonic() + seconds, value)
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
