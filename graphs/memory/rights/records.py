"""What the audit log has about a person, for themselves: who changed and who read what, page by page."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.access import Access
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.values.namespaces import Namespace, from_text
from graphs.memory.values.paging import Page, numbered, page_of

_SQL = statements.load("records", __package__)


class Record(BaseModel):
    """One line of the audit log."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int
    at: datetime
    actor: str = Field(description="A user's id, or the role that acted.")
    action: str = Field(
        description="memory.insert, memory.update, memory.delete, memory.read, …, or an event's type."
    )
    namespace: Namespace | None = None
    key: str | None = None
    data: dict[str, Any] | None = None
    thread_id: str | None = None
    run_id: str | None = None


class Records:
    """The audit log, as far as it is about a person. It acts as whoever is acting now, and refuses another person's.

    Args:
        access: the way to the database.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def latest(
        self, user_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[Record]:
        """Return what is recorded about a user, a page at a time, the latest first.

        Reads are recorded some moments after they were made.

        Raises:
            InvalidInput: a cursor or a limit that there is not.
            AccessDenied: the principal is neither this user nor the service.
        """
        found = await self._access.ask(
            user_id,
            Query(_SQL["latest"], {"user_id": user_id, **numbered(cursor, limit)}, _records),
        )
        return page_of(found, limit, lambda record: (record.at, record.id))


def _records(rows: Rows) -> list[Record]:
    return [
        Record.model_validate(
            row._asdict() | {"namespace": from_text(row.namespace) if row.namespace else None}
        )
        for row in rows
    ]
