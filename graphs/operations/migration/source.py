"""The interface of a migration's sources, which yield records in batches with a cursor."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from graphs.memory.errors import InvalidValue
from graphs.memory.values.namespaces import Address, Namespace


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """An earlier version of a memory and the time in which it held."""

    value: Mapping[str, Any]
    valid_from: datetime
    valid_to: datetime
    operation: Literal["update", "delete"] = "update"
    """The operation that ended it."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A memory in the form in which it is stored here."""

    source_id: str
    """The id in the source."""
    namespace: Namespace
    key: str
    value: Mapping[str, Any]
    fields: Sequence[str] | Literal[False] | None = None
    """Paths of the value to embed, as in `aput(index=…)`; None for the store's default."""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    expires_at: datetime | None = None
    ttl_minutes: float | None = None
    """Minutes by which a read extends the expiry, if it does."""
    session_id: str | None = None
    run_id: str | None = None
    history: Sequence[SourceVersion] = ()
    vectors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Vectors of the deployment's own embedding model, by field. Missing ones are embedded."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record of a source that cannot be stored as a memory."""

    source_id: str
    field: str
    """The part of the record that is invalid."""
    problem: str
    raw: Any = None
    """The record as the source has it."""

    @classmethod
    def of(cls, record: SourceRecord, error: InvalidValue) -> "Rejected":
        """Return the rejection of a record that cannot be stored."""
        raw = {"namespace": record.namespace, "key": record.key, "value": record.value}
        return cls(record.source_id, error.path, error.problem, raw)


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Records that are stored together."""

    records: Sequence[SourceRecord]
    cursor: str
    """The source's position after these records.

    Unique for each batch, and free of personal data.
    """
    rejected: Sequence[Rejected] = ()


class Source(Protocol):
    """A source of memories. A migration only reads from it; the code that opened it closes it.

    Raise `SourceUnavailable` for failures that may pass, `SourceFailed` for all others.
    """

    @property
    def name(self) -> str:
        """Return the kind of source, as in the command."""

    @property
    def origin(self) -> str:
        """Return an identifier of this source, without secrets.

        An unfinished migration with the same origin is resumed.
        """

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the options of reading, without secrets; shown by `graph-memory migrate show`."""

    async def count(self) -> int | None:
        """Return the number of records; None if the source cannot count."""

    def batches(self, after: str | None) -> AsyncIterator[RecordBatch]:
        """Yield the records in an order that never changes.

        Args:
            after: cursor of the last batch that was stored; None to begin at the start.
        """

    async def ask(self, scope: Namespace, query: str, limit: int, /) -> list[Address] | None:
        """Search a scope; return addresses in this store, best first. None if it cannot search."""
