"""How much one person may ask for: the length of a body, counted while it comes, and how often."""

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from fastapi import Request

from graphs.api.problems import ProblemError

MOST_BUCKETS = 10_000
"""So many people are kept count of in one process; who asked longest ago is forgotten first."""


@dataclass(slots=True)
class Buckets:
    """A token bucket for each person, in memory: each process counts for itself.

    Args:
        rate: tokens that come back each second; 0 for no limit at all.
        burst: tokens that a full bucket has.
        most: how many buckets there are at most. One that is forgotten is full again.
        clock: seconds, as `time.monotonic`.
    """

    rate: float
    burst: float
    most: int = MOST_BUCKETS
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict, init=False)

    def take(self, who: str) -> float:
        """Take a token, and return 0; or return the seconds after which there is one again, and take none."""
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
    """What the routes of an app allow.

    Args:
        body_bytes: longest body.
        rate: requests of one person in a second that may go on for ever; 0 for no limit.
        burst: requests of one person at once.
    """

    body_bytes: int = 1024 * 1024
    rate: float = 20.0
    burst: int = 200
    buckets: Buckets = field(init=False)

    def __post_init__(self) -> None:
        self.buckets = Buckets(self.rate, self.burst)

    def count(self, who: str) -> None:
        """Count a request.

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
    """Return the limits of the app that a request is for: `app.state.limits`, or the usual ones."""
    state = request.app.state
    if not hasattr(state, "limits"):
        state.limits = Limits()
    limits: Limits = state.limits
    return limits


class MeasuredRequest(Request):
    """A request whose body is given up once it is too long."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the parts of the body.

        Raises:
            ProblemError: 413.
        """
        most, size = limits_of(self).body_bytes, 0
        async for part in super().stream():
            size += len(part)
            if size > most:
                raise ProblemError(413, "body-too-long", f"The body may have {most} bytes at most.")
            yield part
