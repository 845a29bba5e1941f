"""The retry policy: bounded attempts, exponential backoff with jitter, passing failures only."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential_jitter,
)
from tenacity.wait import wait_base

T = TypeVar("T")


def policy(
    passing: Callable[[BaseException], bool],
    *,
    attempts: int,
    first: float = 0.2,
    longest: float = 5.0,
    wait: wait_base | None = None,
) -> dict[str, Any]:
    """Return tenacity's arguments. A call that is retried must be safe to repeat.

    Args:
        passing: tells whether a failure may pass, so that the same call may succeed later.
        attempts: number of attempts in all.
        first: seconds before the second attempt; later waits double.
        longest: most seconds of one wait.
        wait: another way to wait, such as the time that a service asked for.
    """
    return {
        "retry": retry_if_exception(passing),
        "stop": stop_after_attempt(attempts),
        "wait": wait or wait_exponential_jitter(multiplier=first, max=longest, jitter=first),
        "reraise": True,
    }


async def retrying(
    call: Callable[[], Awaitable[T]],
    passing: Callable[[BaseException], bool],
    *,
    attempts: int,
    first: float = 0.2,
    longest: float = 5.0,
    wait: wait_base | None = None,
    before_sleep: Callable[[RetryCallState], Awaitable[None]] | None = None,
) -> T:
    """Return what a call returns, made again by the policy while it fails; the rest as in `policy`.

    Args:
        call: makes the call anew each time.
        passing: tells whether a failure may pass.
        attempts: number of attempts in all.
        first: seconds before the second attempt.
        longest: most seconds of one wait.
        wait: another way to wait.
        before_sleep: runs before each wait.
    """

    async def attempt() -> (
        T
    ):  # tenacity awaits coroutine functions alone, and `call` may be a lambda
        return await call()

    given = policy(passing, attempts=attempts, first=first, longest=longest, wait=wait)
    result: T = await AsyncRetrying(**given, before_sleep=before_sleep)(attempt)
    return result
