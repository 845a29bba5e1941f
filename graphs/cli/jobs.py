"""`graph-memory jobs`: the queue of background jobs, what failed in it, and why."""

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
from graphs.memory.jobs.queue import KEPT_HOURS

STATUSES = ("todo", "doing", "succeeded", "failed", "cancelled", "aborting", "aborted")

_MOST = 10_000

app = typer.Typer(no_args_is_help=True, help="Background jobs: what waits, what failed and why.")

TaskName = Annotated[
    str | None, typer.Option("--task", help="Only jobs of this name, such as extract_facts.")
]


@app.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help=f"Only these: {', '.join(STATUSES)}.")] = None,
    task: TaskName = None,
    user_id: Annotated[
        str | None, typer.Option("--user-id", help="Only jobs about this user.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, the latest first, after how many there are of each task and status."""
    if status is not None and status not in STATUSES:
        fail(f"There is no status {status!r}: it is one of {', '.join(STATUSES)}.", Exit.USAGE)

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
    """Show one job: what it is about, when it is due, and why it failed the last time."""

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
    job_ids: Annotated[list[int] | None, typer.Argument(help="Ids of jobs that failed.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="All that failed, or those of --task.")
    ] = False,
    task: TaskName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Have jobs that failed tried again, as soon as a worker is free."""
    if bool(job_ids) == all_ or (task is not None and not all_):
        fail("Say which: ids of jobs, or --all, with --task for those of one name.", Exit.USAGE)

    async def work() -> list[int]:
        async with as_service() as store:
            ids = list(job_ids or [])
            if all_:
                ids = [
                    job.id for job in await store.jobs.list(status="failed", task=task, limit=_MOST)
                ]
            for job_id in ids:  # one that cannot be is told before any is queued
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
        float, typer.Option(min=0, help="Only those that ended so many hours ago.")
    ] = KEPT_HOURS,
    failed: Annotated[
        bool, typer.Option("--failed", help="Those that failed, too: they cannot be retried then.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete jobs that ended a while ago. The worker does so with those that are done; what failed stays until told."""

    async def work(*, only_count: bool) -> dict[str, int]:
        async with as_service() as store:
            return await store.operations.oversight.purge_jobs(
                hours, failed=failed, dry_run=only_count
            )

    if failed and not (dry_run or yes):
        note(f"Of these jobs {run(work(only_count=True)).get('failed', 0):,} failed.")
        confirm("Delete them, so that they cannot be tried again?", yes)
    counts = run(work(only_count=dry_run))
    if as_json:
        print_json({"dry_run": dry_run, "purged": counts})
    else:
        print_table(("status", "would be deleted" if dry_run else "deleted"), [*counts.items()])


def _minute(at: Any) -> str | None:
    return f"{at:%Y-%m-%d %H:%M}" if at else None
