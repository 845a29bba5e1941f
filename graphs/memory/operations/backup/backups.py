"""Backups: everything that a database holds, or everything of one person, in a file; and back again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database import Database
from graphs.memory.errors import AccessDenied, InvalidInput, driver_errors
from graphs.memory.operations.backup import tables
from graphs.memory.operations.backup.file import NewFile, Reader, Section
from graphs.memory.operations.backup.restore import Restored, Restoring
from graphs.memory.operations.backup.tables import STATEMENTS, Table
from graphs.memory.principal import Principal
from graphs.memory.transaction import Connection

Progress = Callable[[int, int | None], None]
"""Gets how many rows are done, and how many there are; None where that is not known."""

_TOGETHER = 500
"""Rows that are written together."""


class Backup(BaseModel):
    """What a backup holds."""

    model_config = ConfigDict(frozen=True)

    taken_at: datetime = Field(description="The moment that it shows.")
    user_id: str | None = Field(description="The one person whose rows it has; null for everybody's.")
    encrypted: bool
    rows: dict[str, int] = Field(description="How many rows it has of each table.")
    sha256: str = Field(description="The digest of its lines.")


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
        path: Path,
        *,
        user_id: str | None = None,
        secret: bytes | None = None,
        progress: Progress | None = None,
    ) -> Backup:
        """Write a backup of one moment to a file, while others go on reading and writing.

        The queue of jobs is not in it, nor are threads and the contents of files. The file is there, complete and on
        the disk, or there is none; it can be read by its owner only.

        Args:
            path: the file; one that is there is replaced.
            user_id: only what is about this person.
            secret: a passphrase or key to encrypt it with.
            progress: is told how many rows are written.

        Raises:
            InvalidInput: the file cannot be written.
            AccessDenied: the principal is not the service, or the connection does not own the tables.
        """
        self._check()
        new = await asyncio.to_thread(NewFile, path, secret)
        try:
            async with self._reading() as conn:
                taken_at = await _moment(conn)
                new.writer.begin(taken_at=taken_at, user_id=user_id)
                await _write_tables(conn, new, user_id, progress)
            digest = await asyncio.to_thread(new.writer.end)
            await asyncio.to_thread(new.keep)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
        finally:
            await asyncio.to_thread(new.discard)
        rows = new.writer.rows
        return Backup(taken_at=taken_at, user_id=user_id, encrypted=secret is not None, rows=rows, sha256=digest)

    async def verify(self, path: Path, *, secret: bytes | None = None, progress: Progress | None = None) -> Backup:
        """Read a whole backup, and return what it holds if it is as it was written.

        Raises:
            InvalidBackup: it is no backup, damaged, cut short, of an unknown version, or has another key.
            InvalidInput: the file cannot be read.
            AccessDenied: the principal is not the service.
        """
        self._check()
        reader = await asyncio.to_thread(Reader, path, secret)
        try:
            async for _ in _sections(reader):
                if progress:
                    progress(sum(reader.rows.values()), None)
        finally:
            reader.close()
        return _backup(reader)

    async def restore(
        self,
        path: Path,
        *,
        user_id: str | None = None,
        secret: bytes | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Restored:
        """Bring back what a backup has and the database has not, in one transaction, after the file was verified.

        What is there stays as it is, so that doing it twice does nothing twice; people who were erased after the
        backup stay erased. Ids, times, history, audit records and seals come back as they were, and no trigger
        records anything anew. Others go on reading; who writes waits until it is done. Vectors are searched one by one
        until they are in the vector index: `wait_until_indexed` puts them there, as does the next write.

        Args:
            path: the file.
            user_id: only what is about this person.
            secret: what the backup was encrypted with.
            dry_run: only tell what would be added.
            progress: is told how many of the rows are read.

        Raises:
            InvalidBackup: the file is refused, or this database's schema has no place for what is in it.
            RestoreConflict: the database holds other rows under the numbers of the backup's.
            AccessDenied: the principal is not the service, or the connection does not own the tables.
            StoreUnavailable: somebody has been writing for more than a minute in one transaction.
        """
        backup = await self.verify(path, secret=secret)
        reader = await asyncio.to_thread(Reader, path, secret)
        try:
            with driver_errors():
                async with self._database.pool.connection() as conn, conn.transaction(force_rollback=dry_run):
                    await conn.execute(STATEMENTS["prepare"], prepare=False)
                    restoring = Restoring(conn, await tables.data_tables(conn), backup.user_id, user_id)
                    restoring.check(backup.rows)
                    async with restoring.alone():
                        async for section in _sections(reader):
                            await restoring.take(section)
                            if progress:
                                progress(sum(reader.rows.values()), sum(backup.rows.values()))
                    if not dry_run:
                        await restoring.continue_numbers()
        finally:
            reader.close()
        return restoring.restored

    def _check(self) -> None:
        if self._acting().user_id:
            raise AccessDenied("A backup has everything of everybody: only the service may make or restore one.")

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        """Lend a connection that sees one moment."""
        with driver_errors():
            async with self._database.pool.connection() as conn, conn.transaction():
                await conn.execute(STATEMENTS["begin_reading"], prepare=False)
                await conn.execute(STATEMENTS["prepare"], prepare=False)
                yield conn


async def _moment(conn: Connection) -> datetime:
    [row] = await (await conn.execute(STATEMENTS["moment"], prepare=False)).fetchall()
    moment: datetime = row["now"]
    return moment


async def _write_tables(conn: Connection, new: NewFile, user_id: str | None, progress: Progress | None) -> None:
    for table in await tables.data_tables(conn):
        new.writer.section(table.title, table.columns, table.last_numbers)
        async for rows in _rows(conn, table, user_id):
            await asyncio.to_thread(new.writer.add, rows)
            if progress:
                progress(sum(new.writer.rows.values()), None)


async def _rows(conn: Connection, table: Table, user_id: str | None) -> AsyncIterator[list[Any]]:
    """Rows of a table as texts, some at a time."""
    rows: list[Any] = []
    async with conn.cursor() as cursor, cursor.copy(tables.read(table, user_id)) as copy:
        async for row in copy.rows():
            rows.append(row)
            if len(rows) == _TOGETHER:
                yield rows
                rows = []
    yield rows


async def _sections(reader: Reader) -> AsyncIterator[Section]:
    sections = reader.sections()
    while (section := await asyncio.to_thread(next, sections, None)) is not None:
        yield section


def _backup(reader: Reader) -> Backup:
    about = reader.about
    return Backup(
        taken_at=about["taken_at"],
        user_id=about["user_id"],
        encrypted=reader.is_sealed,
        rows=reader.rows,
        sha256=reader.sha256,
    )
