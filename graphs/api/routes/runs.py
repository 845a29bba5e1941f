"""Routes of runs: those of a conversation, what each wrote, undo and redo."""

from typing import Annotated

from fastapi import Path, Query

from graphs.api import examples
from graphs.api.examples import answer
from graphs.api.models import MemoryView, ShortName
from graphs.api.routes.common import Cursor, MineDep, NameQuery, PageLimit, answered, routes
from graphs.api.routes.recall import with_contents
from graphs.api.run_models import RunView, SettledView
from graphs.memory.errors import RunNotFound
from graphs.memory.timeline.runs import Run
from graphs.memory.values.paging import Page

router = routes("runs", "/runs")

RunId = Annotated[ShortName, Path()]
DryRun = Annotated[bool, Query(description="Change nothing, and return what would change.")]


@router.get(
    "",
    responses=answered(
        200, answer(examples.page(examples.RUN_ON_ITS_LINE), "A page of runs, the latest first.")
    ),
)
async def list_runs(
    mine: MineDep,
    session_id: NameQuery = None,
    thread_id: NameQuery = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[Run]:
    """List runs that began to read memory or wrote it, of one session or thread if one is named.

    `parent_run` makes a tree of a session's runs. `is_head` marks the run that it goes on from.
    """
    return await mine.memory.runs.list(
        mine.user_id, session_id=session_id, thread_id=thread_id, cursor=cursor, limit=limit
    )


@router.get("/{run_id}", responses=answered(200, answer(examples.RUN, "What the run did.")))
async def get_run(mine: MineDep, run_id: RunId) -> RunView:
    """Return what a run wrote and recalled. An unknown run, or another user's, has neither."""
    written = await mine.memory.memories.written_by(mine.user_id, run_id)
    receipts = await mine.memory.recall_receipts(mine.user_id, run_id=run_id, limit=100)
    try:
        on_its_line = await mine.memory.runs.get(mine.user_id, run_id)
    except RunNotFound:
        on_its_line = None
    return RunView(
        run_id=run_id,
        run=on_its_line,
        written=[MemoryView.of(memory) for memory in written],
        set_aside=[*await mine.memory.runs.set_aside(mine.user_id, run_id)],
        recalled=await with_contents(mine, receipts),
    )


@router.post(
    "/{run_id}/undo", responses=answered(200, answer(examples.SETTLED, "What changed."), 404)
)
async def undo_run(mine: MineDep, run_id: RunId, dry_run: DryRun = False) -> SettledView:
    """Undo what a run wrote to memory, as if it had never been.

    What others wrote later stays, and is listed. Undoing again changes nothing.
    """
    return SettledView.of(await mine.memory.runs.undo(mine.user_id, run_id, dry_run=dry_run))


@router.post(
    "/{run_id}/redo", responses=answered(200, answer(examples.SETTLED, "What changed."), 404)
)
async def redo_run(mine: MineDep, run_id: RunId, dry_run: DryRun = False) -> SettledView:
    """Keep a run again that was undone or left. What others wrote later stays, and is listed."""
    return SettledView.of(await mine.memory.runs.redo(mine.user_id, run_id, dry_run=dry_run))
