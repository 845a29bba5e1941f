"""Chains of backups: a full backup and the backups of changes that followed it, read as one.

A chain equals a full backup of the moment of its last link. The keys of the last link say which
rows existed then; of each row the latest version counts.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graphs.operations.backup.file import BackupReader, Key, Section
from graphs.operations.backup.naming import is_misplaced, name_of
from graphs.operations.backup.places import BackupPlace
from graphs.operations.errors import InvalidBackup


class Backup(BaseModel):
    """The description of a backup."""

    model_config = ConfigDict(frozen=True)

    taken_at: datetime = Field(description="The moment of its snapshot.")
    name: str | None = Field(default=None, description="The name that it was written under.")
    user_id: str | None = Field(description="The one user whose rows it has; null for all users.")
    encrypted: bool
    rows: dict[str, int] = Field(description="Number of rows by table.")
    sha256: str = Field(description="SHA-256 of its lines.")
    since: datetime | None = Field(
        default=None, description="It has only changes since this moment; null for everything."
    )
    follows: str | None = Field(default=None, description="Digest of the backup that it follows.")
    begin: datetime | None = Field(
        default=None, description="It has only memories created from this moment on."
    )
    end: datetime | None = Field(
        default=None, description="It has only memories created before this moment."
    )
    erasures_only: bool = Field(
        default=False, description="Whether it has only the records of erasures."
    )
    database: str | None = Field(
        default=None, description="Identifier of the database and its server."
    )
    horizon: int | None = Field(
        default=None, description="First transaction id whose end it may not have seen."
    )

    @property
    def is_of_a_time(self) -> bool:
        """Return whether it is limited to memories of a time span."""
        return self.begin is not None or self.end is not None


@dataclass(frozen=True, slots=True)
class VerifiedBackup:
    """A backup that was read completely and is undamaged."""

    place: BackupPlace
    backup: Backup
    columns: dict[str, tuple[str, ...]]
    """The columns of each table, in the order of the file."""


async def verify(place: BackupPlace, key: Key, progress: Callable[[int], None]) -> VerifiedBackup:
    """Read a whole backup, and return its description.

    Args:
        place: where it is.
        key: has the secret that it was encrypted with.
        progress: receives the number of rows read.

    Raises:
        InvalidBackup: it is not a backup, is damaged or truncated, has an unknown version, or was
            encrypted with another secret; or it lies in the place of another scheduled backup.
        InvalidInput: it cannot be read.
    """
    reader = await asyncio.to_thread(BackupReader, place, key)
    try:
        async for _ in _sections(reader):
            progress(sum(reader.rows.values()))
    finally:
        reader.close()
    told = {"encrypted": reader.is_sealed, "rows": reader.rows, "sha256": reader.sha256}
    try:
        backup = Backup.model_validate({**reader.about, **told})
    except ValidationError as error:
        raise InvalidBackup("its first line is not that of a backup") from error
    if is_misplaced(name_of(place), backup.name, backup.taken_at):
        raise InvalidBackup(
            f"it is another backup than its name says: {backup.name or 'one'} of "
            f"{backup.taken_at:%Y-%m-%d %H:%M:%S} UTC lies there as {name_of(place)}. Somebody "
            "replaced the file; to use it nevertheless, give it another name"
        )
    return VerifiedBackup(place, backup, reader.columns)


@dataclass(frozen=True, slots=True)
class Chain:
    """Backups that are read as one, latest first."""

    links: tuple[VerifiedBackup, ...]

    @classmethod
    async def verified(
        cls, places: Sequence[BackupPlace], key: Key, progress: Callable[[int], None]
    ) -> "Chain":
        """Read all backups, the full one first, and check that each follows the one before.

        Raises:
            InvalidBackup: one of them is invalid, or does not follow.
            InvalidInput: one of them cannot be read.
        """
        links: list[VerifiedBackup] = []
        for place in places:
            before = sum(sum(link.backup.rows.values()) for link in links)
            try:
                link = await verify(
                    place,
                    key,
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
        """Return the last link, whose moment the chain restores."""
        return self.links[0].backup

    @property
    def rows(self) -> dict[str, int]:
        """Return the number of rows of all links by table."""
        return {
            title: sum(link.backup.rows[title] for link in self.links) for title in self.backup.rows
        }

    @asynccontextmanager
    async def reading(self, key: Key) -> AsyncIterator[AsyncIterator[tuple[int, Section]]]:
        """Yield the content table by table, with the generation of each section.

        Generation 0 is the last link; each table begins with it.
        """
        readers = [await asyncio.to_thread(BackupReader, link.place, key) for link in self.links]
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
    """A reader's sections, with a look at the next one."""

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
        """Read to the end, where the checksum shows that the file is still the verified one."""
        if self._next is not None or await anext(self._sections, None) is not None:
            raise InvalidBackup("it was changed while it was read")


async def _sections(reader: BackupReader) -> AsyncIterator[Section]:
    sections = reader.sections()
    while (section := await asyncio.to_thread(next, sections, None)) is not None:
        yield section


def _check_follows(link: VerifiedBackup, before: VerifiedBackup | None) -> None:
    backup = link.backup
    if backup.erasures_only:
        raise InvalidBackup(
            f"{link.place} has only the records of erasures: pass it with --erasures"
        )
    if before is None:
        if backup.since:
            raise InvalidBackup(
                f"{link.place} has only changes since {backup.since:%Y-%m-%d %H:%M:%S} UTC: "
                "pass the full backup and all backups in between before it"
            )
        return
    if not _follows(backup, before.backup):
        raise InvalidBackup(
            f"{link.place} does not follow {before.place}: pass the files in the order in which "
            "they were made"
        )
    if link.columns != before.columns:
        raise InvalidBackup(f"{link.place} has different tables or columns from {before.place}")


def _follows(backup: Backup, earlier: Backup) -> bool:
    """Return whether a backup has all changes since an earlier one."""
    if backup.since is None or earlier.is_of_a_time or backup.user_id != earlier.user_id:
        return False
    if backup.follows:
        return backup.follows == earlier.sha256
    return (
        backup.database == earlier.database and backup.since <= earlier.taken_at <= backup.taken_at
    )
