"""Scheduled backups: a full one each week, changes on other days, and removal of old ones.

A full backup and those that followed it form one chain and are removed together. The records of
erasures lie beside them and are renewed within minutes of each erasure: a restore of any backup
erases these users again.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from graphs.memory.errors import InvalidInput
from graphs.memory.jobs.tasks import Task
from graphs.operations.backup.backups import Backups
from graphs.operations.backup.chain import Backup
from graphs.operations.backup.naming import (
    BEGINNING,
    chains,
    erasures_in,
    erasures_name,
    scheduled_name,
    time_of,
)
from graphs.operations.backup.places import BackupPlace, Folder
from graphs.operations.errors import InvalidBackup

log = logging.getLogger(__name__)

# One full backup a week bounds the length of a chain, and so the time of a restore.
FULL_EVERY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Plan:
    """The place, time and retention of scheduled backups.

    Args:
        folder: where they lie. Other files there are left alone.
        hour: hour of the day, in UTC.
        keep_days: days that a chain is kept after its last backup. The latest chain always stays.
        secret: secret to encrypt them with.
    """

    folder: Folder
    hour: int
    keep_days: int
    secret: bytes | None


class Schedule:
    """Makes backups according to a plan. Its jobs can be interrupted anywhere and retried.

    Args:
        backups: makes the backups.
        plan: where and when.
    """

    def __init__(self, backups: Backups, plan: Plan) -> None:
        self._backups = backups
        self._plan = plan

    def tasks(self) -> dict[str, Task]:
        """Return the background jobs."""
        return {
            "back_up": Task(self.back_up, f"0 {self._plan.hour} * * *"),
            "keep_erasures": Task(self.keep_erasures, "*/5 * * * *"),
        }

    async def back_up(self) -> Backup:
        """Make the backup that is due, verify it, and remove expired ones.

        Raises:
            InvalidInput: the folder is not readable or not writable.
            InvalidBackup: the new backup cannot be read.
            StoreUnavailable: the database or the bucket is away.
        """
        plan = self._plan
        await asyncio.to_thread(plan.folder.tidy, BEGINNING)
        chain = next(iter(chains(await self._names())[-1:]), [])
        now = _now()
        name = scheduled_name(now, "full")
        # An hour of tolerance, since a job does not start at the same second each week.
        if chain and now - time_of(chain[0]) < FULL_EVERY - timedelta(hours=1):
            name = await self._follow(chain[-1], now) or name
        if name.endswith("-full.backup"):
            await self._backups.create(plan.folder.place(name), secret=plan.secret)
        made = await self._backups.verify(plan.folder.place(name), secret=plan.secret)
        await self._forget_old(now)
        return made

    async def _follow(self, last: str, now: datetime) -> str | None:
        """Back up the changes since the last backup; return the name, None if impossible."""
        name = scheduled_name(now, "changes")
        earlier, place = self._plan.folder.place(last), self._plan.folder.place(name)
        try:
            await self._backups.create(place, since=earlier, secret=self._plan.secret)
        except InvalidInput as error:
            log.warning("Making a full backup, because %s cannot be followed: %s", last, error)
            return None
        return name

    async def _forget_old(self, now: datetime) -> None:
        """Remove expired chains, once the latest chain has been verified completely."""
        *earlier, latest = chains(await self._names())
        limit = now - timedelta(days=self._plan.keep_days)
        old = [name for chain in earlier if time_of(chain[-1]) < limit for name in chain]
        if old:
            await self._backups.verify_chain(
                [*map(self._plan.folder.place, latest)], secret=self._plan.secret
            )
        for name in old:
            await asyncio.to_thread(self._plan.folder.remove, name)

    async def keep_erasures(self) -> None:
        """Write the current records of erasures, unless they are there already.

        Raises:
            InvalidInput: the folder is not readable or not writable.
            StoreUnavailable: the database or the bucket is away.
        """
        count, digest = await self._backups.erasures()
        name = erasures_name(count, digest)
        names = await self._names()
        place = self._plan.folder.place(name)
        if not count or (name in names and await self._is_good(place)):
            return
        await self._backups.create(place, erasures_only=True, secret=self._plan.secret)
        for known in names:
            # A record of more erasures stays: this database may have been restored without it.
            if (recorded := erasures_in(known)) is not None and recorded < count:
                await asyncio.to_thread(self._plan.folder.remove, known)

    async def _is_good(self, place: BackupPlace) -> bool:
        """Return whether a restore would take it: it is intact, and encrypted if it has to be."""
        try:
            await self._backups.verify(place, secret=self._plan.secret)
        except InvalidBackup as error:
            log.warning("Writing %s again: %s", place, error.reason)
            return False
        return True

    async def _names(self) -> list[str]:
        return await asyncio.to_thread(self._plan.folder.names)


def latest(folder: Folder) -> list[BackupPlace]:
    """Return the latest chain in a folder of scheduled backups. It blocks.

    Raises:
        InvalidInput: there is none, or the folder cannot be read.
    """
    if not (found := chains(folder.names())):
        raise InvalidInput(f"{folder} has no scheduled backups: name the files instead.")
    return [*map(folder.place, found[-1])]


def known_erasures(folder: Folder) -> list[BackupPlace]:
    """Return the records of erasures in a folder. It blocks.

    Raises:
        InvalidInput: the folder cannot be read.
    """
    return [folder.place(name) for name in folder.names() if erasures_in(name) is not None]


def _now() -> datetime:
    return datetime.now(UTC)
