"""A live migration of a LangGraph store: copy, follow, switch, undo. It is `operations.moving`."""

import asyncio
import time
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.access import Access
from graphs.memory.database import statements
from graphs.memory.database.database import Database, Pool, to_the_end
from graphs.memory.database.query import Query
from graphs.memory.errors import ConfigurationError
from graphs.memory.search.embeddings import Index
from graphs.memory.values.progress import Progress
from graphs.operations.errors import MigrationConflict, SourceFailed, SwitchRefused
from graphs.operations.migration import ledger
from graphs.operations.migration.agreement import Agreement, Comparing
from graphs.operations.migration.comparing import Parity, Question
from graphs.operations.migration.following import Following
from graphs.operations.migration.langgraph_store import LangGraphStore, is_copied
from graphs.operations.migration.langgraph_tables import LangGraphTables
from graphs.operations.migration.ledger import Migration
from graphs.operations.migration.migrations import Migrations, Reject
from graphs.operations.migration.rollback import RolledBack
from graphs.operations.service import only_service

_SQL = statements.load("following", __package__)

_PAUSE = 0.5
"""Seconds to wait after a round that found no changes."""

_SMALL = 100
"""Queued changes up to which writes may be stopped, since applying them takes a moment."""

_ATTEMPTS = 5
"""Attempts of a rollback while another process follows."""


class SwitchResult(BaseModel):
    """The result of a switch."""

    model_config = ConfigDict(frozen=True)

    migration: Migration
    agreement: Agreement | None = Field(
        description="The comparison of both sides; null if the switch was made earlier."
    )
    parity: Parity | None = Field(
        description="Similarity of both sides' search results; null if the source cannot search."
    )
    refused_seconds: float = Field(description="How long writers were told to retry, in seconds.")


class Rehearsal(BaseModel):
    """A dry run of a switch."""

    model_config = ConfigDict(frozen=True)

    waiting: int = Field(description="Number of changes that are not applied yet.")
    obstacles: Agreement = Field(description="Differences that following alone will not remove.")
    parity: Parity | None


class Moving:
    """Migrates a LangGraph store while applications write to it.

    For the service, as the tables' owner. `copy` queues all changes from its beginning on, `follow`
    applies them, and `switch` stops writes in the source when both sides are equal. After a crash,
    call each again to continue. Several processes may run at once.

    Args:
        access: the store's access.
        index: the store's embedding configuration; None for a store without vector search.
        migrations: does the copying.
    """

    def __init__(
        self,
        access: Access,
        index: Index | None,
        migrations: Migrations,
    ) -> None:
        self._access = access
        self._database = access.database
        self._index = index
        self._migrations = migrations

    async def open(
        self,
        pool: Pool | None = None,
        *,
        schema: str = "public",
        rules: Sequence[str] = (),
        keep_vectors: bool = False,
        follow: bool = False,
    ) -> LangGraphStore:
        """Return a LangGraph store that can be read and, with `follow`, followed.

        Args:
            pool: connections to its database; None if it is in the store's own database.
            schema: the schema of its tables.
            rules: namespace rules such as `memories.{user}=users.{user}.memories`; the first match
                applies.
            keep_vectors: whether its vectors come from the deployment's embedding model.
            follow: whether its changes will be followed.

        Raises:
            ConfigurationError: it cannot be read or followed; the message says what to do.
            InvalidValue: a rule is invalid.
            AccessDenied: the principal is not the service.
        """
        only_service(self._access)
        tables = LangGraphTables(Database(pool) if pool else self._database, schema)
        return await LangGraphStore.open(
            tables, self._index, rules=rules, keep_vectors=keep_vectors, follow=follow
        )

    async def open_again(self, migration_id: str, pool: Pool | None = None) -> LangGraphStore:
        """Return the source of a live migration, with the options of its start.

        Raises:
            MigrationNotFound: there is no migration with this id.
            ConfigurationError: it is not a live migration, or the connections lead to another
                store.
        """
        migration = await self._migrations.get(migration_id)
        told = migration.options
        if migration.source != LangGraphStore.name or not told["follow"]:
            raise ConfigurationError(
                f"Migration {migration_id} follows no store: it was started without --follow."
            )
        source = await self.open(
            pool,
            schema=told["schema"],
            rules=told["map"],
            keep_vectors=told["keep_vectors"],
            follow=True,
        )
        if source.origin != migration.origin:
            raise ConfigurationError(
                f"Migration {migration_id} reads {migration.origin}, but the connection leads to "
                f"{source.origin}: set MIGRATE_FROM_URL to the database that it was started with."
            )
        return source

    async def find(self, source: LangGraphStore) -> Migration | None:
        """Return the latest migration of a store that was not rolled back, if there is one."""
        known = await self._migrations.list()
        found = (m for m in known if (m.source, m.origin) == (source.name, source.origin))
        return next((m for m in found if m.status != "rolled_back"), None)

    async def copy(
        self,
        source: LangGraphStore,
        *,
        reject: Reject | None = None,
        progress: Progress | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Migration:
        """Queue the changes of a store and copy its items; continue with `follow`.

        Args:
            source: the store.
            reject: receives the records that cannot be memories here.
            progress: receives the number of processed records and the total.
            stopping: called between two batches; returns whether to pause.

        Raises:
            ConfigurationError: the migration was started with other options.
            SourceFailed: the store cannot be read. Stored batches stay, and a later call continues.
        """
        begun = await self.find(source)
        if begun and begun.options != source.options:
            raise ConfigurationError(
                f"Migration {begun.id} was started with other options ({begun.options}): use the "
                f"same, or roll it back with `graph-memory migrate rollback {begun.id}`."
            )
        if begun and (is_copied(begun.cursor) or begun.status == "finished"):
            return begun
        # Queue changes before the first read, so that no change is missed.
        await source.tables.follow()
        copied = await self._migrations.run(
            source,
            reject=reject,
            progress=progress,
            stopping=lambda: source.is_copied or stopping(),
        )
        return await self._going_on(source) if is_copied(copied.cursor) else copied

    async def follow(
        self,
        source: LangGraphStore,
        *,
        reject: Reject | None = None,
        progress: Progress | None = None,
        stopping: Callable[[], bool] = lambda: False,
        once: bool = False,
    ) -> Migration:
        """Apply the changes of a copied store, until a switch or a rollback.

        Args:
            source: the store.
            reject: receives the records that cannot be memories here.
            progress: receives the number of applied changes, and of all known ones.
            stopping: called between two rounds; returns whether to end.
            once: end when no change is left.

        Raises:
            SwitchRefused: the store was not copied yet.
            SourceFailed: the store cannot be read. A later call continues.
        """
        migration = await self._going_on(source)
        all_done = 0
        while _goes_on(migration) and not stopping():
            try:
                done = await self._round(source, migration, reject)
                all_done += done
                if progress:
                    progress(all_done, all_done + (await source.tables.lag()).changes)
                if not done and once:
                    break
                if not done:
                    await asyncio.sleep(_PAUSE)
            except SourceFailed:
                # A switch or a rollback by another process removes the queue: that is the end.
                if _goes_on(await self._migrations.get(str(migration.id))):
                    raise
            migration = await self._migrations.get(str(migration.id))
        return migration

    async def switch(
        self,
        source: LangGraphStore,
        *,
        questions: Sequence[Question] | None = None,
        progress: Progress | None = None,
    ) -> SwitchResult:
        """Stop writes to a store once its items are here, and tell its writers where to write.

        Writes are refused, with a request to retry, while the last changes are applied and both
        sides are compared. If the sides differ then, the store accepts writes again and nothing is
        switched.

        Args:
            source: the store.
            questions: questions for both sides; made of imported memories if None.
            progress: receives the number of applied changes, and of all known ones.

        Raises:
            SwitchRefused: the sides differ, or cannot become equal; the message says where. The
                store accepts writes.
            SourceFailed: the store cannot be read or stopped. It accepts writes, unless it cannot
                be reached at all.
        """
        migration = await self._going_on(source)
        parity = await self._migrations.compare(str(migration.id), source, questions)
        if migration.status == "finished":
            return await self._switched_before(source, migration, parity)
        _refuse(await Comparing(self._database, source, migration).obstacles())
        all_done = 0
        while done := await self._round(source, migration):
            all_done += done
            waiting = (await source.tables.lag()).changes
            if progress:
                progress(all_done, all_done + waiting)
            if waiting < _SMALL:
                break
        return await to_the_end(self._stop(source, migration, parity))

    async def _stop(
        self, source: LangGraphStore, migration: Migration, parity: Parity | None
    ) -> SwitchResult:
        """Stop writes and finish, or accept writes again. Must not be cancelled in between."""
        started = time.monotonic()
        try:
            await source.tables.stop_writes()
            while await self._round(source, migration):
                pass
            agreement = await Comparing(self._database, source, migration).compare()
            _refuse(agreement)
            await self._migrations.ask(ledger.finish(migration, agreement.there))
        except BaseException:
            await source.tables.open_writes()
            raise
        await source.tables.moved()
        seconds = time.monotonic() - started
        finished = await self._migrations.get(str(migration.id))
        return SwitchResult(
            migration=finished, agreement=agreement, parity=parity, refused_seconds=seconds
        )

    async def _switched_before(
        self, source: LangGraphStore, migration: Migration, parity: Parity | None
    ) -> SwitchResult:
        """Finish a switch whose process may have been killed before it told the source."""
        _, is_stopped = await source.tables.state()
        if not is_stopped:
            raise SwitchRefused(
                f"Migration {migration.id} ended without following the store: roll it back, and "
                "start again with --follow."
            )
        await source.tables.moved()
        return SwitchResult(migration=migration, agreement=None, parity=parity, refused_seconds=0)

    async def rehearse(
        self, source: LangGraphStore, questions: Sequence[Question] | None = None
    ) -> Rehearsal:
        """Return what a switch would find. It changes nothing and blocks nobody.

        Raises:
            SwitchRefused: the store was not copied yet.
        """
        migration = await self._copied(source)
        return Rehearsal(
            waiting=(await source.tables.lag()).changes,
            obstacles=await Comparing(self._database, source, migration).obstacles(),
            parity=await self._migrations.compare(str(migration.id), source, questions),
        )

    async def undo(self, source: LangGraphStore) -> Migration:
        """Reopen a store after a switch, and follow it again. Later memories here stay here.

        Raises:
            SwitchRefused: the store was never copied.
        """
        migration = await self._going_on(source)
        await self._migrations.ask(Query(_SQL["reopen"], {"id": str(migration.id)}))
        await source.tables.open_writes()
        return await self._migrations.get(str(migration.id))

    async def roll_back(
        self, source: LangGraphStore, migration_id: str, *, dry_run: bool = False
    ) -> RolledBack:
        """Remove unchanged imported memories, and everything that was added to the source.

        The source accepts writes afterwards.

        Raises:
            MigrationNotFound: there is no migration with this id.
            MigrationConflict: it is running at this moment; try again.
        """
        for attempt in range(_ATTEMPTS):
            try:
                done = await self._migrations.roll_back(migration_id, dry_run=dry_run)
                break
            except MigrationConflict:  # a follower has just committed a round
                if attempt == _ATTEMPTS - 1:
                    raise
        if not dry_run:
            await source.tables.unfollow()
        return done

    async def _copied(self, source: LangGraphStore) -> Migration:
        migration = await self.find(source)
        if migration is None or not is_copied(migration.cursor):
            raise SwitchRefused(
                "This store has not been copied yet: run `graph-memory migrate langgraph-store "
                "--follow` until the copy is complete."
            )
        return migration

    async def _going_on(self, source: LangGraphStore) -> Migration:
        """Return the migration that copied a store, marked as running."""
        migration = await self._copied(source)
        await self._migrations.ask(ledger.goes_on(migration, None))
        return await self._migrations.get(str(migration.id))

    async def _round(
        self, source: LangGraphStore, migration: Migration, reject: Reject | None = None
    ) -> int:
        """Apply some changes and return their number; 1 if another process has just done so."""
        following = Following(self._database, self._index, await self._migrations.writing(), source)
        try:
            done, rejected = await following.round(await self._migrations.get(str(migration.id)))
        except MigrationConflict:
            return int(_goes_on(await self._migrations.get(str(migration.id))))
        if reject and rejected:
            await reject(rejected)
        return done


def _goes_on(migration: Migration) -> bool:
    return migration.status in ("running", "paused")


def _refuse(agreement: Agreement) -> None:
    if agreement.differing:
        told = "; ".join(f"{one.item} {one.problem}" for one in agreement.differences[:3])
        raise SwitchRefused(
            f"{agreement.differing:,} of {agreement.there:,} items differ between the two sides: "
            f"{told}. The store still accepts writes. Correct them there, or add a --map rule, and "
            "switch again."
        )
