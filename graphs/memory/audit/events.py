"""Events of the audit log. Triggers record changes of memories, so that no code can skip them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from graphs.memory.audit.counting import CountingLog
from graphs.memory.database import statements
from graphs.memory.database.database import Database, PrincipalQueries
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

_SQL = statements.load("events", __package__)

RESERVED = "memory."
"""Prefix of the event types that only triggers of the database record."""


def event(
    user_id: str | None, event_type: str, data: dict[str, Any], event_id: UUID | None = None
) -> Query[None]:
    """Return the query that logs an event about a user or, with None, about the service.

    Running the same query again changes nothing, because it has an event id: the given one or a
    new one.

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
    given = {
        "user_id": user_id,
        "event_type": event_type,
        "data": text,
        "event_id": event_id or uuid4(),
    }
    return Query(_SQL["log_event"], given)


@dataclass(frozen=True, slots=True)
class _Failure:
    """The key of a record: failures of one kind by one principal. The first one is described."""

    principal: Principal
    event_type: str
    details: dict[str, str] = field(compare=False)
    provenance: dict[str, str] = field(compare=False, default_factory=current_provenance)
    event_id: UUID = field(compare=False, default_factory=uuid4)


class Reporter(CountingLog[_Failure]):
    """The recorder of failures in the audit log.

    Failures of one kind by one principal within a second become one record with their `count`, so
    that a caller who is refused again and again does not fill a log that nobody may shorten.

    Args:
        database: the database of the audit log.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database, "records of failures")

    @contextmanager
    def denials(self, principal: Principal) -> Iterator[None]:
        """Record an `AccessDenied` that the block raises."""
        try:
            yield
        except AccessDenied as error:
            self.denied(principal, error)
            raise

    def denied(self, principal: Principal, error: AccessDenied) -> None:
        """Record soon that a principal was denied access."""
        told = {"about": error.about} if error.about else {"message": str(error)}
        self._note(principal, "access.denied", error, **told)

    def embedding_failed(self, principal: Principal, model: str, error: EmbeddingFailed) -> None:
        """Record soon that an embedding model failed."""
        cause = type(error.__cause__).__name__  # its message may quote the text to embed
        self._note(principal, "embedding.failed", error, model=model, cause=cause)

    def _note(
        self, principal: Principal, event_type: str, error: GraphMemoryError, **details: str
    ) -> None:
        told = {name: cleaned(text) for name, text in details.items()}
        failure = _Failure(principal, event_type, {"error": type(error).__name__, **told})
        self._counts(failure)["count"] += 1

    def _parts(
        self, noted: Mapping[_Failure, Counter[str]], seconds: float
    ) -> Sequence[PrincipalQueries]:
        return [
            PrincipalQueries(
                Principal.service(), [_late(failure, counts, seconds)], failure.provenance
            )
            for failure, counts in noted.items()
        ]


def _late(failure: _Failure, counts: Counter[str], seconds: float) -> Query[None]:
    """Return the query that logs a failure of some seconds ago."""
    told = event(
        failure.principal.user_id,
        failure.event_type,
        {**failure.details, **counts},
        failure.event_id,
    )
    return Query(_SQL["log_late_event"], {**told.parameters, "seconds": seconds})
