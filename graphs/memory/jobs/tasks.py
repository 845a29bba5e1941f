"""Tasks of jobs, their timing and their retries."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import procrastinate
from procrastinate import retry
from procrastinate.jobs import Job as QueuedJob

from graphs.memory.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Task:
    """The work of all jobs with one name.

    Args:
        run: called with the job's arguments. It must be idempotent: a job that was interrupted at
            any point runs again.
        every: a cron expression for a periodic task; None otherwise.
    """

    run: Callable[..., Awaitable[object]]
    every: str | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """The timing of workers and retries.

    Args:
        poll: seconds between two polls of an empty queue.
        heartbeat: seconds between two heartbeats of a worker.
        stalled: seconds without a heartbeat after which a worker counts as dead. Its jobs are then
            queued again.
        backoff: seconds before the first retry, and the factor between one delay and the next.
        attempts: the number of attempts after which a job stays failed.
    """

    poll: float = 1.0
    heartbeat: float = 5.0
    stalled: float = 20.0
    backoff: int = 4
    attempts: int = 6


class Backoff(retry.BaseRetryStrategy):
    """The retry strategy: exponential backoff of at most an hour, and no retry of invalid input."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing

    def get_retry_decision(
        self, *, exception: BaseException, job: QueuedJob
    ) -> procrastinate.RetryDecision | None:
        """Return the time and priority of the next attempt; None if there is none."""
        if isinstance(exception, InvalidInput) or job.attempts + 1 >= self._timing.attempts:
            return None
        told = getattr(exception, "retry_after", None)
        seconds = self._timing.backoff ** (job.attempts + 1) if told is None else told
        # procrastinate runs jobs with the same lock in order, even if the first one waits for its
        # retry. A lower priority moves it behind the others, so that it does not block them.
        behind = 0 if getattr(exception, "keeps_its_turn", False) else 1
        return procrastinate.RetryDecision(
            retry_in={"seconds": min(seconds, 3600)}, priority=job.priority - behind
        )
