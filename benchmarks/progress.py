"""Progress of long work, on stderr; tables go to stdout."""

import sys
import time
from types import TracebackType


class Progress:
    """A progress line on stderr."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._began = self._told = time.perf_counter()

    def __enter__(self) -> "Progress":
        return self

    def advance(self, count: int) -> None:
        self._done += count
        if time.perf_counter() - self._told > 5:
            self._told = time.perf_counter()
            say(f"{self._what}: {self._done:,} of {self._total:,}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            say(f"{self._what}: {self._done:,} in {time.perf_counter() - self._began:.1f} s")


def say(line: str) -> None:
    """Print a line to stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
