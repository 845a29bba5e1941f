"""Background jobs: procrastinate on the same Postgres. A job is queued in the transaction that makes it necessary.

Workers poll, so that they work behind a transaction pooler too, and any number of them share the queue. A job that
fails is tried again, ever later; one that goes on failing stays as `failed`, with what went wrong, until somebody has
it tried again. Arguments name what a job is about and never hold content.
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
    """Ask for facts to be taken, in some seconds, from what is said in a session."""
    return Query(
        _SQL["queue_facts"], {"user_id": user_id, "session_id": session_id, "seconds": seconds}
    )


class Jobs(Workers):
    """The queue of jobs: look at them, queue them and have them tried again; and the workers."""

    async def list(
        self,
        *,
        user_id: str | None = None,
        status: str | None = None,
        task: str | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Return jobs, the latest first. `status="failed"` are those that need somebody to look at them.

        Args:
            user_id: only jobs about this user; the user themselves may ask for these.
            status: `todo`, `doing`, `succeeded`, `failed`, `cancelled` or `aborted`.
            task: only jobs of this name.
            limit: how many at most.

        Raises:
            AccessDenied: these are not jobs about the principal, who is not the service.
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
            job_id: as it was queued.
            user_id: if it is about this user; the user themselves may ask so.

        Raises:
            JobNotFound: there is no such job, or none about this user.
            AccessDenied: this is not the principal, who is not the service.
        """
        given = {"user_id": user_id, "job_id": job_id}
        query = Query(
            _SQL["job"], given, lambda rows: [Job.model_validate(row._asdict()) for row in rows]
        )
        if not (found := await self._ask(user_id, query)):
            raise JobNotFound(
                f"There is no job {job_id}; jobs are kept for {KEPT_HOURS} hours after they ended."
            )
        [job] = found
        return job

    async def counts(self) -> dict[str, dict[str, int]]:
        """Return how many jobs there are of each task, by status.

        Raises:
            AccessDenied: the principal is not the service.
        """
        found: dict[str, dict[str, int]] = {}
        for row in await self._ask(None, Query(_SQL["counts"], {}, lambda rows: rows)):
            found.setdefault(row.task, {})[row.status] = row.jobs
        return found

    async def queue(self, task: str, **arguments: Any) -> int:
        """Queue a job by hand, to be done as soon as a worker is free, and return its id.

        Args:
            task: what to do.
            arguments: what it is about; JSON.

        Raises:
            InvalidInput: there is no such task.
            AccessDenied: the principal is not the service.
        """
        if task not in self._tasks:
            raise InvalidInput(
                f"There is no task {task!r}; there are {', '.join(sorted(self._tasks))}."
            )
        await self._ask(None, Query(_SQL["allowed"]))
        return await self._app.configure_task(task).defer_async(**arguments)

    async def retry(self, job_id: int, *, dry_run: bool = False) -> None:
        """Have a job that failed tried again, as soon as a worker is free; a dry run only looks whether it may be.

        Raises:
            JobNotFound: there is no such job, or it did not fail.
            AccessDenied: the principal is not the service.
        """
        failed = Query(_SQL["is_failed"], {"job_id": job_id}, bool)
        if not await self._ask(None, failed):
            raise JobNotFound(
                f"There is no failed job {job_id}: `jobs.list(status='failed')` has them."
            )
        if not dry_run:
            await self._app.job_manager.retry_job_by_id_async(job_id, retry_at=datetime.now(UTC))
