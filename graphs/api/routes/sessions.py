"""Routes of sessions and their turns."""

from typing import Annotated

from fastapi import Path

from graphs.api import examples
from graphs.api.examples import answer
from graphs.api.models import ShortName, TurnView
from graphs.api.routes.common import (
    AS_OF,
    Cursor,
    MineDep,
    PageLimit,
    answered,
    routes,
)
from graphs.memory.contract import Session
from graphs.memory.values.paging import Page

router = routes("sessions", "/sessions")

SessionId = Annotated[ShortName, Path()]  # may have slashes: clients choose the name


@router.get(
    "", responses=answered(200, answer(examples.page(examples.SESSION_VIEW), "A page of sessions."))
)
async def list_sessions(
    mine: MineDep, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[Session]:
    """List sessions. The most recently active comes first."""
    return await mine.memory.sessions.latest(mine.user_id, cursor=cursor, limit=limit)


@router.get(
    "/{session_id:any}/turns",
    dependencies=[AS_OF],
    responses=answered(200, answer(examples.page(examples.TURN), "A page of turns."), 501),
)
async def list_turns(
    mine: MineDep, session_id: SessionId, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[TurnView]:
    """List the turns of a session, the latest first. An unknown session has none."""
    page = await mine.memory.sessions.turns(mine.user_id, session_id, cursor=cursor, limit=limit)
    return Page(items=[TurnView.of(turn) for turn in page.items], next=page.next)


@router.get(
    "/{session_id:any}", responses=answered(200, answer(examples.SESSION_VIEW, "The session."), 404)
)
async def get_session(mine: MineDep, session_id: SessionId) -> Session:
    """Return a session."""
    return await mine.memory.sessions.get(mine.user_id, session_id)
