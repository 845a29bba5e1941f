"""Backups that a worker makes: a full one each week, what changed on the other days, and what is old goes.

A full backup and those that followed it are one chain, and go together. Beside them lies who was erased, renewed within
minutes of each erasure: a restore of any of them erases these people again.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from graphs.memory.errors import InvalidInput
from graphs.memory.jobs.tasks import Task
from graphs.operations.backup.backups import Backups
from graphs.operations.backup.chain import Backup
from graphs.operations.backup.places import BackupPlace, Folder

log = logging.getLogger(__name__)

FULL_EVERY = timedelta(days=7)

_BEGINNING = "memory-"
_NAME = re.compile(_BEGINNING + r"(\d{8}T\d{6}Z)-(full|changes)\.backup")
_ERASURES = re.compile(_BEGINNING + r"erasures-(\d{8})-[0-9a-f]{8}\.backup")
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Plan:
    """When and where backups are made.

    Args:
        folder: where they lie. Other files in it are left alone.
        hour: of the day, in UTC.
        keep_days: how long a chain is kept after its last backup; the latest one always is.
        secret: what they are encrypted with.
    """

    folder: Folder
    hour: int
    keep_days: int
    secret: bytes | None


class Schedule:
    """Makes backups by a plan. Each of its jobs may be cut off anywhere, and run again.

    Args:
        backups: makes them.
        plan: when and where.
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
        """Make the backup that is due, read it again, and remove what is older than it has to be.

        Raises:
            InvalidInput: the folder cannot be read, or nothing can be written there.
            InvalidBackup: what was written cannot be read again.
            StoreUnavailable: the database or the bucket is away.
        """
        plan = self._plan
        await asyncio.to_thread(plan.folder.tidy, _BEGINNING)
        chain = next(iter(chains(await self._names())[-1:]), [])
        now = datetime.now(UTC)
        name = f"{_BEGINNING}{now:{_TIME}}-full.backup"
        if chain and now - _made(chain[0]) < FULL_EVERY - timedelta(hours=1):
            name = await self._follow(chain[-1], now) or name
        if name.endswith("-full.backup"):
            await self._backups.create(plan.folder.place(name), secret=plan.secret)
        made = await self._backups.verify(plan.folder.place(name), secret=plan.secret)
        await self._forget_old(now)
        return made

    async def _follow(self, last: str, now: datetime) -> str | None:
        """Back up what changed since the last one, and return under which name; None if it cannot be followed."""
        name = f"{_BEGINNING}{now:{_TIME}}-changes.backup"
        earlier, place = self._plan.folder.place(last), self._plan.folder.place(name)
        try:
            await self._backups.create(place, since=earlier, secret=self._plan.secret)
        except InvalidInput as error:
            log.warning("A full backup is made, since %s cannot be followed: %s", last, error)
            return None
        return name

    async def _forget_old(self, now: datetime) -> None:
        """Remove chains that are old, once the latest one was read from its beginning to its end."""
        *earlier, latest = chains(await self._names())
        limit = now - timedelta(days=self._plan.keep_days)
        old = [name for chain in earlier if _made(chain[-1]) < limit for name in chain]
        if old:
            await self._backups.verify_chain(
                [*map(self._plan.folder.place, latest)], secret=self._plan.secret
            )
        for name in old:
            await asyncio.to_thread(self._plan.folder.remove, name)

    async def keep_erasures(self) -> None:
        """Write down who was erased, beside the backups, unless that is written already.

        Raises:
            InvalidInput: the folder cannot be read, or nothing can be written there.
            StoreUnavailable: the database or the bucket is away.
        """
        count, digest = await self._backups.erasures()
        name = f"{_BEGINNING}erasures-{count:08}-{digest[:8]}.backup"
        names = await self._names()
        if not count or name in names:
            return
        await self._backups.create(
            self._plan.folder.place(name), erasures_only=True, secret=self._plan.secret
        )
        for known in names:
            # One that knows of more people stays: this database may have been restored without it.
            if (found := _ERASURES.fullmatch(known)) and int(found[1]) < count:
                await asyncio.to_thread(self._plan.folder.remove, known)

    async def _names(self) -> list[str]:
        return await asyncio.to_thread(self._plan.folder.names)


def chains(names: Sequence[str]) -> list[list[str]]:
    """Return the names of scheduled backups, those of a chain together, the oldest first.

    Others are left out, and so is what followed a full one that is gone.
    """
    found: list[list[str]] = []
    for name in sorted(names):
        match = _NAME.fullmatch(name)
        if match and match[2] == "full":
            found.append([name])
        elif match and found:
            found[-1].append(name)
    return found


def latest(folder: Folder) -> list[BackupPlace]:
    """Return the latest chain of a folder of scheduled backups. It blocks.

    Raises:
        InvalidInput: there is none, or it cannot be read.
    """
    if not (found := chains(folder.names())):
        raise InvalidInput(f"{folder} has no scheduled backups: name the files.")
    return [*map(folder.place, found[-1])]


def known_erasures(folder: Folder) -> list[BackupPlace]:
    """Return what tells in a folder who was erased. It blocks.

    Raises:
        InvalidInput: it cannot be read.
    """
    return [folder.place(name) for name in folder.names() if _ERASURES.fullmatch(name)]


def _made(name: str) -> datetime:
    return datetime.strptime(name.removeprefix(_BEGINNING).partition("-")[0], _TIME).replace(
        tzinfo=UTC
    )
