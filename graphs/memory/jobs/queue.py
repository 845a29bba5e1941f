"""The queue of background jobs: procrastinate on the same Postgres.

A job is queued in the transaction that makes it necessary. Any number of workers share the queue;
they poll it, which works behind a transaction pooler. A job that fails is retried with exponential
backoff. When no attempt is left, it stays `failed` with its error, until an operator retries it.
The arguments of a job hold ids, never content.
"""

from datetime import UTC, datetime
from typing import Any

from graphs.memory.contract import Job
from graphs.memory.database import statements
from graphs.memory.database.query import Query
from graphs.memory.errors import InvalidInput, JobNotFound
from graphs.memory.jobs.worker import KEPT_HOURS, Workers

_SQL = statements.load("queue", __package__)


def queue_facts(user_id: str, session_id: str, seconds: float) -> Query[None]:
    """Return the query that queues the extraction of a session's facts in some seconds."""
    return Query(
        _SQL["queue_facts"], {"user_id": user_id, "session_id": session_id, "seconds": seconds}
    )


def queue_indexing(seconds: float) -> Query[None]:
    """Return the query that queues the indexing of marked items, if it is not queued already."""
    return Query(_SQL["queue_indexing"], {"seconds": seconds})


class Jobs(Workers):
    """The queue of jobs, and the workers of this process."""

    async def list(
        self,
        *,
        user_id: str | None = None,
        status: str | None = None,
        task: str | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Return jobs, the latest first. Those with `status="failed"` need an operator.

        Args:
            user_id: only jobs about this user, who may ask for them; None for all jobs.
            status: `todo`, `doing`, `succeeded`, `failed`, `cancelled` or `aborted`.
            task: only jobs of this name.
            limit: the most jobs to return.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {"user_id": user_id, "status": status, "task": task, "limit": limit}
        query = Query(
            _SQL["jobs"], given, lambda rows: [Job.model_validate(row._asdict()) for row in rows]
        )
        found: list[Job] = await self._ask(user_id, query)
        return found

    async def get(self, job_id: int, *, user_id: str | None = None) -> Job:
        """Return a job.

        Args:
            job_id: the id of the job.
            user_id: the user that the job is about, who may ask for it; None for any.

        Raises:
            JobNotFound: there is no such job, or it is not about this user.
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {"user_id": user_id, "job_id": job_id}
        query = Query(
            _SQL["job"], given, lambda rows: [Job.model_validate(row._asdict()) for row in rows]
        )
        if not (found := await self._ask(user_id, query)):
            raise JobNotFound(
                f"There is no job {job_id}. Finished jobs are deleted after {KEPT_HOURS} hours."
            )
        [job] = found
        return job

    async def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of jobs, by task and status.

        Raises:
            AccessDenied: the principal is not the service.
        """
        found: dict[str, dict[str, int]] = {}
        for row in await self._ask(None, Query(_SQL["counts"], {}, lambda rows: rows)):
            found.setdefault(row.task, {})[row.status] = row.jobs
        return found

    async def queue(self, task: str, **arguments: Any) -> int:
        """Queue a job for the next free worker, and return its id.

        Args:
            task: the name of the task.
            arguments: the arguments of the task; JSON.

        Raises:
            InvalidInput: there is no such task.
            AccessDenied: the principal is not the service.
        """
        if task not in self._tasks:
            raise InvalidInput(
                f"There is no task {task!r}. The tasks are {', '.join(sorted(self._tasks))}."
            )
        await self._ask(None, Query(_SQL["allowed"]))
        return await self._app.configure_task(task).defer_async(**arguments)

    async def retry(self, job_id: int, *, dry_run: bool = False) -> None:
        """Queue a failed job again. A dry run only checks that this is possible.

        Raises:
            JobNotFound: there is no such job, or it did not fail.
            AccessDenied: the principal is not the service.
        """
        failed = Query(_SQL["is_failed"], {"job_id": job_id}, bool)
        if not await self._ask(None, failed):
            raise JobNotFound(
                f"There is no failed job {job_id}. `jobs.list(status='failed')` lists failed jobs."
            )
        if not dry_run:
            await self._app.job_manager.retry_job_by_id_async(job_id, retry_at=datetime.now(UTC))
