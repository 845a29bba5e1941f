"""Limits of the HTTP API: the length of a body, and how often one user may ask."""

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from fastapi import Request

from graphs.api.problems import ProblemError

MOST_BUCKETS = 10_000
"""Most users that one process counts; the one who asked longest ago is dropped first."""


@dataclass(slots=True)
class Buckets:
    """A token bucket for each user, in memory: each process counts for itself.

    Args:
        rate: tokens that come back each second; 0 for no limit.
        burst: tokens in a full bucket.
        most: most buckets to keep. A bucket that was dropped is full again.
        clock: seconds, as `time.monotonic`.
    """

    rate: float
    burst: float
    most: int = MOST_BUCKETS
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict, init=False)

    def take(self, who: str) -> float:
        """Take a token and return 0, or return the seconds until there is one and take none."""
        if not self.rate:
            return 0.0
        now = self.clock()
        left, then = self._buckets.pop(who, (self.burst, now))
        left = min(self.burst, left + (now - then) * self.rate)
        wait = max(0.0, (1 - left) / self.rate)
        self._buckets[who] = (left if wait else left - 1, now)
        if len(self._buckets) > self.most:
            self._buckets.popitem(last=False)
        return wait


@dataclass(slots=True)
class Limits:
    """Limits that an app sets for its routes.

    Args:
        body_bytes: longest body.
        rate: requests a second that one user may sustain; 0 for no limit.
        burst: requests that one user may send at once.
    """

    body_bytes: int = 1024 * 1024
    rate: float = 20.0
    burst: int = 200
    buckets: Buckets = field(init=False)

    def __post_init__(self) -> None:
        self.buckets = Buckets(self.rate, self.burst)

    def count(self, who: str) -> None:
        """Count a request of a user.

        Raises:
            ProblemError: 429; there were too many.
        """
        if wait := self.buckets.take(who):
            seconds = int(wait) + 1
            raise ProblemError(
                429,
                "too-many-requests",
                f"Too many requests: try again in {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )


def limits_of(request: Request) -> Limits:
    """Return the limits of a request's app: `app.state.limits`, or the defaults."""
    state = request.app.state
    if not hasattr(state, "limits"):
        state.limits = Limits()
    limits: Limits = state.limits
    return limits


class MeasuredRequest(Request):
    """A request that stops reading its body once the body is too long."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of the body.

        Raises:
            ProblemError: 413.
        """
        most, size = limits_of(self).body_bytes, 0
        async for part in super().stream():
            size += len(part)
            if size > most:
                raise ProblemError(413, "body-too-long", f"The body is longer than {most} bytes.")
            yield part
