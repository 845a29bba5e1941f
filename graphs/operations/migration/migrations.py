"""Migrations: preview, run, list, verify, compare, roll back. It is `operations.migrations`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.access import Access
from graphs.memory.database.database import to_the_end
from graphs.memory.database.query import Query
from graphs.memory.database.vectors import Model
from graphs.memory.errors import EmbeddingFailed
from graphs.memory.principal import Principal
from graphs.memory.search import embeddings
from graphs.memory.search.embeddings import Index
from graphs.memory.values.namespaces import from_text
from graphs.memory.values.progress import Progress
from graphs.operations.errors import SourceFailed
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
"""A callable that receives rejected records."""


class Preview(BaseModel):
    """A dry run of a migration: its first batch was read, and nothing was written."""

    model_config = ConfigDict(frozen=True)

    total: int | None = Field(
        description="Number of records in the source; null if it cannot count."
    )
    goes_on_with: Migration | None = Field(
        description="The unfinished migration that a run would resume."
    )
    read: int = Field(description="Number of records in the first batch.")
    new: int = Field(description="Number of them that would be imported.")
    present: int = Field(
        description="Number of them that would be skipped, since their address is taken."
    )
    expired: int
    rejected: list[Rejected]


class MigrationVerification(BaseModel):
    """A check that all records arrived."""

    model_config = ConfigDict(frozen=True)

    source: int | None = Field(
        description="Number of records in the source now; null if it cannot count."
    )
    seen: int = Field(
        description="Number of processed records: brought, present, expired or rejected."
    )
    brought: int = Field(description="Number of memories in the ledger.")
    there: int = Field(description="Number of them that are in the database.")
    matches: bool


class Migrations:
    """Imports memories from other systems, and rolls imports back.

    For the service, on a connection that owns the tables.

    Args:
        access: the store's access.
        index: the store's embedding configuration; None for a store without vector search.
        search: searches the store.
    """

    def __init__(
        self,
        access: Access,
        index: Index | None,
        search: Search,
    ) -> None:
        self._access = access
        self._database = access.database
        self._index = index
        self._search = search

    async def preview(self, source: Source) -> Preview:
        """Return the counts of a run, and the outcome of its first batch. It writes nothing.

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
        """Import a source, or resume its unfinished migration. Return its final state.

        Each batch commits together with its cursor, so a later run resumes after any interruption.
        Ids, times and history are the source's; existing memories are not changed. No connection is
        held while the source or the embedding model works. New vectors are compared one by one
        until `wait_until_indexed` has put them into the vector index.

        Args:
            source: the source.
            reject: receives rejected records before they are counted; after a crash, possibly
                twice.
            progress: receives the number of processed records and the total.
            stopping: called between two batches; returns whether to pause.

        Raises:
            SourceFailed: the source cannot be read. Stored batches stay, and a later run resumes.
            EmbeddingFailed: the embedding model did not answer. A later run resumes.
            MigrationConflict: another process runs the same migration.
            AccessDenied: the principal is not the service, or the connection does not own the
                tables.
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
        # Embed only records with a free address: embeddings cost money.
        free = [one for n, one in enumerate(checked) if n not in taken]
        erased = await writing.store(
            migration, batch, await embed(free, self._index), rejected, len(taken)
        )
        if reject and erased:
            await reject(erased)
        return await self.get(str(migration.id))

    async def list(self) -> list[Migration]:
        """Return all migrations, latest first.

        Raises:
            AccessDenied: the principal is not the service.
        """
        return await self.ask(ledger.every())

    async def get(self, migration_id: str) -> Migration:
        """Return the current state of a migration.

        Raises:
            MigrationNotFound: there is no migration with this id.
            AccessDenied: the principal is not the service.
        """
        return await self.ask(ledger.one(migration_id))

    async def verify(self, migration_id: str, source: Source) -> MigrationVerification:
        """Check by counts on both sides that all records arrived.

        Raises:
            MigrationNotFound: there is no migration with this id.
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
        """Ask both sides the same questions. None if the source or this store cannot search.

        Args:
            migration_id: the migration whose memories make the questions, unless they are given.
            source: the source.
            questions: the questions.
            samples: number of questions to make.
            limit: results per question.

        Raises:
            MigrationNotFound: there is no migration with this id.
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
        """Remove the imported memories that nobody changed, in one transaction.

        Args:
            migration_id: the migration. It cannot be resumed afterwards.
            dry_run: return what would be removed, without removing it.

        Raises:
            MigrationNotFound: there is no migration with this id.
            MigrationConflict: it is running at this moment.
            AccessDenied: the principal is not the service, or the connection does not own the
                tables.
        """
        migration = await self.get(migration_id)
        return await to_the_end(roll_back(self._database, migration, dry_run=dry_run))

    async def writing(self) -> Writing:
        """Return the writer of records, with the active embedding model."""
        model: Model | None = None
        if self._index:
            model = embeddings.checked(await self.ask(embeddings.active_model()), self._index)
        return Writing(self._database, self._index, model)

    async def _then(self, migration: Migration, query: Query[None]) -> Migration:
        await self.ask(query)
        return await self.get(str(migration.id))

    async def ask(self, query: Query[T]) -> T:
        """Run a query as the owner of the tables, if the service is acting.

        Raises:
            AccessDenied: the principal is not the service.
        """
        only_service(self._access)
        [answer] = await to_the_end(self._database.run(Principal.owner(), [query]))
        return cast("T", answer)


async def _first(batches: AsyncIterator[RecordBatch]) -> RecordBatch:
    async for batch in batches:
        return batch
    return RecordBatch((), "")
