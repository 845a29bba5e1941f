"""`graph-memory runs`: the runs of a user's conversations, and undo and redo of their memory.

They act as the service, on behalf of `--user-id`.
"""

from typing import Annotated, Any, Literal

import typer

from graphs.cli.asking import UserId, whose
from graphs.cli.ending import as_service, run
from graphs.cli.memory_views import show
from graphs.cli.output import AsJson, DryRun, note, print_json, print_table
from graphs.memory.timeline.runs import Change, Outcome, Run, Settled
from graphs.memory.values.ids import to_id
from graphs.memory.values.paging import MOST

app = typer.Typer(
    no_args_is_help=True, help="Runs of conversations: what each wrote to memory, undo and redo."
)

RunId = Annotated[str, typer.Argument(help="The run's id, as `runs list` shows it.")]

_SAID: dict[Outcome, str] = {
    "removed": "removed",
    "restored": "restored",
    "brought_back": "brought back",
    "left": "left: written again later",
    "refused": "refused: the user may not write there today",
    "lost": "lost: no history has the value before",
}


@app.command("list")
def list_(
    user_id: UserId = None,
    thread_id: Annotated[
        str | None, typer.Option("--thread-id", help="Only runs of this thread.")
    ] = None,
    session_id: Annotated[
        str | None, typer.Option("--session-id", help="Only runs of this session.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Most runs to list.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List a user's runs, the latest first. The head is where a conversation goes on from."""

    async def work() -> list[Run]:
        user = await whose(user_id)
        async with as_service() as store:
            page = await store.runs.list(
                user, thread_id=thread_id, session_id=session_id, limit=limit
            )
            return page.items

    found = run(work())
    if as_json:
        print_json(found)
        return
    if not found:
        note("There are no runs.")
        return
    rows = [
        (
            each.run_id,
            f"{each.status}, head" if each.is_head else each.status,
            each.agent,
            f"{each.began_at:%Y-%m-%d %H:%M:%S}",
            each.memories,
            each.parent_run,
        )
        for each in found
    ]
    print_table(("run", "status", "agent", "began", "memories", "goes on from"), rows)


@app.command()
def undo(
    run_id: RunId, user_id: UserId = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Undo what a run wrote to memory, as if it had never been. `runs redo` takes that back.

    What others wrote later stays, and is listed.
    """
    _settle("undo", run_id, user_id, dry_run, as_json)


@app.command()
def redo(
    run_id: RunId, user_id: UserId = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Keep a run again that was undone or left. What others wrote later stays, and is listed."""
    _settle("redo", run_id, user_id, dry_run, as_json)


def _settle(
    way: Literal["undo", "redo"], run_id: str, user_id: str | None, dry_run: bool, as_json: bool
) -> None:
    async def work() -> Settled:
        user = await whose(user_id)
        async with as_service() as store:
            settle = store.runs.undo if way == "undo" else store.runs.redo
            return await settle(user, run_id, dry_run=dry_run)

    changes = run(work()).changes
    if as_json:
        print_json({"dry_run": dry_run, "changes": [_as_json(change) for change in changes]})
        return
    for change in changes:
        show(f"{_SAID[change.outcome]}  id {to_id(change.namespace, change.key)}")
        if change.before != change.after:
            show(*[f"  - {change.before}"] if change.before else [])
            show(*[f"  + {change.after}"] if change.after else [])
    if not changes:
        note("No memory is concerned.")
    elif dry_run:
        note("Nothing was changed.")


def _as_json(change: Change) -> dict[str, Any]:
    return {"id": to_id(change.namespace, change.key), **change.model_dump(mode="json")}
