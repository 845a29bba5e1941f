"""Workers of background jobs: they poll, run due jobs, and rescue the jobs of dead workers.

Polling works behind a transaction pooler, where notifications do not. Any number of workers share
the queue.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import procrastinate
from procrastinate import exceptions
from procrastinate.jobs import Job as QueuedJob
from procrastinate.jobs import Status
from procrastinate.worker import Worker
from psycopg.errors import RaiseException

from graphs.memory import telemetry
from graphs.memory.access import Access
from graphs.memory.database import statements
from graphs.memory.database.database import Pool
from graphs.memory.database.query import Query
from graphs.memory.errors import GraphMemoryError, InvalidInput, error_sentence
from graphs.memory.jobs.connector import Connector
from graphs.memory.jobs.tasks import Backoff, Task, Timing
from graphs.memory.principal import Principal, acting_as

log = logging.getLogger(__name__)

T = TypeVar("T")

_SQL = statements.load("worker", __package__)

_LOOK_SECONDS = 0.1
"""The usual duration of a poll, in seconds."""

_CLOSE_SECONDS = 8

KEPT_HOURS = 24
"""Hours for which a finished job stays visible."""


class Workers:
    """The workers of this process, and their tasks.

    Args:
        pool: connections to the queue.
        tasks: the tasks by name.
        access: the way to the database; it lets users see the jobs about them.
        timing: intervals and attempts.
    """

    def __init__(
        self,
        pool: Pool,
        tasks: Mapping[str, Task],
        access: Access,
        timing: Timing | None = None,
    ) -> None:
        self._access = access
        self._timing = timing or Timing()
        _keep_quiet()
        self._app = procrastinate.App(connector=Connector(pool))
        self._tasks = {**tasks, "clean_jobs": Task(self._clean, "7 * * * *")}
        for name, task in self._tasks.items():
            self._register(name, task)

    async def _ask(self, user_id: str | None, query: Query[T]) -> T:
        return await self._access.ask_as_owner(user_id, query, "see the jobs of everybody")

    def add(self, tasks: Mapping[str, Task]) -> None:
        """Register more tasks; call it before `working` begins."""
        self._tasks |= tasks
        for name, task in tasks.items():
            self._register(name, task)

    def _register(self, name: str, task: Task) -> None:
        async def run(
            context: procrastinate.JobContext,
            /,
            timestamp: int | None = None,  # noqa: ARG001  procrastinate gives it to periodic jobs
            **arguments: Any,
        ) -> None:
            try:
                with telemetry.job(name), acting_as(Principal.service()):
                    await task.run(**arguments)
            except Exception as error:
                await self._report(context.job, error)
                raise

        alone = name if task.every else None
        self._app.task(
            name=name,
            pass_context=True,
            retry=Backoff(self._timing),
            lock=alone,
            queueing_lock=alone,
        )(run)

    async def _report(self, job: QueuedJob, error: Exception) -> None:
        """Record why a job failed, beside the job and in the log."""
        told = (
            error_sentence(error) if isinstance(error, GraphMemoryError) else type(error).__name__
        )
        log.warning(
            "Job %s (%s) failed, attempt %d: %s", job.id, job.task_name, job.attempts + 1, told
        )
        given = {"job_id": job.id, "user_id": job.task_kwargs.get("user_id"), "error": told}
        try:
            with acting_as(Principal.service()):
                await self._ask(None, Query(_SQL["report_failure"], given))
        except GraphMemoryError as unwritten:
            log.warning("Why job %s failed could not be noted: %s", job.id, unwritten)

    # Working ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def working(self, *, concurrency: int = 4) -> AsyncIterator[None]:
        """Work in the background while the block lasts. At its end jobs get 5 s to finish.

        Args:
            concurrency: the number of jobs at the same time.
        """
        for name, task in self._tasks.items():
            if task.every and not any(
                known == name for known, _ in self._app.periodic_registry.periodic_tasks
            ):
                self._app.periodic(cron=task.every)(self._app.tasks[name])
        worker = asyncio.create_task(self._work(concurrency), name="worker of background jobs")
        try:
            yield
        finally:
            worker.cancel()
            _, still_ending = await asyncio.wait([worker], timeout=_CLOSE_SECONDS)
            if still_ending:
                log.warning(
                    "The worker of background jobs stops without telling the database, "
                    "which does not answer"
                )
                worker.cancel()
                await asyncio.wait([worker])

    async def _work(self, concurrency: int) -> None:
        """Run a worker, and a new one whenever it ends, as it does in a long outage."""
        rescuer = asyncio.create_task(self._rescue_often(), name="rescuer of background jobs")
        try:
            while True:
                try:
                    await self._worker(concurrency=concurrency, wait=True)
                except (exceptions.ConnectorException, GraphMemoryError) as error:
                    log.warning(
                        "The worker of background jobs ended, and starts again: %s",
                        error_sentence(error),
                    )
                await asyncio.sleep(self._timing.poll)
        finally:
            rescuer.cancel()

    async def _rescue_often(self) -> None:
        """Rescue jobs of dead workers at the rate of heartbeats."""
        while True:
            with suppress(
                exceptions.ConnectorException, GraphMemoryError
            ):  # the worker logs the outage
                await self.rescue()
            await asyncio.sleep(self._timing.heartbeat)

    async def run_pending(self) -> None:
        """Run all due jobs once, for scripts and tests. Failures stay for a later attempt."""
        await self._worker(wait=False)

    async def _worker(self, **options: Any) -> None:
        timing = self._timing
        await self._app.run_worker_async(
            listen_notify=False,
            install_signal_handlers=False,
            fetch_job_polling_interval=timing.poll,
            update_heartbeat_interval=timing.heartbeat,
            stalled_worker_timeout=timing.stalled,
            shutdown_graceful_timeout=5,
            worker_middleware=[_then_the_next],
            **options,
        )

    async def rescue(self) -> None:
        """Queue the jobs of dead workers again; after the last attempt they stay as failed."""
        manager = self._app.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=self._timing.stalled):
            log.warning("Job %s (%s) was cut off, and is queued again", job.id, job.task_name)
            if job.attempts + 1 >= self._timing.attempts:
                await self._report(
                    job, InvalidInput("the worker died while it ran, again and again")
                )
                await manager.finish_job(job, status=Status.FAILED, delete_job=False)
            else:
                await manager.retry_job(job)

    async def _clean(self) -> None:
        await self._app.job_manager.delete_old_jobs(
            KEPT_HOURS, include_cancelled=True, include_aborted=True
        )
        await self._ask(None, Query(_SQL["forget_failures"]))


async def _then_the_next(
    job: Callable[[], Awaitable[Any]], _: procrastinate.JobContext, worker: Worker
) -> Any:
    """Run a job, then poll at once for jobs that waited for its lock.

    procrastinate's worker would find them at its next poll only. If the result of a job cannot be
    stored, the worker stops: as long as it lives, its jobs are not rescued.
    """

    def ended(task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(
            error.__cause__, RaiseException
        ):  # which says that it is this worker's job no more
            log.warning("How a job ended could not be noted: %s", error_sentence(error))
            worker.stop()  # type: ignore[no-untyped-call]
        worker._new_job_event.set()
        # A poll that began before the lock was free finds nothing, and drops the wake-up.
        asyncio.get_running_loop().call_later(_LOOK_SECONDS, worker._new_job_event.set)

    if task := asyncio.current_task():
        task.add_done_callback(ended)
    return await job()


def _keep_quiet() -> None:
    """Keep successes and tracebacks out of the log; tracebacks may quote memories."""
    logger = logging.getLogger("procrastinate")
    logger.setLevel(max(logger.level, logging.WARNING))
    worker = logging.getLogger("procrastinate.worker")
    if _without_traceback not in worker.filters:
        worker.addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = record.exc_text = None
    return getattr(record, "action", "") != "job_error"  # `Jobs` tells of it
