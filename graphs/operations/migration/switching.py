"""A move of LangGraph's store while it is written to: copy, follow, switch, and back. What `operations.moving` is."""

import asyncio
import time
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database import statements
from graphs.memory.database.database import Database, Pool, to_the_end
from graphs.memory.database.query import Query
from graphs.memory.errors import (
    ConfigurationError,
    MigrationConflict,
    SourceFailed,
    SwitchRefused,
)
from graphs.memory.principal import Principal
from graphs.memory.search.embeddings import Index
from graphs.memory.values.progress import Progress
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
"""Seconds until the next look for changes where there were none."""

_SMALL = 100
"""Changes that are carried out in a moment: then writes may be stopped."""

_ATTEMPTS = 5
"""How often a rollback is tried while somebody follows."""


class SwitchResult(BaseModel):
    """What a switch did."""

    model_config = ConfigDict(frozen=True)

    migration: Migration
    agreement: Agreement | None = Field(
        description="What comparing both sides found; null if it was switched before."
    )
    parity: Parity | None = Field(
        description="How alike both sides answer; null where the source cannot be asked."
    )
    refused_seconds: float = Field(
        description="How long the source took no writes before it said where to write."
    )


class Rehearsal(BaseModel):
    """What a switch would find."""

    model_config = ConfigDict(frozen=True)

    waiting: int = Field(description="How many changes were not carried out yet.")
    obstacles: Agreement = Field(
        description="What following alone will not make the same on both sides."
    )
    parity: Parity | None


class Moving:
    """Moves a store of LangGraph's that an application goes on writing to. For the service, as the tables' owner.

    `copy` has all changes noted from its beginning on, `follow` carries them out, `switch` stops writes there when both
    sides are the same. Each may be killed and goes on when it is called again; several may run at once.

    Args:
        database: where to.
        index: how the store embeds, None if it does not.
        migrations: does the copying.
        acting: tells who is acting.
    """

    def __init__(
        self,
        database: Database,
        index: Index | None,
        migrations: Migrations,
        acting: Callable[[], Principal],
    ) -> None:
        self._database = database
        self._index = index
        self._migrations = migrations
        self._acting = acting

    async def open(
        self,
        pool: Pool | None = None,
        *,
        schema: str = "public",
        rules: Sequence[str] = (),
        keep_vectors: bool = False,
        follow: bool = False,
    ) -> LangGraphStore:
        """Return a store of LangGraph's that can be read and (`follow`) followed.

        Args:
            pool: connections to its database; None if it lies in ours.
            schema: the schema of its tables.
            rules: how namespaces are renamed: `memories.{user}=users.{user}.memories`; the first that fits counts.
            keep_vectors: whether its vectors are of our embedding model.
            follow: whether its changes are to be followed.

        Raises:
            ConfigurationError: it cannot be read or followed; the message says what to do.
            InvalidValue: a rule is none.
            AccessDenied: the principal is not the service.
        """
        only_service(self._acting())
        tables = LangGraphTables(Database(pool) if pool else self._database, schema)
        return await LangGraphStore.open(
            tables, self._index, rules=rules, keep_vectors=keep_vectors, follow=follow
        )

    async def open_again(self, migration_id: str, pool: Pool | None = None) -> LangGraphStore:
        """Return the store that a move is of, as it was opened when that began.

        Raises:
            MigrationNotFound: there is none of this id.
            ConfigurationError: it is no move of a store that is followed, or the connections lead to another store.
        """
        migration = await self._migrations.get(migration_id)
        told = migration.options
        if migration.source != LangGraphStore.name or not told["follow"]:
            raise ConfigurationError(
                f"Migration {migration_id} follows no store: it was not begun with --follow."
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
                f"Migration {migration_id} reads {migration.origin}, and the connection leads to {source.origin}: "
                "set MIGRATE_FROM_URL to the database that it was begun with."
            )
        return source

    async def find(self, source: LangGraphStore) -> Migration | None:
        """Return the move of a store that was begun last and not rolled back, if there is one."""
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
        """Have the changes of a store noted, and bring all that is in it; `follow` goes on from there.

        Args:
            source: the store.
            reject: is given what cannot be a memory here.
            progress: is told how far it is.
            stopping: whether to pause, asked between two batches.

        Raises:
            ConfigurationError: it was begun with other options.
            SourceFailed: the store cannot be read; what was stored stays, and a later call goes on.
        """
        begun = await self.find(source)
        if begun and begun.options != source.options:
            raise ConfigurationError(
                f"Migration {begun.id} was begun with other options ({begun.options}): use the same, or roll it back "
                f"first with `graph-memory migrate rollback {begun.id}`."
            )
        if begun and (is_copied(begun.cursor) or begun.status == "finished"):
            return begun
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
        """Carry out what changes in a store that was copied, until it was switched or rolled back.

        Args:
            source: the store.
            reject: is given what cannot be a memory here.
            progress: is told how many changes were carried out, and how many there were.
            stopping: whether to end, asked between two rounds.
            once: whether to end when nothing is left to carry out.

        Raises:
            SwitchRefused: it was not copied yet.
            SourceFailed: the store cannot be read; a later call goes on.
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
        """Stop writes to a store once all of it is here, and have it say where to write from now on.

        Writes are refused for as long as it takes to carry out the last changes and to compare both sides, and callers
        are told to try again. If both sides are not the same then, it is opened again and nothing is switched.

        Args:
            source: the store.
            questions: asked on both sides; made of what was brought unless given.
            progress: is told how many changes were carried out, and how many there were.

        Raises:
            SwitchRefused: both sides are not the same, or cannot become so; the message says where. The store is open.
            SourceFailed: the store cannot be read or stopped; it is open, unless it cannot be reached at all.
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
        """Not to be cancelled: a store that is stopped is either moved, or opened again."""
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
        """Perhaps it was killed before it could say so there."""
        _, is_stopped = await source.tables.state()
        if not is_stopped:
            raise SwitchRefused(
                f"Migration {migration.id} has ended without being followed: roll it back, and begin with --follow."
            )
        await source.tables.moved()
        return SwitchResult(migration=migration, agreement=None, parity=parity, refused_seconds=0)

    async def rehearse(
        self, source: LangGraphStore, questions: Sequence[Question] | None = None
    ) -> Rehearsal:
        """Return what a switch would find, while everybody goes on; it changes nothing.

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
        """Open a store again that was switched from, and go on following it. What was written here since stays here.

        Raises:
            SwitchRefused: it was not copied at all.
        """
        migration = await self._going_on(source)
        await self._migrations.ask(Query(_SQL["reopen"], {"id": str(migration.id)}))
        await source.tables.open_writes()
        return await self._migrations.get(str(migration.id))

    async def roll_back(
        self, source: LangGraphStore, migration_id: str, *, dry_run: bool = False
    ) -> RolledBack:
        """Remove what a move brought and nobody changed since, and all that is ours in the store, which is open then.

        Raises:
            MigrationNotFound: there is none of this id.
            MigrationConflict: it is going on at this moment; try again.
        """
        for attempt in range(_ATTEMPTS):
            try:
                done = await self._migrations.roll_back(migration_id, dry_run=dry_run)
                break
            except MigrationConflict:  # somebody who follows has just stored a round
                if attempt == _ATTEMPTS - 1:
                    raise
        if not dry_run:
            await source.tables.unfollow()
        return done

    async def _copied(self, source: LangGraphStore) -> Migration:
        migration = await self.find(source)
        if migration is None or not is_copied(migration.cursor):
            raise SwitchRefused(
                "This store has not been copied yet: run `graph-memory migrate langgraph-store --follow` until it has."
            )
        return migration

    async def _going_on(self, source: LangGraphStore) -> Migration:
        """The migration that copied a store, no longer paused."""
        migration = await self._copied(source)
        await self._migrations.ask(ledger.goes_on(migration, None))
        return await self._migrations.get(str(migration.id))

    async def _round(
        self, source: LangGraphStore, migration: Migration, reject: Reject | None = None
    ) -> int:
        """Carry out some changes, and return how many; 1 if somebody else has just done so."""
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
            f"{agreement.differing:,} of {agreement.there:,} items are not the same on both sides: {told}. The store "
            "goes on as before. Put that right there, or give a --map for it, and switch again."
        )
