"""Following a source: changes made there during a migration are applied here, round by round."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from graphs.memory.database import statements
from graphs.memory.database.database import Database
from graphs.memory.database.query import Query
from graphs.memory.database.transaction import Transaction
from graphs.memory.errors import InvalidValue
from graphs.memory.principal import Principal
from graphs.memory.search.embeddings import Index
from graphs.memory.values.namespaces import to_text
from graphs.operations.migration import ledger
from graphs.operations.migration.langgraph_store import LangGraphStore, source_id
from graphs.operations.migration.langgraph_tables import SourceAddress
from graphs.operations.migration.ledger import Migration
from graphs.operations.migration.source import RecordBatch, Rejected
from graphs.operations.migration.writing import (
    Brought,
    Prepared,
    Writing,
    check,
    has_expired,
    in_columns,
    prepare,
)

_SQL = statements.load("following", __package__)

_TOGETHER = 500
"""Changes applied in one round."""


class Following:
    """Applies changes of the source to this store.

    A round reads changes, then the current state of the changed items, stores it, and only then
    deletes the changes from the queue. A round commits only if no other round has since it began
    (each round sets a new cursor). So an older state never overwrites a newer one, with any number
    of followers and after any crash.

    Args:
        database: the store's database.
        index: the store's embedding configuration; None for a store without vector search.
        writing: stores new records.
        source: the followed store.
    """

    def __init__(
        self, database: Database, index: Index | None, writing: Writing, source: LangGraphStore
    ) -> None:
        self._database = database
        self._index = index
        self._writing = writing
        self._source = source

    async def round(self, migration: Migration) -> tuple[int, Sequence[Rejected]]:
        """Apply the oldest changes.

        Args:
            migration: the migration in its current state.

        Returns:
            The number of changes, 0 if none wait; and the records that cannot be memories here.

        Raises:
            MigrationConflict: another round committed meanwhile, or the migration has ended.
                Nothing was changed.
            SourceFailed: the source cannot be read.
            EmbeddingFailed: the embedding model did not answer.
        """
        changes = await self._source.tables.changes(_TOGETHER)
        if not changes.ids:
            return 0, ()
        items = await self._source.items(changes.places)
        batch = self._source.batch(items, f"followed {uuid4().hex}")
        gone = self._addresses({*changes.places} - {item.place for item in items})
        checked, rejected = check(batch.records, self._index)
        unchanged = await self._unchanged([one for one, _ in checked])
        changed = [one.record for n, (one, _) in enumerate(checked) if n not in unchanged]
        prepared, _ = await prepare(changed, self._index)
        await self._store(
            migration, batch, prepared, [checked[n][0] for n in sorted(unchanged)], gone
        )
        await self._source.tables.forget(changes)
        return len(changes.ids), [*batch.rejected, *rejected]

    def _addresses(self, places: set[SourceAddress]) -> list[tuple[str, str, str]]:
        """Return namespace, key and source id of deleted items."""
        found = []
        for prefix, key in sorted(places):
            try:
                found.append(
                    (to_text(self._source.namespace(prefix)), key, source_id((prefix, key)))
                )
            except InvalidValue:  # an item without a valid address was never imported
                continue
        return found

    async def _unchanged(self, prepared: Sequence[Prepared]) -> set[int]:
        """Return the positions of records that are stored with the same value and times.

        A read in the source only extended their expiry, or the change was applied before.
        """
        columns = in_columns(prepared, self._index)
        same: Query[set[int]] = Query(
            _SQL["same"], columns, lambda rows: {row.n - 1 for row in rows}
        )
        [found] = await self._database.run(Principal.owner(), [same])
        unchanged: set[int] = found
        return unchanged

    async def _store(
        self,
        migration: Migration,
        batch: RecordBatch,
        prepared: Sequence[Prepared],
        unchanged: Sequence[Prepared],
        gone: Sequence[tuple[str, str, str]],
    ) -> None:
        async def work(transaction: Transaction) -> None:
            holding = ledger.hold(migration.id, migration.cursor, batch.cursor)
            if not (await transaction.run([holding]))[0]:
                return
            erased = await self._writing.of_erased(transaction, prepared)
            living = [
                one
                for n, one in enumerate(prepared)
                if n not in erased and not has_expired(one.record)
            ]
            queries: list[Query[Any]] = [
                ledger.silence(migration.id),
                self._withdraw(migration, gone),
            ]
            withdrawn: int = (await transaction.run([*queries, self._prolong(unchanged)]))[1]
            brought = await self._put(transaction, migration, living)
            counts = {
                "brought": len(brought) - withdrawn,
                "expired": 0,
                "rejected": 0,
                "present": 0,
            }
            audited = ledger.record(migration, "memory.imported", len(prepared) + len(gone))
            await transaction.run([ledger.advance(migration.id, batch.cursor, counts), audited])

        await self._database.transaction(Principal.owner(), work)

    async def _put(
        self, transaction: Transaction, migration: Migration, prepared: Sequence[Prepared]
    ) -> Sequence[Brought]:
        """Update existing memories and insert new ones; return the new ones."""
        if not prepared:
            return ()
        by_address = {(one.namespace, one.record.key): one for one in prepared}
        columns = in_columns(prepared, self._index) | {"id": str(migration.id)}
        renewing: Query[list[Brought]] = Query(
            _SQL["renew"],
            columns,
            lambda rows: [Brought(row.id, by_address[row.namespace, row.key]) for row in rows],
        )
        forgetting: Query[None] = Query(_SQL["unnote"], columns)
        renewed: list[Brought]
        renewed, _ = await transaction.run([renewing, forgetting])
        if renewed:
            there = in_columns([one.prepared for one in renewed], self._index)
            await transaction.run(
                [Query(_SQL["forget_vectors"], there), *self._writing.vectors(renewed)]
            )
        known = {(one.prepared.namespace, one.prepared.record.key) for one in renewed}
        new = [one for address, one in by_address.items() if address not in known]
        return await self._writing.bring(transaction, migration, new)

    def _prolong(self, prepared: Sequence[Prepared]) -> Query[None]:
        return Query(_SQL["prolong"], in_columns(prepared, self._index))

    @staticmethod
    def _withdraw(migration: Migration, gone: Sequence[tuple[str, str, str]]) -> Query[int]:
        namespaces, keys, sources = ([each[n] for each in gone] for n in range(3))
        given = {
            "id": str(migration.id),
            "namespaces": namespaces,
            "keys": keys,
            "sources": sources,
        }
        return Query(_SQL["withdraw"], given, lambda rows: int(rows[0].gone))
