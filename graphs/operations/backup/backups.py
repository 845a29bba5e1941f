"""Backups of a whole database or of one user, and their restore."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.sql import SQL, Composed, Literal

from graphs.memory.access import Access
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.transaction import Connection
from graphs.memory.errors import InvalidInput
from graphs.memory.values.progress import Progress
from graphs.operations.backup import chain, tables
from graphs.operations.backup.chain import Backup, Chain, VerifiedBackup
from graphs.operations.backup.file import Key, NewBackup
from graphs.operations.backup.naming import name_of
from graphs.operations.backup.places import BackupPlace, as_place
from graphs.operations.backup.restore import Restored, Restoring
from graphs.operations.backup.selection import ChangesSince, Selection, TimeSpan
from graphs.operations.backup.tables import STATEMENTS, Table
from graphs.operations.errors import CannotFollow, InvalidBackup

_TOGETHER = 500
"""Rows that are written in one call."""


class Backups:
    """Creates, verifies and restores backups.

    For the service, on a connection that owns the tables.

    Args:
        access: the store's access.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._database = access.database

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
        """Write a backup of one moment, without blocking reads or writes.

        It leaves out the queue of jobs, threads and the contents of files. The backup appears only
        when it is complete and on the disk; a file is readable by its owner only.

        Args:
            to: where to write it. An existing backup is replaced.
            user_id: back up only what is about this user.
            since: back up only changes since an earlier backup of this database, with which it must
                be restored; or since a time, provided that no transaction lasts a day.
            begin: back up only memories created from then on, with their vectors, turns, sessions,
                relationships and beliefs.
            end: back up only memories created before.
            erasures_only: back up only the records of erasures, for restores of earlier backups
                into databases without them.
            secret: passphrase or key to encrypt it with; it must also open the earlier backup.
            progress: receives the number of written rows.

        Raises:
            InvalidInput: it cannot be written, or the arguments exclude each other.
            InvalidBackup: the earlier backup cannot be restored.
            CannotFollow: the changes since the earlier backup cannot be determined.
            AccessDenied: the principal is not the service, or the connection does not own the
                tables.
        """
        self._check()
        for moment in (since, begin, end):
            if isinstance(moment, datetime) and moment.tzinfo is None:
                raise InvalidInput(f"The time {moment} has no time zone: add one, such as +00:00.")
        span = TimeSpan(begin, end) if begin or end else None
        if [since is not None, span is not None, erasures_only].count(True) > 1 or (
            erasures_only and user_id
        ):
            raise InvalidInput(
                "A backup has changes since a moment, or a time span, or only erasures: "
                "give one of these."
            )
        place, key = as_place(to), Key(secret)
        earlier = await self._earlier(since, user_id, key)
        new = await asyncio.to_thread(NewBackup, place, key)
        try:
            async with self._reading() as conn:
                now = await _one(conn, SQL(STATEMENTS["moment"]))
                found = await tables.data_tables(conn)
                selection = Selection(
                    user_id, await _changes(conn, since, earlier, now, found), span, erasures_only
                )
                about = {
                    "taken_at": now["now"],
                    "name": name_of(place),
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
        allow_unencrypted: bool = False,
        progress: Progress | None = None,
    ) -> Backup:
        """Read a whole backup, and return its description if it is undamaged.

        Args:
            place: where it is.
            secret: the secret that it was encrypted with.
            allow_unencrypted: read it also if it is not encrypted although there is a secret.
            progress: receives the number of rows read.

        Raises:
            InvalidBackup: it is not a backup, is damaged or truncated, has an unknown version, was
                encrypted with another secret, is not encrypted although there is a secret, or lies
                in the place of another scheduled backup.
            InvalidInput: it cannot be read.
            AccessDenied: the principal is not the service.
        """
        self._check()
        return (
            await chain.verify(
                as_place(place),
                Key(secret, allow_unencrypted),
                lambda rows: progress and progress(rows, None),
            )
        ).backup

    async def verify_chain(
        self, places: Sequence[BackupPlace | Path], *, secret: bytes | None = None
    ) -> Backup:
        """Read a chain of backups, and return the last one if they can be restored together.

        Args:
            places: the full backup, then those that followed it, in their order.
            secret: the secret that all of them were encrypted with.

        Raises:
            InvalidBackup: one of them is invalid, or does not follow the one before.
            InvalidInput: one of them cannot be read.
            AccessDenied: the principal is not the service.
        """
        self._check()
        return (
            await Chain.verified([as_place(place) for place in places], Key(secret), lambda _: None)
        ).backup

    async def erasures(self) -> tuple[int, str]:
        """Return the number of erasure certificates, and a digest of them.

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
        allow_unencrypted: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Restored:
        """Verify a backup, then restore its missing rows in one transaction.

        A full backup and the backups of changes that followed it restore the moment of the last
        one. Existing rows are not changed, so a second restore does nothing. Users who were erased
        after the backup stay erased. Ids, times, history, audit records and seals are restored as
        they were, and no trigger records them again. Reads go on; writes wait until the end.
        Vectors are compared one by one until they are in the vector index: `wait_until_indexed`
        puts them there, as does the next write.

        Args:
            places: the backup; or a full one and those that followed it, in their order.
            user_id: restore only what is about this user.
            erasures: later backups of any kind, which have records of users erased since. The
                database keeps these records as well.
            secret: the secret that all of them were encrypted with.
            allow_unencrypted: restore also files that are not encrypted although there is a secret:
                anybody who can write to their place may have made them.
            dry_run: return what would be added, without adding it.
            progress: receives the number of rows read and the total.

        Raises:
            InvalidBackup: one of them is invalid, does not follow the one before, or has data for
                which this database's schema has no place.
            RestoreConflict: the database has other rows with the same ids.
            AccessDenied: the principal is not the service, or the connection does not own the
                tables.
            StoreUnavailable: another transaction has been writing for more than a minute.
        """
        self._check()
        key = Key(secret, allow_unencrypted)
        verified = await Chain.verified([as_place(place) for place in places], key, lambda _: None)
        known = [await _known(as_place(place), key) for place in erasures]
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
                        async with Chain((one,)).reading(key) as sections:
                            async for _, section in sections:
                                await restoring.learn(section)
                    async with verified.reading(key) as sections:
                        async for generation, section in sections:
                            await restoring.take(section, generation)
                            done += 0 if section.keys else len(section.rows)
                            if progress:
                                progress(done, total)
                if not dry_run:
                    await restoring.continue_numbers()
        return restoring.restored

    def _check(self) -> None:
        self._access.only_service("create or restore a backup: it has the data of all users")

    async def _earlier(
        self, since: BackupPlace | Path | datetime | None, user_id: str | None, key: Key
    ) -> VerifiedBackup | None:
        """Return the backup that the new one will follow, if that is possible."""
        if since is None or isinstance(since, datetime):
            return None
        earlier = await chain.verify(as_place(since), key, lambda _: None)
        backup = earlier.backup
        if backup.is_of_a_time or backup.erasures_only or backup.user_id != user_id:
            raise CannotFollow(str(since), "it is for another user, or has only a part of the data")
        if backup.horizon is None:
            raise CannotFollow(
                str(since),
                "it was made by an earlier version, which recorded no transaction ids",
            )
        return earlier

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        """Yield a connection with a snapshot of one moment."""
        with driver_errors():
            async with self._database.pool.connection() as conn, conn.transaction():
                await conn.execute(STATEMENTS["begin_reading"], prepare=False)
                await conn.execute(STATEMENTS["prepare"], prepare=False)
                yield conn


async def _known(place: BackupPlace, key: Key) -> VerifiedBackup:
    """Return verified records of erasures. An error names their file, which was perhaps found."""
    try:
        return await chain.verify(place, key, lambda _: None)
    except InvalidBackup as error:
        raise InvalidBackup(f"{error.reason} ({place})") from error


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
    """Return the limits of the changes; None to back up everything."""
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
            str(since), "it is from another database, or from before this one was restored or moved"
        )
    if earlier.columns != {table.title: table.columns for table in found} or [*earlier.columns] != [
        table.title for table in found
    ]:
        raise CannotFollow(str(since), "the database has different tables or columns now")
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
    """Yield the rows of a statement as text, in portions."""
    rows: list[Any] = []
    async with conn.cursor() as cursor, cursor.copy(statement) as copy:
        async for row in copy.rows():
            rows.append(row)
            if len(rows) == _TOGETHER:
                yield rows
                rows = []
    yield rows
