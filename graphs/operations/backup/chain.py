"""Backups that are read as one: a full one, and those that tell what changed since the one before each.

Together they are a full backup of the last one's moment. The keys that the last one has are what there was then; of
each row its latest version counts.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graphs.memory.errors import InvalidBackup
from graphs.operations.backup.file import BackupReader, Section
from graphs.operations.backup.places import BackupPlace


class Backup(BaseModel):
    """What a backup holds."""

    model_config = ConfigDict(frozen=True)

    taken_at: datetime = Field(description="The moment that it shows.")
    user_id: str | None = Field(
        description="The one person whose rows it has; null for everybody's."
    )
    encrypted: bool
    rows: dict[str, int] = Field(description="How many rows it has of each table.")
    sha256: str = Field(description="The digest of its lines.")
    since: datetime | None = Field(
        default=None, description="It has only what changed since; null for everything."
    )
    follows: str | None = Field(
        default=None, description="The digest of the backup that was made then."
    )
    begin: datetime | None = Field(
        default=None, description="It has only memories made from then on."
    )
    end: datetime | None = Field(default=None, description="It has only memories made before.")
    erasures_only: bool = Field(default=False, description="Whether it only tells who was erased.")
    database: str | None = Field(
        default=None, description="Which database, of which server, it was made of."
    )
    horizon: int | None = Field(
        default=None, description="The first transaction that it may not have seen the end of."
    )

    @property
    def is_of_a_time(self) -> bool:
        """Whether it has only memories that were made in some time."""
        return self.begin is not None or self.end is not None


@dataclass(frozen=True, slots=True)
class VerifiedBackup:
    """A backup that was read from its beginning to its end, and is as it was written."""

    place: BackupPlace
    backup: Backup
    columns: dict[str, tuple[str, ...]]
    """Those of each of its tables, in the order of the file."""


async def verify(
    place: BackupPlace, secret: bytes | None, progress: Callable[[int], None]
) -> VerifiedBackup:
    """Read a backup, and return what it is.

    Args:
        place: where it is.
        secret: what it was encrypted with.
        progress: is told how many rows are read.

    Raises:
        InvalidBackup: it is no backup, damaged, cut short, of an unknown version, or has another key.
        InvalidInput: it cannot be read.
    """
    reader = await asyncio.to_thread(BackupReader, place, secret)
    try:
        async for _ in _sections(reader):
            progress(sum(reader.rows.values()))
    finally:
        reader.close()
    told = {"encrypted": reader.is_sealed, "rows": reader.rows, "sha256": reader.sha256}
    try:
        return VerifiedBackup(
            place, Backup.model_validate({**reader.about, **told}), reader.columns
        )
    except ValidationError as error:
        raise InvalidBackup("its first line is not what a backup begins with") from error


@dataclass(frozen=True, slots=True)
class Chain:
    """Backups that are read as one, the latest first."""

    links: tuple[VerifiedBackup, ...]

    @classmethod
    async def verified(
        cls, places: Sequence[BackupPlace], secret: bytes | None, progress: Callable[[int], None]
    ) -> "Chain":
        """Read all of them, a full one first, and return them if each follows the one before it.

        Raises:
            InvalidBackup: one is refused, or does not follow.
            InvalidInput: one cannot be read.
        """
        links: list[VerifiedBackup] = []
        for place in places:
            before = sum(sum(link.backup.rows.values()) for link in links)
            try:
                link = await verify(
                    place,
                    secret,
                    lambda rows, before=before: progress(before + rows),  # type: ignore[misc]
                )
            except InvalidBackup as error:
                raise (
                    error if len(places) == 1 else InvalidBackup(f"{error.reason} ({place})")
                ) from error
            _check_follows(link, links[-1] if links else None)
            links.append(link)
        return cls(tuple(reversed(links)))

    @property
    def backup(self) -> Backup:
        """The last one: whose moment the chain shows."""
        return self.links[0].backup

    @property
    def rows(self) -> dict[str, int]:
        """How many rows all of them have of each table."""
        return {
            title: sum(link.backup.rows[title] for link in self.links) for title in self.backup.rows
        }

    @asynccontextmanager
    async def reading(
        self, secret: bytes | None
    ) -> AsyncIterator[AsyncIterator[tuple[int, Section]]]:
        """Lend what they hold, table by table, each from the last one to the first, with the place in this order."""
        readers = [await asyncio.to_thread(BackupReader, link.place, secret) for link in self.links]
        try:
            yield self._interleaved([_Ahead(_sections(reader)) for reader in readers])
        finally:
            for reader in readers:
                reader.close()

    async def _interleaved(self, readers: "list[_Ahead]") -> AsyncIterator[tuple[int, Section]]:
        for title in self.links[0].columns:
            for generation, reader in enumerate(readers):
                async for section in reader.of(title):
                    yield generation, section
        for reader in readers:
            await reader.end()


class _Ahead:
    """What a reader gives, up to the next table."""

    def __init__(self, sections: AsyncIterator[Section]) -> None:
        self._sections = sections
        self._next: Section | None = None

    async def of(self, title: str) -> AsyncIterator[Section]:
        if self._next is None:
            self._next = await anext(self._sections, None)
        while self._next is not None and self._next.table == title:
            section, self._next = self._next, None
            yield section
            self._next = await anext(self._sections, None)

    async def end(self) -> None:
        """Read to the end: only there the checksum tells that all was as it had been verified."""
        if self._next is not None or await anext(self._sections, None) is not None:
            raise InvalidBackup("it changed while it was read")


async def _sections(reader: BackupReader) -> AsyncIterator[Section]:
    sections = reader.sections()
    while (section := await asyncio.to_thread(next, sections, None)) is not None:
        yield section


def _check_follows(link: VerifiedBackup, before: VerifiedBackup | None) -> None:
    backup = link.backup
    if backup.erasures_only:
        raise InvalidBackup(f"{link.place} only tells who was erased: give it as --erasures")
    if before is None:
        if backup.since:
            raise InvalidBackup(
                f"{link.place} has only what changed since {backup.since:%Y-%m-%d %H:%M:%S} UTC: give the full backup, "
                "and all that were made in between, before it"
            )
        return
    if not _follows(backup, before.backup):
        raise InvalidBackup(
            f"{link.place} does not follow {before.place}: give the files in the order they were made"
        )
    if link.columns != before.columns:
        raise InvalidBackup(f"{link.place} has other tables, or other columns, than {before.place}")


def _follows(backup: Backup, earlier: Backup) -> bool:
    """Whether a backup has all that changed since an earlier one."""
    if backup.since is None or earlier.is_of_a_time or backup.user_id != earlier.user_id:
        return False
    if backup.follows:
        return backup.follows == earlier.sha256
    return (
        backup.database == earlier.database and backup.since <= earlier.taken_at <= backup.taken_at
    )
