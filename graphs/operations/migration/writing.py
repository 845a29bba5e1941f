"""Storage of a batch in one transaction: memories, vectors, history, ledger and cursor."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from langgraph.store.base import InvalidNamespaceError, PutOp

from graphs.memory.contract import is_future
from graphs.memory.database.database import Database
from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.query import Query
from graphs.memory.database.transaction import Transaction
from graphs.memory.database.vectors import Model, Vector, to_vector
from graphs.memory.errors import InvalidValue
from graphs.memory.principal import Principal
from graphs.memory.search.embeddings import Index
from graphs.memory.store.batch import check as check_operation
from graphs.memory.values.namespaces import MAX_KEY_BYTES, decode_label, to_text
from graphs.memory.values.text import problem_with, to_json
from graphs.operations.migration import ledger
from graphs.operations.migration.ledger import STATEMENTS, Migration
from graphs.operations.migration.source import RecordBatch, Rejected, SourceRecord


@dataclass(frozen=True, slots=True)
class Prepared:
    """A record that was checked, serialised and embedded, and is ready to be stored."""

    record: SourceRecord
    value: str
    """The value as JSON."""
    versions: tuple[str, ...]
    """The earlier values as JSON."""
    document: tuple[str, str] | None
    """Label and text for the full-text search."""
    vectors: dict[str, Vector] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """Return the namespace as it is stored."""
        return to_text(self.record.namespace)

    @property
    def user_id(self) -> str | None:
        """Return the id of the owning user; None if the owner is not a user."""
        labels = self.record.namespace
        return decode_label(labels[1]) if labels[0] == "users" and len(labels) > 1 else None


Checked = tuple[Prepared, dict[str, str]]
"""A record that can be stored, and its texts to embed by field."""


class Brought(NamedTuple):
    """A memory that was stored."""

    memory_id: int
    prepared: Prepared


async def prepare(
    records: Sequence[SourceRecord], index: Index | None
) -> tuple[list[Prepared], list[Rejected]]:
    """Check records and embed missing vectors. Return the rejected ones with their reasons.

    Raises:
        EmbeddingFailed: the embedding model did not answer.
    """
    checked, rejected = check(records, index)
    return await embed(checked, index), rejected


async def embed(checked: Sequence[Checked], index: Index | None) -> list[Prepared]:
    """Return records with the vectors that they lack.

    Raises:
        EmbeddingFailed: the embedding model did not answer.
    """
    missing = [
        text for one, texts in checked for name, text in texts.items() if name not in one.vectors
    ]
    made = await index.embed(missing) if index and missing else {}
    return [_embedded(one, texts, made) for one, texts in checked]


def check(
    records: Sequence[SourceRecord], index: Index | None
) -> tuple[list[Checked], list[Rejected]]:
    """Return the records that can be stored, and rejections of the others."""
    checked: list[Checked] = []
    rejected: list[Rejected] = []
    for record in records:
        try:
            checked.append(_checked(record, index))
        except InvalidValue as error:
            rejected.append(Rejected.of(record, error))
        except InvalidNamespaceError as error:
            rejected.append(Rejected.of(record, InvalidValue("namespace", str(error))))
    return checked, rejected


def _embedded(one: Prepared, texts: dict[str, str], made: dict[str, Vector]) -> Prepared:
    return replace(
        one, vectors={name: one.vectors.get(name) or made[text] for name, text in texts.items()}
    )


def _checked(record: SourceRecord, index: Index | None) -> Checked:
    """Return a record with the vectors that it came with.

    Raises:
        InvalidValue: it cannot be stored.
    """
    op = PutOp(
        record.namespace, record.key, dict(record.value), _fields(record), record.ttl_minutes
    )
    value = check_operation(op) or ""
    _check_origin(record)
    texts = index.texts(op) if index else {}
    given = {
        name: _vector(index, name, record.vectors[name])
        for name in texts
        if index and name in record.vectors
    }
    document = index.document(op, texts) if index else None
    versions = tuple(to_json(version.value, "history") for version in record.history)
    return Prepared(record, value, versions, document, given), texts


def _check_origin(record: SourceRecord) -> None:
    """Check the parts that are stored in columns of their own."""
    for name in ("source_id", "session_id", "run_id"):
        text = getattr(record, name) or ""
        if problem := problem_with(text):
            raise InvalidValue(name, problem)
        if len(text.encode()) > MAX_KEY_BYTES:
            raise InvalidValue(name, f"is longer than {MAX_KEY_BYTES} bytes.")
    spans = [
        moment for version in record.history for moment in (version.valid_from, version.valid_to)
    ]
    for moment in (record.created_at, record.updated_at, record.expires_at, *spans):
        try:
            _ = moment and moment.astimezone(UTC)
        except OverflowError:
            raise InvalidValue(
                "created_at", "or another of its times is outside of the years 1 to 9999."
            ) from None
    written = (("created_at", record.created_at), ("updated_at", record.updated_at))
    for name, moment in (*written, *(("history", moment) for moment in spans)):
        if moment and is_future(moment):
            raise InvalidValue(name, f"is {moment.isoformat()}, which lies in the future.")


def _fields(record: SourceRecord) -> Any:
    return record.fields if record.fields in (None, False) else list(record.fields or ())


def _vector(index: Index, name: str, numbers: Sequence[float]) -> Vector:
    vector = np.asarray(numbers, dtype=np.float64)
    if vector.shape != (index.dimensions,):
        problem = (
            f"has {vector.size} dimensions, but {index.name} has {index.dimensions}: "
            "leave the vector out to embed the text again"
        )
        raise InvalidValue(f"vectors.{name}", problem)
    if not np.isfinite(vector).all():
        raise InvalidValue(f"vectors.{name}", "contains NaN or infinity")
    return to_vector(vector)


class Writing:
    """Stores the records of a migration.

    Args:
        database: the store's database.
        index: the store's embedding configuration; None for a store without vector search.
        model: the active embedding model.
    """

    def __init__(self, database: Database, index: Index | None, model: Model | None) -> None:
        self._database = database
        self._index = index
        self._model = model

    async def store(
        self,
        migration: Migration,
        batch: RecordBatch,
        prepared: Sequence[Prepared],
        rejected: Sequence[Rejected],
        taken: int = 0,
    ) -> list[Rejected]:
        """Store a batch and the new cursor. Existing memories are not changed.

        Args:
            migration: the migration before this batch.
            batch: the batch from the source.
            prepared: the records to store.
            rejected: the records that cannot be stored.
            taken: number of other records whose address is known to be taken.

        Returns:
            Further rejections: memories of users who were erased here.

        Raises:
            MigrationConflict: another process runs the migration, or it has ended.
        """

        async def work(transaction: Transaction) -> list[Rejected]:
            holding = ledger.hold(migration.id, migration.cursor, batch.cursor)
            if not (await transaction.run([holding]))[0]:
                return []
            # Counted in the same transaction as the memories, so that a retry never counts twice.
            of_erased = await self.of_erased(transaction, prepared)
            wanted = first_ones(one for n, one in enumerate(prepared) if n not in of_erased)
            living = [one for one in wanted if not has_expired(one.record)]
            brought = await self.bring(transaction, migration, living)
            counts = {
                "brought": len(brought),
                "expired": len(wanted) - len(living),
                "rejected": len(rejected) + len(of_erased),
            }
            counts["present"] = taken + len(prepared) + len(rejected) - sum(counts.values())
            queries = [ledger.advance(migration.id, batch.cursor, counts)]
            if brought:
                queries.append(ledger.record(migration, "memory.imported", len(brought)))
            await transaction.run(queries)
            return [*of_erased.values()]

        return await self._database.transaction(Principal.owner(), work)

    async def bring(
        self, transaction: Transaction, migration: Migration, prepared: Sequence[Prepared]
    ) -> list[Brought]:
        """Store records at free addresses with vectors and history, and add them to the ledger."""
        if not prepared:
            return []
        _, found = await transaction.run([ledger.silence(migration.id), self._bring(prepared)])
        brought: list[Brought] = found
        if brought:
            noted = {
                "id": str(migration.id),
                "memories": [one.memory_id for one in brought],
                "sources": [one.prepared.record.source_id for one in brought],
            }
            queries = [*self.vectors(brought), *_history(brought), Query(STATEMENTS["note"], noted)]
            await transaction.run(queries)
        return brought

    def _bring(self, prepared: Sequence[Prepared]) -> Query[list[Brought]]:
        by_address = {(one.namespace, one.record.key): one for one in prepared}
        given = in_columns(prepared, self._index)
        return Query(
            STATEMENTS["bring"],
            given,
            lambda rows: [Brought(row.id, by_address[row.namespace, row.key]) for row in rows],
        )

    def vectors(self, brought: Sequence[Brought]) -> list[Query[None]]:
        """Build the queries that store the vectors of memories that have none yet."""
        found = [
            (one, name, vector) for one in brought for name, vector in one.prepared.vectors.items()
        ]
        if not (found and self._model):
            return []
        given = {
            "model": self._model.id,
            "namespaces": [one.prepared.namespace for one, _, _ in found],
            "keys": [one.prepared.record.key for one, _, _ in found],
            "fields": [name for _, name, _ in found],
            "memories": [one.memory_id for one, _, _ in found],
            "embeddings": self._model.encode([vector for _, _, vector in found]),
        }
        return [Query(STATEMENTS["bring_vectors"], given)]

    async def of_erased(
        self, transaction: Transaction, prepared: Sequence[Prepared]
    ) -> dict[int, Rejected]:
        """Return by position the rejections of records older than their user's erasure."""
        users = sorted({one.user_id for one in prepared if one.user_id})
        query: Query[dict[str, datetime]] = Query(
            STATEMENTS["erased"],
            {"users": users},
            lambda rows: {users[row.n - 1]: row.at for row in rows},
        )
        [erased] = await transaction.run([query])
        problem = "belongs to a user who was erased here since then, and stays erased"
        return {
            n: Rejected(one.record.source_id, "user_id", problem)
            for n, one in enumerate(prepared)
            if one.user_id in erased
            and (_written(one.record) or erased[one.user_id]) <= erased[one.user_id]
        }


def in_columns(prepared: Sequence[Prepared], index: Index | None) -> dict[str, Any]:
    """Return records as query parameters: one list per column."""
    records = [one.record for one in prepared]
    return {
        "namespaces": [one.namespace for one in prepared],
        "keys": [record.key for record in records],
        "sources": [record.source_id for record in records],
        "values": [one.value for one in prepared],
        "labels": [one.document and one.document[0] for one in prepared],
        "texts": [one.document and one.document[1] for one in prepared],
        "sessions": [record.session_id for record in records],
        "runs": [record.run_id for record in records],
        "created": [_text(record.created_at) for record in records],
        "updated": [_text(record.updated_at) for record in records],
        "expires": [_text(record.expires_at) for record in records],
        "ttls": [record.ttl_minutes for record in records],
        "configuration": index.configuration if index else "simple",
    }


def first_ones(prepared: Iterable[Prepared]) -> list[Prepared]:
    """Return records without duplicate addresses; the first one of each address counts."""
    found: dict[tuple[str, str], Prepared] = {}
    for one in prepared:
        found.setdefault((one.namespace, one.record.key), one)
    return [*found.values()]


def _history(brought: Sequence[Brought]) -> list[Query[None]]:
    found = [
        (one.memory_id, version, value)
        for one in brought
        for version, value in zip(one.prepared.record.history, one.prepared.versions, strict=True)
    ]
    if not found:
        return []
    given = {
        "memories": [memory_id for memory_id, _, _ in found],
        "operations": [version.operation for _, version, _ in found],
        "values": [value for _, _, value in found],
        "froms": [_text(version.valid_from) for _, version, _ in found],
        "tos": [_text(version.valid_to) for _, version, _ in found],
    }
    return [Query(STATEMENTS["bring_history"], given, part=SchemaPart.HISTORY)]


def present(prepared: Sequence[Prepared]) -> Query[set[int]]:
    """Build the query for the records whose address is taken, by position."""
    given = {
        "namespaces": [one.namespace for one in prepared],
        "keys": [one.record.key for one in prepared],
    }
    return Query(STATEMENTS["present"], given, lambda rows: {row.n - 1 for row in rows})


def has_expired(record: SourceRecord) -> bool:
    """Return whether a record has expired, so that nobody could read it."""
    return record.expires_at is not None and record.expires_at <= datetime.now(UTC)


def _written(record: SourceRecord) -> datetime | None:
    return record.updated_at or record.created_at


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
