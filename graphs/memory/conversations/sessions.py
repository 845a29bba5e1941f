"""Conversations of users, page by page: sessions and their turns."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from graphs.memory.access import Access
from graphs.memory.contract import Session, Turn
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import SessionNotFound
from graphs.memory.values.namespaces import Namespace, from_text, user_scope
from graphs.memory.values.paging import (
    Page,
    named,
    numbered,
    page_of,
)

_SQL = statements.load("sessions", __package__)

ExchangeKey = tuple[str, str]
"""The id of a session, and the id of the user's message in it."""


class StoredTurn(Turn):
    """A turn and its provenance."""

    namespace: Namespace = Field(description="Namespace of the memory that holds the text.")
    key: str
    agent: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    checkpoint_id: str | None = None


class Sessions:
    """Sessions of users. Every method acts as the current principal, and refuses other users' data.

    Args:
        access: checks the principal and runs the queries.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def latest(
        self, user_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[Session]:
        """Return a page of a user's sessions, the latest activity first.

        A session without a title has the first words of the user instead.

        Raises:
            InvalidInput: the cursor is not from an earlier page, or the limit is out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        query = Query(
            _SQL["latest"], {"user_id": user_id, "only": None, **named(cursor, limit)}, _sessions
        )
        found = await self._access.ask(user_id, query)
        return page_of(found, limit, lambda session: (session.last_activity_at, session.id))

    async def get(self, user_id: str, session_id: str) -> Session:
        """Return a session.

        Raises:
            SessionNotFound: the user has no session with this id.
            AccessDenied: the principal is neither this user nor the service.
        """
        query = Query(
            _SQL["latest"], {"user_id": user_id, "only": [session_id], **named(None, 1)}, _sessions
        )
        if not (found := await self._access.ask(user_id, query)):
            raise SessionNotFound(session_id)
        [session] = found
        return session

    async def turns(
        self, user_id: str, session_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[StoredTurn]:
        """Return a page of the turns of a session, the latest first; empty if there is no session.

        Raises:
            InvalidInput: the cursor is not from an earlier page, or the limit is out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {"user_id": user_id, "session_id": session_id, **numbered(cursor, limit)}
        rows = await self._access.ask(
            user_id,
            Query(_SQL["turns"], given, lambda rows: rows),
            user_scope(user_id, "turns"),
            past=True,
        )
        page = page_of(rows, limit, lambda row: (None, row.id))
        return Page(items=_turns(page.items), next=page.next)

    async def exchanges(self, user_id: str, exchanges: Sequence[ExchangeKey]) -> list[StoredTurn]:
        """Return both turns of exchanges, in the order in which they were stored.

        Use it to show the turns that a fact was extracted from.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {
            "user_id": user_id,
            "sessions": [session_id for session_id, _ in exchanges],
            "exchanges": [exchange for _, exchange in exchanges],
        }
        found: list[StoredTurn] = await self._access.ask(
            user_id, Query(_SQL["exchanges"], given, _turns), user_scope(user_id, "turns")
        )
        return found


def _sessions(rows: Rows) -> list[Session]:
    return [Session.model_validate(row._asdict()) for row in rows]


def _turns(rows: Sequence[Any]) -> list[StoredTurn]:
    fields = StoredTurn.model_fields.keys() - {"namespace"}
    return [
        StoredTurn(
            namespace=from_text(row.namespace), **{name: getattr(row, name) for name in fields}
        )
        for row in rows
    ]
