"""Workers of background jobs: they run due jobs, and rescue the jobs of dead workers."""

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
"""Seconds that a poll of the queue usually takes, at most."""

_CLOSE_SECONDS = 8
"""Seconds to wait for a worker to end."""

KEPT_HOURS = 24
"""Hours for which a finished job stays visible."""


class Workers:
    """The workers of this process, and their tasks.

    Args:
        pool: connections to the database with the queue.
        tasks: the tasks, by name.
        access: checks the principal and runs queries about jobs.
        timing: the timing of workers and retries.
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
        """Add tasks. Call it before `working`."""
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

        # At most one job of a periodic task waits, and at most one runs.
        alone = name if task.every else None
        self._app.task(
            name=name,
            pass_context=True,
            retry=Backoff(self._timing),
            lock=alone,
            queueing_lock=alone,
        )(run)

    async def _report(self, job: QueuedJob, error: Exception) -> None:
        """Record the reason of a failure, in the database and in the log."""
        # The message of an unknown exception may quote content.
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
            log.warning("The failure of job %s could not be recorded: %s", job.id, unwritten)

    # Working ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def working(self, *, concurrency: int = 4) -> AsyncIterator[None]:
        """Run jobs in the background while the block lasts.

        When the block ends, running jobs have 5 s to finish. Those that do not are queued again.

        Args:
            concurrency: the number of jobs that run at the same time.
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
                    "The worker of background jobs stops without telling the database, which does "
                    "not answer; another worker will queue its jobs again"
                )
                worker.cancel()
                await asyncio.wait([worker])

    async def _work(self, concurrency: int) -> None:
        """Run a worker, and restart it when it ends because the database was unavailable."""
        rescuer = asyncio.create_task(self._rescue_often(), name="rescuer of background jobs")
        try:
            while True:
                try:
                    await self._worker(concurrency=concurrency, wait=True)
                except (exceptions.ConnectorException, GraphMemoryError) as error:
                    log.warning(
                        "The worker of background jobs ended, and restarts: %s",
                        error_sentence(error),
                    )
                await asyncio.sleep(self._timing.poll)
        finally:
            rescuer.cancel()

    async def _rescue_often(self) -> None:
        """Rescue the jobs of dead workers, once in each heartbeat."""
        while True:
            # The worker logs that the database is unavailable.
            with suppress(exceptions.ConnectorException, GraphMemoryError):
                await self.rescue()
            await asyncio.sleep(self._timing.heartbeat)

    async def run_pending(self) -> None:
        """Run all due jobs, then return; for scripts and tests. Failed jobs are left to a retry."""
        await self._worker(wait=False)

    async def _worker(self, **options: Any) -> None:
        timing = self._timing
        await self._app.run_worker_async(
            listen_notify=False,  # LISTEN does not work behind a transaction pooler
            install_signal_handlers=False,
            fetch_job_polling_interval=timing.poll,
            update_heartbeat_interval=timing.heartbeat,
            stalled_worker_timeout=timing.stalled,
            shutdown_graceful_timeout=5,
            worker_middleware=[_then_the_next],
            **options,
        )

    async def rescue(self) -> None:
        """Queue the jobs of dead workers again; fail those that have no attempt left."""
        manager = self._app.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=self._timing.stalled):
            log.warning("Job %s (%s) was interrupted: its worker died", job.id, job.task_name)
            if job.attempts + 1 >= self._timing.attempts:
                await self._report(job, InvalidInput("its worker died, and no attempt is left"))
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
    """Run a job, then wake the worker to look for jobs that waited for the same lock.

    Without it, procrastinate's worker would find them at its next poll only.
    """

    def ended(task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        # RaiseException means that the job no longer belongs to this worker: nothing to record.
        if error and not isinstance(error.__cause__, RaiseException):
            log.warning("The result of a job could not be recorded: %s", error_sentence(error))
            # As long as this worker sends heartbeats, nobody would rescue the job.
            worker.stop()  # type: ignore[no-untyped-call]
        worker._new_job_event.set()
        # A poll that began before the lock was free finds nothing and clears the event.
        asyncio.get_running_loop().call_later(_LOOK_SECONDS, worker._new_job_event.set)

    if task := asyncio.current_task():
        task.add_done_callback(ended)
    return await job()


def _keep_quiet() -> None:
    """Log only warnings of procrastinate, and no tracebacks: they may quote memories."""
    logger = logging.getLogger("procrastinate")
    logger.setLevel(max(logger.level, logging.WARNING))
    worker = logging.getLogger("procrastinate.worker")
    if _without_traceback not in worker.filters:
        worker.addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = record.exc_text = None
    return getattr(record, "action", "") != "job_error"  # `_report` logs it
