"""A batch of records, stored whole: memories, vectors, history, ledger and checkpoint commit together or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from langgraph.store.base import InvalidNamespaceError, PutOp

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
    """A record that was checked, serialised and embedded, ready to be stored."""

    record: SourceRecord
    value: str
    """As JSON."""
    versions: tuple[str, ...]
    """Its earlier values, as JSON."""
    document: tuple[str, str] | None
    """What the full-text search reads, a label and a text."""
    vectors: dict[str, Vector] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """Its namespace as it is stored."""
        return to_text(self.record.namespace)

    @property
    def user_id(self) -> str | None:
        """Whose it is, if it is a person's."""
        labels = self.record.namespace
        return decode_label(labels[1]) if labels[0] == "users" and len(labels) > 1 else None


Checked = tuple[Prepared, dict[str, str]]
"""A record that can be stored, and its texts by field."""


class Brought(NamedTuple):
    """A memory that was stored."""

    memory_id: int
    prepared: Prepared


async def prepare(
    records: Sequence[SourceRecord], index: Index | None
) -> tuple[list[Prepared], list[Rejected]]:
    """Check records, and embed what has no vector; those that cannot be stored come back with the reason.

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
    """Return the records that can be stored, each with its texts by field, and why the others cannot."""
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
    """A record with the vectors that it came with.

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
    """Refuse what the columns beside the value cannot hold."""
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
                "created_at", "or another time of it lies outside of the years 1 to 9999."
            ) from None


def _fields(record: SourceRecord) -> Any:
    return record.fields if record.fields in (None, False) else list(record.fields or ())


def _vector(index: Index, name: str, numbers: Sequence[float]) -> Vector:
    vector = np.asarray(numbers, dtype=np.float64)
    if vector.shape != (index.dimensions,):
        problem = f"has {vector.size} dimensions, and {index.name} has {index.dimensions}: have it embedded anew"
        raise InvalidValue(f"vectors.{name}", problem)
    if not np.isfinite(vector).all():
        raise InvalidValue(f"vectors.{name}", "has NaN or infinity in it")
    return to_vector(vector)


class Writing:
    """Stores what a migration brings.

    Args:
        database: where to.
        index: how the store embeds, None if it does not.
        model: the embedding model in use.
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
        """Store a batch, and how far the migration is with it; nothing that is there changes.

        Args:
            migration: as it stood before.
            batch: what the source gave.
            prepared: what of it is to be stored.
            rejected: what of it cannot be.
            taken: how many of it have an address that is known to be taken.

        Returns:
            What else was rejected: memories of people who were erased here.

        Raises:
            MigrationConflict: somebody else carries it out, or it has ended.
        """

        async def work(transaction: Transaction) -> list[Rejected]:
            holding = ledger.hold(migration.id, migration.cursor, batch.cursor)
            if not (await transaction.run([holding]))[0]:
                return []
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
        """Store records whose address is free, with their vectors and their history, and note them in the ledger."""
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
        """Ask for the vectors of memories that have none yet."""
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
        """Which of some records are from before their person was erased here: they stay erased."""
        users = sorted({one.user_id for one in prepared if one.user_id})
        query: Query[dict[str, datetime]] = Query(
            STATEMENTS["erased"],
            {"users": users},
            lambda rows: {users[row.n - 1]: row.at for row in rows},
        )
        [erased] = await transaction.run([query])
        problem = "is of a person who was erased here since then, and stays erased"
        return {
            n: Rejected(one.record.source_id, "user_id", problem)
            for n, one in enumerate(prepared)
            if one.user_id in erased
            and (_written(one.record) or erased[one.user_id]) <= erased[one.user_id]
        }


def in_columns(prepared: Sequence[Prepared], index: Index | None) -> dict[str, Any]:
    """Return records as statements take them: a list for each column."""
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
    """Return records by address; of two at one address, the first."""
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
    """Ask which of some records have an address that is taken."""
    given = {
        "namespaces": [one.namespace for one in prepared],
        "keys": [one.record.key for one in prepared],
    }
    return Query(STATEMENTS["present"], given, lambda rows: {row.n - 1 for row in rows})


def has_expired(record: SourceRecord) -> bool:
    """Return whether nobody would read a record any more."""
    return record.expires_at is not None and record.expires_at <= datetime.now(UTC)


def _written(record: SourceRecord) -> datetime | None:
    return record.updated_at or record.created_at


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
