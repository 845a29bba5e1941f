"""Backups: everything that a database holds, or everything of one person, in a file; and back again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.sql import SQL, Composed, Literal

from graphs.memory.database.database import Database
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.transaction import Connection
from graphs.memory.errors import AccessDenied, CannotFollow, InvalidInput
from graphs.memory.principal import Principal
from graphs.memory.values.progress import Progress
from graphs.operations.backup import chain, tables
from graphs.operations.backup.chain import Backup, Chain, VerifiedBackup
from graphs.operations.backup.file import NewBackup
from graphs.operations.backup.places import BackupPlace, as_place
from graphs.operations.backup.restore import Restored, Restoring
from graphs.operations.backup.selection import ChangesSince, Selection, TimeSpan
from graphs.operations.backup.tables import STATEMENTS, Table

_TOGETHER = 500
"""Rows that are written together."""


class Backups:
    """Writes backups, checks them and restores them. For the service, on a connection that owns the tables.

    Args:
        database: what is backed up, and restored.
        acting: tells who is acting.
    """

    def __init__(self, database: Database, acting: Callable[[], Principal]) -> None:
        self._database = database
        self._acting = acting

    async def create(
        self,
        to: BackupPlace | Path,
        *,
        user_id: str | None = None,
        since: BackupPlace | Path | datetime | None = None,
        begin: datetime | None = None,
        end: datetime | None = None,
        erasures_only: bool = False,
        secret: bytes | None = None,
        progress: Progress | None = None,
    ) -> Backup:
        """Write a backup of one moment, while others go on reading and writing.

        The queue of jobs is not in it, nor are threads and the contents of files. It is there, complete and on the
        disk, or there is none; a file can be read by its owner only.

        Args:
            to: the file; one that is there is replaced.
            user_id: only what is about this person.
            since: only what changed since an earlier backup of this database, with which it is restored; or since a
                time, provided that no transaction lasts a day.
            begin: only memories made from then on, with their vectors, turns, sessions, relationships and beliefs.
            end: only memories made before.
            erasures_only: only who was erased, for restores of earlier backups into databases that do not know.
            secret: a passphrase or key to encrypt it with, and which opens the earlier one.
            progress: is told how many rows are written.

        Raises:
            InvalidInput: it cannot be written, or these do not go together.
            InvalidBackup: the earlier one cannot be restored.
            CannotFollow: what changed since the earlier one cannot be told.
            AccessDenied: the principal is not the service, or the connection does not own the tables.
        """
        self._check()
        for moment in (since, begin, end):
            if isinstance(moment, datetime) and moment.tzinfo is None:
                raise InvalidInput(f"The time {moment} says no time zone.")
        span = TimeSpan(begin, end) if begin or end else None
        if [since is not None, span is not None, erasures_only].count(True) > 1 or (
            erasures_only and user_id
        ):
            raise InvalidInput(
                "A backup is of what changed since, or of a time, or of erasures only: give one of these."
            )
        earlier = await self._earlier(since, user_id, secret)
        new = await asyncio.to_thread(NewBackup, as_place(to), secret)
        try:
            async with self._reading() as conn:
                now = await _one(conn, SQL(STATEMENTS["moment"]))
                found = await tables.data_tables(conn)
                selection = Selection(
                    user_id, await _changes(conn, since, earlier, now, found), span, erasures_only
                )
                about = {
                    "taken_at": now["now"],
                    "user_id": user_id,
                    "since": earlier.backup.taken_at if earlier else since,
                    "follows": earlier.backup.sha256 if earlier else None,
                    "begin": begin,
                    "end": end,
                    "erasures_only": erasures_only,
                    "database": now["database"],
                    "horizon": now["horizon"],
                }
                await asyncio.to_thread(new.writer.begin, **about)
                await _write_tables(conn, new, selection, found, progress)
            digest = await asyncio.to_thread(new.writer.end)
            await asyncio.to_thread(new.keep)
        finally:
            await asyncio.to_thread(new.discard)
        told = {"encrypted": secret is not None, "rows": new.writer.rows, "sha256": digest}
        return Backup.model_validate({**about, **told})

    async def verify(
        self,
        place: BackupPlace | Path,
        *,
        secret: bytes | None = None,
        progress: Progress | None = None,
    ) -> Backup:
        """Read a whole backup, and return what it holds if it is as it was written.

        Raises:
            InvalidBackup: it is no backup, damaged, cut short, of an unknown version, or has another key.
            InvalidInput: it cannot be read.
            AccessDenied: the principal is not the service.
        """
        self._check()
        return (
            await chain.verify(
                as_place(place), secret, lambda rows: progress and progress(rows, None)
            )
        ).backup

    async def verify_chain(
        self, places: Sequence[BackupPlace | Path], *, secret: bytes | None = None
    ) -> Backup:
        """Read a full backup and those that followed it, and return the last one if they can be restored together.

        Raises:
            InvalidBackup: one is refused, or does not follow the one before.
            InvalidInput: one cannot be read.
            AccessDenied: the principal is not the service.
        """
        self._check()
        return (
            await Chain.verified([as_place(place) for place in places], secret, lambda _: None)
        ).backup

    async def erasures(self) -> tuple[int, str]:
        """Return how many certificates of erasures there are, and a digest of which.

        Raises:
            AccessDenied: the principal is not the service.
        """
        self._check()
        async with self._reading() as conn:
            found = await _one(conn, SQL(STATEMENTS["erasures"]))
        return found["count"], found["digest"]

    async def restore(
        self,
        *places: BackupPlace | Path,
        user_id: str | None = None,
        erasures: Sequence[BackupPlace | Path] = (),
        secret: bytes | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Restored:
        """Bring back what a backup has and the database has not, in one transaction, after it was verified.

        A full backup and those that tell what changed since the one before each are one: a full backup of the last
        one's moment. What is there stays as it is, so that doing it twice does nothing twice; people who were erased
        after the backup stay erased. Ids, times, history, audit records and seals come back as they were, and no
        trigger records anything anew. Others go on reading; who writes waits until it is done. Vectors are searched
        one by one until they are in the vector index: `wait_until_indexed` puts them there, as does the next write.

        Args:
            places: the backup; or a full one, and then those that followed, in their order.
            user_id: only what is about this person.
            erasures: later backups of whatever kind, which know of people who were erased since; the database
                remembers these as well.
            secret: what all of them were encrypted with.
            dry_run: only tell what would be added.
            progress: is told how many of the rows are read.

        Raises:
            InvalidBackup: one is refused, does not follow the one before, or this database's schema has no place for
                what is in it.
            RestoreConflict: the database holds other rows under the numbers of the backup's.
            AccessDenied: the principal is not the service, or the connection does not own the tables.
            StoreUnavailable: somebody has been writing for more than a minute in one transaction.
        """
        self._check()
        verified = await Chain.verified(
            [as_place(place) for place in places], secret, lambda _: None
        )
        known = [await chain.verify(as_place(place), secret, lambda _: None) for place in erasures]
        total, done = sum(verified.rows.values()), 0
        with driver_errors():
            async with (
                self._database.pool.connection() as conn,
                conn.transaction(force_rollback=dry_run),
            ):
                await conn.execute(STATEMENTS["prepare"], prepare=False)
                restoring = Restoring(
                    conn, await tables.data_tables(conn), verified.backup, user_id
                )
                restoring.check(verified.rows)
                async with restoring.alone():
                    for one in known:
                        async with Chain((one,)).reading(secret) as sections:
                            async for _, section in sections:
                                await restoring.learn(section)
                    async with verified.reading(secret) as sections:
                        async for generation, section in sections:
                            await restoring.take(section, generation)
                            done += 0 if section.keys else len(section.rows)
                            if progress:
                                progress(done, total)
                if not dry_run:
                    await restoring.continue_numbers()
        return restoring.restored

    def _check(self) -> None:
        if self._acting().user_id:
            raise AccessDenied(
                "A backup has everything of everybody: only the service may make or restore one."
            )

    async def _earlier(
        self, since: BackupPlace | Path | datetime | None, user_id: str | None, secret: bytes | None
    ) -> VerifiedBackup | None:
        """The backup that another one is to follow, if that is possible."""
        if since is None or isinstance(since, datetime):
            return None
        earlier = await chain.verify(as_place(since), secret, lambda _: None)
        backup = earlier.backup
        if backup.is_of_a_time or backup.erasures_only or backup.user_id != user_id:
            raise CannotFollow(str(since), "it has other people, or only a part of what is there")
        if backup.horizon is None:
            raise CannotFollow(
                str(since), "it was made by an earlier version, which did not note its transactions"
            )
        return earlier

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        """Lend a connection that sees one moment."""
        with driver_errors():
            async with self._database.pool.connection() as conn, conn.transaction():
                await conn.execute(STATEMENTS["begin_reading"], prepare=False)
                await conn.execute(STATEMENTS["prepare"], prepare=False)
                yield conn


async def _one(conn: Connection, statement: SQL | Composed) -> dict[str, Any]:
    [row] = await (await conn.execute(statement, prepare=False)).fetchall()
    return row


async def _changes(
    conn: Connection,
    since: BackupPlace | Path | datetime | None,
    earlier: VerifiedBackup | None,
    now: dict[str, Any],
    found: Sequence[Table],
) -> ChangesSince | None:
    """What counts as changed; None where everything is to be backed up."""
    if isinstance(since, datetime):
        given = {"next": Literal(now["next"]), "moment": Literal(since)}
        return ChangesSince(
            (await _one(conn, SQL(STATEMENTS["horizon_at"]).format(**given)))["horizon"],
            now["next"],
        )
    if earlier is None:
        return None
    if earlier.backup.database != now["database"]:
        raise CannotFollow(
            str(since), "it is of another database, or of this one before it was restored or moved"
        )
    if earlier.columns != {table.title: table.columns for table in found} or [*earlier.columns] != [
        table.title for table in found
    ]:
        raise CannotFollow(str(since), "the database has other tables, or other columns, than then")
    return ChangesSince(earlier.backup.horizon or 0, now["next"])


async def _write_tables(
    conn: Connection,
    new: NewBackup,
    selection: Selection,
    found: Sequence[Table],
    progress: Progress | None,
) -> None:
    for table in selection.of(found):
        await asyncio.to_thread(new.writer.section, table.title, table.columns, table.last_numbers)
        async for rows in _rows(conn, selection.rows(table)):
            await asyncio.to_thread(new.writer.add, rows)
            if progress:
                progress(sum(new.writer.rows.values()), None)
        if selection.changes:
            await asyncio.to_thread(new.writer.keys, table.title, table.key, ranges=table.numbered)
            async for keys in _rows(conn, selection.keys(table)):
                await asyncio.to_thread(new.writer.add, keys)


async def _rows(conn: Connection, statement: Composed) -> AsyncIterator[list[Any]]:
    """What a statement reads, as texts, some rows at a time."""
    rows: list[Any] = []
    async with conn.cursor() as cursor, cursor.copy(statement) as copy:
        async for row in copy.rows():
            rows.append(row)
            if len(rows) == _TOGETHER:
                yield rows
                rows = []
    yield rows
