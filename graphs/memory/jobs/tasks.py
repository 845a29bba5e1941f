"""Tasks of background jobs, their timing and their backoff."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import procrastinate
from procrastinate import retry
from procrastinate.jobs import Job as QueuedJob

from graphs.memory.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Task:
    """The work of all jobs of one name.

    Args:
        run: does the work with the job's arguments. It may run again after any interruption.
        every: a cron expression for a periodic task.
    """

    run: Callable[..., Awaitable[object]]
    every: str | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """The timing of workers, in seconds.

    Args:
        poll: between two polls of an empty queue.
        heartbeat: between two heartbeats of a worker.
        stalled: without a heartbeat until a worker counts as dead and its jobs are queued again.
        backoff: before the first retry, and the factor of each later wait.
        attempts: the number of attempts until a job stays as failed.
    """

    poll: float = 1.0
    heartbeat: float = 5.0
    stalled: float = 20.0
    backoff: int = 4
    attempts: int = 6


class Backoff(retry.BaseRetryStrategy):
    """Retries failures that may pass, with growing waits."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing

    def get_retry_decision(
        self, *, exception: BaseException, job: QueuedJob
    ) -> procrastinate.RetryDecision | None:
        """Return when a job that failed is tried again; None if it is not."""
        if isinstance(exception, InvalidInput) or job.attempts + 1 >= self._timing.attempts:
            return None
        told = getattr(exception, "retry_after", None)
        seconds = self._timing.backoff ** (job.attempts + 1) if told is None else told
        # Of jobs with one lock, the earlier one goes first, even while it waits. A lower
        # priority puts it behind the other jobs of its user, so that it holds none up.
        behind = 0 if getattr(exception, "keeps_its_turn", False) else 1
        return procrastinate.RetryDecision(
            retry_in={"seconds": min(seconds, 3600)}, priority=job.priority - behind
        )
