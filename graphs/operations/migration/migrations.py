"""Migrations: preview, run, list, verify, compare, roll back. What `store.operations.migrations` is."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.query import Query
from graphs.memory.database.vectors import Model
from graphs.memory.errors import EmbeddingFailed, SourceFailed
from graphs.memory.principal import Principal
from graphs.memory.search import embeddings
from graphs.memory.search.embeddings import Index
from graphs.memory.values.namespaces import from_text
from graphs.memory.values.progress import Progress
from graphs.operations.migration import ledger
from graphs.operations.migration.comparing import (
    Parity,
    Question,
    Search,
    compare,
    question_about,
)
from graphs.operations.migration.ledger import STATEMENTS, Migration
from graphs.operations.migration.rollback import RolledBack, roll_back
from graphs.operations.migration.source import RecordBatch, Rejected, Source
from graphs.operations.migration.writing import (
    Writing,
    check,
    embed,
    first_ones,
    has_expired,
    present,
)
from graphs.operations.service import only_service

T = TypeVar("T")


Reject = Callable[[Sequence[Rejected]], Awaitable[None]]
"""Is given what cannot be a memory here."""


class Preview(BaseModel):
    """What a migration would begin with: its first batch was read, and nothing written."""

    model_config = ConfigDict(frozen=True)

    total: int | None = Field(
        description="How many records the source has; null where it cannot tell."
    )
    goes_on_with: Migration | None = Field(description="The unfinished migration that would go on.")
    read: int = Field(description="How many records were looked at.")
    new: int = Field(description="How many of them would be brought.")
    present: int = Field(
        description="How many have an address that is taken, and would be left alone."
    )
    expired: int
    rejected: list[Rejected]


class MigrationVerification(BaseModel):
    """Whether everything arrived."""

    model_config = ConfigDict(frozen=True)

    source: int | None = Field(
        description="How many records the source has now; null where it cannot tell."
    )
    seen: int = Field(
        description="How many were dealt with: brought, present, expired or rejected."
    )
    brought: int = Field(description="How many memories the ledger notes.")
    there: int = Field(description="How many of these are in the database.")
    matches: bool


class Migrations:
    """Brings memories from elsewhere, and takes them back. For the service, on a connection that owns the tables.

    Args:
        database: where to.
        index: how the store embeds, None if it does not.
        acting: tells who is acting.
        search: searches the store.
    """

    def __init__(
        self,
        database: Database,
        index: Index | None,
        acting: Callable[[], Principal],
        search: Search,
    ) -> None:
        self._database = database
        self._index = index
        self._acting = acting
        self._search = search

    async def preview(self, source: Source) -> Preview:
        """Return what a run would begin with: the counts, and what would become of the first batch.

        Raises:
            SourceFailed: the source cannot be read.
            AccessDenied: the principal is not the service.
        """
        earlier = await self.ask(ledger.unfinished(source.name, source.origin))
        total = await source.count()
        batch = await _first(source.batches(earlier.cursor if earlier else None))
        checked, rejected = check(batch.records, self._index)
        prepared = first_ones(one for one, _ in checked)
        living = [one for one in prepared if not has_expired(one.record)]
        taken = await self.ask(present(living))
        rejected = [*batch.rejected, *rejected]
        return Preview(
            total=total,
            goes_on_with=earlier,
            read=len(batch.records) + len(batch.rejected),
            new=len(living) - len(taken),
            present=len(taken) + len(checked) - len(prepared),
            expired=len(prepared) - len(living),
            rejected=rejected,
        )

    async def run(
        self,
        source: Source,
        *,
        reject: Reject | None = None,
        progress: Progress | None = None,
        stopping: Callable[[], bool] | None = None,
    ) -> Migration:
        """Bring what a source has, or go on with what was begun, and return how it stands then.

        Each batch commits with its checkpoint: cut off anywhere, it goes on where it was when it is run again. Ids,
        times and history are the source's. What is there stays as it is. No connection is held while the source or the
        embedding model works. Vectors are searched one by one until `wait_until_indexed` has put them into the index.

        Args:
            source: where from.
            reject: is given what cannot be a memory, before it is counted; after a kill it may be given it again.
            progress: is told how far it is.
            stopping: whether to pause, asked between two batches.

        Raises:
            SourceFailed: the source cannot be read; what was stored stays, and a later run goes on.
            EmbeddingFailed: the embedding model did not answer; the same.
            MigrationConflict: somebody else carries out the same migration.
            AccessDenied: the principal is not the service, or the connection does not own the tables.
        """
        writing = await self.writing()
        total = await source.count()
        migration = await self._begun(source, total)
        try:
            async for batch in source.batches(migration.cursor):
                migration = await self._carry_out(writing, migration, batch, reject)
                if progress:
                    progress(migration.seen, total)
                if stopping and stopping():
                    return await self._then(migration, ledger.pause(migration))
            total = await source.count()
        except (SourceFailed, EmbeddingFailed):
            await self._then(migration, ledger.pause(migration))
            raise
        return await self._then(migration, ledger.finish(migration, total))

    async def _begun(self, source: Source, total: int | None) -> Migration:
        earlier = await self.ask(ledger.unfinished(source.name, source.origin))
        if earlier:
            return await self._then(earlier, ledger.goes_on(earlier, total))
        return await self.ask(ledger.start(source.name, source.origin, source.options, total))

    async def _carry_out(
        self, writing: Writing, migration: Migration, batch: RecordBatch, reject: Reject | None
    ) -> Migration:
        checked, rejected = check(batch.records, self._index)
        rejected = [*batch.rejected, *rejected]
        if reject and rejected:
            await reject(rejected)
        taken = await self.ask(present([one for one, _ in checked]))
        free = [
            one for n, one in enumerate(checked) if n not in taken
        ]  # a model is not paid for what is here
        erased = await writing.store(
            migration, batch, await embed(free, self._index), rejected, len(taken)
        )
        if reject and erased:
            await reject(erased)
        return await self.get(str(migration.id))

    async def list(self) -> list[Migration]:
        """Return all migrations, the latest first.

        Raises:
            AccessDenied: the principal is not the service.
        """
        return await self.ask(ledger.every())

    async def get(self, migration_id: str) -> Migration:
        """Return a migration as it stands.

        Raises:
            MigrationNotFound: there is none of this id.
            AccessDenied: the principal is not the service.
        """
        return await self.ask(ledger.one(migration_id))

    async def verify(self, migration_id: str, source: Source) -> MigrationVerification:
        """Return whether everything arrived, by the counts of both sides.

        Raises:
            MigrationNotFound: there is none of this id.
            AccessDenied: the principal is not the service.
        """
        migration = await self.get(migration_id)
        total = await source.count()
        counting: Query[Any] = Query(
            STATEMENTS["still_there"], {"id": migration_id}, lambda rows: rows[0]
        )
        counted = await self.ask(counting)
        return MigrationVerification(
            source=total,
            seen=migration.seen,
            brought=counted.noted,
            there=counted.there,
            matches=total in (None, migration.seen) and counted.there == counted.noted,
        )

    async def compare(
        self,
        migration_id: str,
        source: Source,
        questions: Sequence[Question] | None = None,
        *,
        samples: int = 20,
        limit: int = 10,
    ) -> Parity | None:
        """Ask the same questions on both sides; None where the source, or this store, cannot search.

        Args:
            migration_id: what it brought makes the questions, unless they are given.
            source: the other side.
            questions: what to ask.
            samples: how many questions are made.
            limit: how many memories each question asks for.

        Raises:
            MigrationNotFound: there is none of this id.
            SourceFailed: the source did not answer.
            AccessDenied: the principal is not the service.
        """
        await self.get(migration_id)
        if self._index is None:
            return None
        if questions is None:
            sample: Query[list[Any]] = Query(
                STATEMENTS["sample"], {"id": migration_id, "limit": samples}, list
            )
            rows = await self.ask(sample)
            made = [question_about(from_text(row.namespace), row.value) for row in rows]
            questions = [question for question in made if question]
        return await compare(source, self._search, questions, limit)

    async def roll_back(self, migration_id: str, *, dry_run: bool = False) -> RolledBack:
        """Remove what a migration brought and nobody changed since, in one transaction; the rest stays, and is told.

        Args:
            migration_id: the migration; it cannot go on afterwards.
            dry_run: only tell what would be removed.

        Raises:
            MigrationNotFound: there is none of this id.
            MigrationConflict: it is going on at this moment.
            AccessDenied: the principal is not the service, or the connection does not own the tables.
        """
        migration = await self.get(migration_id)
        return await to_the_end(roll_back(self._database, migration, dry_run=dry_run))

    async def writing(self) -> Writing:
        """Return what stores records, with the embedding model in use."""
        model: Model | None = None
        if self._index:
            model = embeddings.checked(await self.ask(embeddings.active_model()), self._index)
        return Writing(self._database, self._index, model)

    async def _then(self, migration: Migration, query: Query[None]) -> Migration:
        await self.ask(query)
        return await self.get(str(migration.id))

    async def ask(self, query: Query[T]) -> T:
        """Return what a query reads, as the tables' owner, if the service is acting.

        Raises:
            AccessDenied: the principal is not the service.
        """
        only_service(self._acting())
        [answer] = await to_the_end(self._database.run(Principal.owner(), [query]))
        return cast("T", answer)


async def _first(batches: AsyncIterator[RecordBatch]) -> RecordBatch:
    async for batch in batches:
        return batch
    return RecordBatch((), "")
