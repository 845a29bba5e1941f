"""Events of the audit log. Triggers record changes of memories, so that no code can skip them."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from graphs.memory.database import statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.query import Query
from graphs.memory.errors import (
    AccessDenied,
    ContractError,
    EmbeddingFailed,
    GraphMemoryError,
    InvalidValue,
)
from graphs.memory.principal import Principal, current_provenance
from graphs.memory.values.text import cleaned, problem_with, to_json

log = logging.getLogger(__name__)

_SQL = statements.load("events", __package__)

RESERVED = "memory."
"""Prefix of the event types that only triggers of the database record."""


def event(user_id: str | None, event_type: str, data: dict[str, Any]) -> Query[None]:
    """Return the query that logs an event about a user or, with None, about the service.

    Running the same query again changes nothing, because it has an event id.

    Raises:
        ContractError: the type is empty or reserved, or the data is not JSON.
    """
    if not event_type or problem_with(event_type) or event_type.startswith(RESERVED):
        raise ContractError(
            {"event_type": f"must be a non-empty text that does not begin with {RESERVED!r}"}
        )
    try:
        text = to_json(data, "data")
    except InvalidValue as error:
        raise ContractError({error.path: error.problem}) from error
    given = {"user_id": user_id, "event_type": event_type, "data": text, "event_id": uuid4()}
    return Query(_SQL["log_event"], given)


class Reporter:
    """The recorder of failures in the audit log. It never replaces the error that it records.

    Args:
        database: the database of the audit log.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def denials(self, principal: Principal) -> AsyncIterator[None]:
        """Record an `AccessDenied` that the block raises."""
        try:
            yield
        except AccessDenied as error:
            await self.denied(principal, error)
            raise

    async def denied(self, principal: Principal, error: AccessDenied) -> None:
        """Record that a principal was denied access."""
        told = {"about": error.about} if error.about else {"message": str(error)}
        await self._report(principal, "access.denied", error, **told)

    async def embedding_failed(
        self, principal: Principal, model: str, error: EmbeddingFailed
    ) -> None:
        """Record that an embedding model failed."""
        cause = type(error.__cause__).__name__  # its message may quote the text to embed
        await self._report(principal, "embedding.failed", error, model=model, cause=cause)

    async def _report(
        self, principal: Principal, event_type: str, error: GraphMemoryError, **details: str
    ) -> None:
        told = {"error": type(error).__name__} | {
            name: cleaned(text) for name, text in details.items()
        }
        query = event(principal.user_id, event_type, told)
        try:
            await to_the_end(self._database.run(Principal.service(), [query], current_provenance()))
        except GraphMemoryError as unwritten:
            log.warning(
                "A failure could not be recorded in the audit log: %s (%s)",
                told["error"],
                unwritten,
            )
