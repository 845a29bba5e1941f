"""People's conversations, page by page: sessions, and what was said in them."""

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
"""A session, and the id of the user's message in it."""


class StoredTurn(Turn):
    """A turn, and where it comes from."""

    namespace: Namespace = Field(description="Namespace of the memory that holds it.")
    key: str
    agent: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    checkpoint_id: str | None = None


class Sessions:
    """People's sessions. Every method acts as whoever is acting now, and refuses another person's.

    Args:
        access: the way to the database.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def latest(
        self, user_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[Session]:
        """Return a user's sessions, a page at a time: where something happened last comes first.

        One that has no title has what the user said first instead.

        Raises:
            InvalidInput: a cursor or a limit that there is not.
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
            SessionNotFound: there is none for the user.
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
        """Return what was said in a session, a page at a time, the last of it first; nothing if there is no session.

        Raises:
            InvalidInput: a cursor or a limit that there is not.
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {"user_id": user_id, "session_id": session_id, **numbered(cursor, limit)}
        rows = await self._access.ask(
            user_id, Query(_SQL["turns"], given, lambda rows: rows), user_scope(user_id, "turns")
        )
        page = page_of(rows, limit, lambda row: (None, row.id))
        return Page(items=_turns(page.items), next=page.next)

    async def exchanges(self, user_id: str, exchanges: Sequence[ExchangeKey]) -> list[StoredTurn]:
        """Return both sides of exchanges, such as those that a fact was taken from, in the order of what was said.

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
