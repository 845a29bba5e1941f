"""The retry policy: bounded attempts, exponential backoff with jitter, passing failures only."""

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential_jitter,
)
from tenacity.wait import wait_base

P = ParamSpec("P")
T = TypeVar("T")
Passing = Callable[[BaseException], bool]
"""Tells whether a failure may pass, so that the same call may succeed later."""

Wait = wait_base | Callable[[RetryCallState], float]
"""Another way to wait between two attempts, such as the time that a service asked for."""


async def retrying(
    call: Callable[[], Awaitable[T]],
    passing: Passing,
    *,
    attempts: int,
    first: float = 0.2,
    longest: float = 5.0,
    wait: Wait | None = None,
    before_sleep: Callable[[RetryCallState], Awaitable[None]] | None = None,
) -> T:
    """Return the result of a call, which must be safe to repeat, and retry passing failures.

    Args:
        call: makes the call, anew for each attempt.
        passing: tells which failures to retry.
        attempts: the number of attempts in all.
        first: seconds before the second attempt; later waits double.
        longest: the most seconds of one wait.
        wait: replaces the exponential waits.
        before_sleep: runs before each wait.
    """

    async def attempt() -> T:  # tenacity awaits coroutine functions only; `call` may be a lambda
        return await call()

    policy = _policy(passing, attempts, first, longest, wait)
    result: T = await AsyncRetrying(**policy, before_sleep=before_sleep)(attempt)
    return result


def retried(passing: Passing, *, attempts: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a blocking function, which must be safe to repeat, with the same policy.

    Args:
        passing: tells which failures to retry.
        attempts: the number of attempts in all.
    """
    policy = _policy(passing, attempts, 0.2, 5.0, None)
    return cast("Callable[[Callable[P, T]], Callable[P, T]]", retry(**policy))


def _policy(
    passing: Passing, attempts: int, first: float, longest: float, wait: Wait | None
) -> dict[str, Any]:
    return {
        "retry": retry_if_exception(passing),
        "stop": stop_after_attempt(attempts),
        "wait": wait or wait_exponential_jitter(multiplier=first, max=longest, jitter=first),
        "reraise": True,
    }
