"""What jobs do, and how fast they go."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import procrastinate
from procrastinate import retry
from procrastinate.jobs import Job as QueuedJob

from graphs.memory.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Task:
    """What jobs of one name do.

    Args:
        run: does it, with the job's arguments. It may be run again after it was cut off anywhere.
        every: when, as cron writes it, if it is done periodically.
    """

    run: Callable[..., Awaitable[object]]
    every: str | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast jobs go.

    Args:
        poll: seconds between two looks for new jobs, while there are none.
        heartbeat: seconds between two signs of life of a worker.
        stalled: seconds without one after which a worker is taken for dead, and its jobs are queued again.
        backoff: seconds before the first retry, and by what factor each next one is later.
        attempts: how often a job is tried before it stays as failed.
    """

    poll: float = 1.0
    heartbeat: float = 5.0
    stalled: float = 20.0
    backoff: int = 4
    attempts: int = 6


class Backoff(retry.BaseRetryStrategy):
    """Try again what may succeed later, ever later; at once it would only meet the same trouble."""

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
        # Of jobs with one lock the earlier one goes first, waiting or not: behind those of its person it holds up none.
        behind = 0 if getattr(exception, "keeps_its_turn", False) else 1
        return procrastinate.RetryDecision(
            retry_in={"seconds": min(seconds, 3600)}, priority=job.priority - behind
        )
