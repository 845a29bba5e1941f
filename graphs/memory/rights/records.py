"""Audit records about a user, for that user: who changed and who read which memory."""

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
    """One record of the audit log."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int
    at: datetime
    actor: str = Field(description="Id of the user who acted, or the role.")
    action: str = Field(
        description="memory.insert, memory.update, memory.delete, memory.read, …, or the type of "
        "an event."
    )
    namespace: Namespace | None = None
    key: str | None = None
    data: dict[str, Any] | None = None
    thread_id: str | None = None
    run_id: str | None = None


class Records:
    """The records of the audit log about a user.

    Every method acts as the current principal, and refuses other users' records.

    Args:
        access: checks the principal and runs the queries.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def latest(
        self, user_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[Record]:
        """Return a page of the records about a user, the latest first.

        Reads appear in it about a second after they were made.

        Raises:
            InvalidInput: the cursor is not from an earlier page, or the limit is out of range.
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
