"""What a migration reads from: a source gives records in batches, and says where it would go on after each."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from graphs.memory.errors import InvalidValue
from graphs.memory.values.namespaces import Address, Namespace


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """What a memory was before, and when."""

    value: Mapping[str, Any]
    valid_from: datetime
    valid_to: datetime
    operation: Literal["update", "delete"] = "update"
    """What ended it."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A memory as it is to lie here."""

    source_id: str
    """What the source calls it."""
    namespace: Namespace
    key: str
    value: Mapping[str, Any]
    fields: Sequence[str] | Literal[False] | None = None
    """What of the value is embedded, as in `aput(index=…)`; None for the store's own choice."""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    expires_at: datetime | None = None
    ttl_minutes: float | None = None
    """By how much a read prolongs its life, if it does."""
    session_id: str | None = None
    run_id: str | None = None
    history: Sequence[SourceVersion] = ()
    vectors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Vectors of the deployment's own embedding model, by field; what has none is embedded."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something of a source that cannot be a memory here."""

    source_id: str
    field: str
    """Which part of it is wrong."""
    problem: str
    raw: Any = None
    """The record as the source has it."""

    @classmethod
    def of(cls, record: SourceRecord, error: InvalidValue) -> "Rejected":
        """Return what is told of a record that cannot be stored."""
        raw = {"namespace": record.namespace, "key": record.key, "value": record.value}
        return cls(record.source_id, error.path, error.problem, raw)


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Records that are stored together."""

    records: Sequence[SourceRecord]
    cursor: str
    """Where the source goes on after them: another one for each batch, and without anything personal."""
    rejected: Sequence[Rejected] = ()


class Source(Protocol):
    """Where memories come from. Whoever opens a source closes it; a migration only reads.

    What cannot be read now, and perhaps later, raises `SourceUnavailable`; what never will, `SourceFailed`.
    """

    @property
    def name(self) -> str:
        """What kind of source it is, as in the command."""

    @property
    def origin(self) -> str:
        """Which one of its kind, without secrets: an unfinished migration from the same one is gone on with."""

    @property
    def options(self) -> Mapping[str, Any]:
        """How it is read, without secrets; what `graph-memory migrate show` tells."""

    async def count(self) -> int | None:
        """Return how many records it has; None if it cannot tell."""

    def batches(self, after: str | None) -> AsyncIterator[RecordBatch]:
        """Yield its records, in an order that is the same whenever it is asked.

        Args:
            after: the cursor of the last batch that was stored; None from the beginning.
        """

    async def ask(self, scope: Namespace, query: str, limit: int, /) -> list[Address] | None:
        """Return what the source finds in a scope, best first, by the addresses here; None if it cannot search."""
