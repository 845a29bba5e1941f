"""`graph-memory jobs`: the queue of background jobs, failed jobs, and their errors."""

import json
from typing import Annotated, Any

import typer

from graphs.cli.asking import Yes, confirm
from graphs.cli.ending import (
    Exit,
    as_service,
    fail,
    run,
)
from graphs.cli.memory_views import show
from graphs.cli.output import (
    AsJson,
    DryRun,
    note,
    print_json,
    print_table,
)
from graphs.memory.contract import Job
from graphs.memory.jobs.worker import KEPT_HOURS
from graphs.operations.operations import Operations

STATUSES = ("todo", "doing", "succeeded", "failed", "cancelled", "aborting", "aborted")

_MOST = 10_000
"""Most failed jobs that `retry --all` queues again."""

app = typer.Typer(
    no_args_is_help=True, help="Background jobs: waiting and failed ones, and their errors."
)

TaskName = Annotated[
    str | None, typer.Option("--task", help="Only jobs of this task, such as extract_facts.")
]


@app.command("list")
def list_(
    status: Annotated[
        str | None, typer.Option(help=f"Only jobs with this status: {', '.join(STATUSES)}.")
    ] = None,
    task: TaskName = None,
    user_id: Annotated[
        str | None, typer.Option("--user-id", help="Only jobs about this user.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to list.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, the latest first, after the number of jobs per task and status."""
    if status is not None and status not in STATUSES:
        fail(f"There is no status {status!r}: choose one of {', '.join(STATUSES)}.", Exit.USAGE)

    async def work() -> tuple[dict[str, dict[str, int]], list[Job]]:
        async with as_service() as store:
            found = await store.jobs.list(user_id=user_id, status=status, task=task, limit=limit)
            return await store.jobs.counts(), found

    counts, found = run(work())
    if as_json:
        print_json({"counts": counts, "jobs": found})
        return
    if not counts:
        show("There are no jobs.")
        return
    present = [name for name in STATUSES if any(name in of_task for of_task in counts.values())]
    print_table(
        ("task", *present),
        [(name, *(of.get(each) for each in present)) for name, of in counts.items()],
    )
    rows = [
        (job.id, job.task, job.status, job.attempts, _minute(job.changed_at), job.error)
        for job in found
    ]
    print_table(("id", "task", "status", "attempts", "changed", "error"), rows)


@app.command("show")
def show_(
    job_id: Annotated[int, typer.Argument(help="The job's id.")], as_json: AsJson = False
) -> None:
    """Show one job: its arguments, when it is due, and its last error."""

    async def work() -> Job:
        async with as_service() as store:
            return await store.jobs.get(job_id)

    job = run(work())
    if as_json:
        print_json(job)
        return
    told = job.model_dump(mode="json", exclude_none=True) | {
        "args": json.dumps(job.args, ensure_ascii=False)
    }
    show(*(f"{name:<12}  {value}" for name, value in told.items()))


@app.command()
def retry(
    job_ids: Annotated[list[int] | None, typer.Argument(help="Ids of failed jobs.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="All failed jobs, or those of --task.")
    ] = False,
    task: TaskName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Queue failed jobs again; a worker runs them as soon as one is free."""
    if bool(job_ids) == all_ or (task is not None and not all_):
        fail("Give ids of jobs, or --all, with --task for the jobs of one task.", Exit.USAGE)

    async def work() -> list[int]:
        async with as_service() as store:
            ids = list(job_ids or [])
            if all_:
                ids = [
                    job.id for job in await store.jobs.list(status="failed", task=task, limit=_MOST)
                ]
            for job_id in ids:  # refuse all of them before any is queued
                await store.jobs.retry(job_id, dry_run=True)
            for job_id in [] if dry_run else ids:
                await store.jobs.retry(job_id)
            return ids

    queued = run(work())
    if as_json:
        print_json({"dry_run": dry_run, "queued": queued})
    else:
        show(f"{len(queued):,} {'would be queued' if dry_run else 'queued'} again.")


@app.command()
def purge(
    hours: Annotated[
        float, typer.Option(min=0, help="Only jobs that ended at least so many hours ago.")
    ] = KEPT_HOURS,
    failed: Annotated[
        bool, typer.Option("--failed", help="Delete failed jobs, too: they cannot be retried then.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete jobs that ended a while ago; failed ones only with --failed.

    Workers delete jobs that succeeded by themselves.
    """

    async def work(*, only_count: bool) -> dict[str, int]:
        async with as_service() as store:
            return await Operations(store).oversight.purge_jobs(
                hours, failed=failed, dry_run=only_count
            )

    if failed and not (dry_run or yes):
        note(f"{run(work(only_count=True)).get('failed', 0):,} of these jobs failed.")
        confirm("Delete them? They cannot be retried then.", yes)
    counts = run(work(only_count=dry_run))
    if as_json:
        print_json({"dry_run": dry_run, "purged": counts})
    else:
        print_table(("status", "would be deleted" if dry_run else "deleted"), [*counts.items()])


def _minute(at: Any) -> str | None:
    return f"{at:%Y-%m-%d %H:%M}" if at else None
