"""Names of scheduled backups. A name tells the kind of a backup and its time."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePath

from graphs.operations.backup.places import BackupPlace

BEGINNING = "memory-"
_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(BEGINNING + r"(\d{8}T\d{6}Z)-(full|changes)\.backup")
_ERASURES = re.compile(BEGINNING + r"erasures-(\d{8})-[0-9a-f]{8}\.backup")
_CLOCKS_DIFFER = timedelta(days=1)


def scheduled_name(moment: datetime, kind: str) -> str:
    """Return the name of a scheduled backup. The kind is `full` or `changes`."""
    return f"{BEGINNING}{moment:{_TIME}}-{kind}.backup"


def erasures_name(count: int, digest: str) -> str:
    """Return the name of the records of erasures."""
    return f"{BEGINNING}erasures-{count:08}-{digest[:8]}.backup"


def erasures_in(name: str) -> int | None:
    """Return how many erasures the records of this name have; None for other names."""
    return int(found[1]) if (found := _ERASURES.fullmatch(name)) else None


def time_of(name: str) -> datetime:
    """Return the time in the name of a scheduled backup."""
    time = name.removeprefix(BEGINNING).partition("-")[0]
    return datetime.strptime(time, _TIME).replace(tzinfo=UTC)


def chains(names: Sequence[str]) -> list[list[str]]:
    """Return the names of scheduled backups by chain, oldest first.

    Other names are left out, and so are changes whose full backup is gone.
    """
    found: list[list[str]] = []
    for name in sorted(names):
        match = _NAME.fullmatch(name)
        if match and match[2] == "full":
            found.append([name])
        elif match and found:
            found[-1].append(name)
    return found


def name_of(place: BackupPlace) -> str:
    """Return the name of a place without its folder."""
    return PurePath(str(place)).name


def is_misplaced(name: str, written_as: str | None, taken_at: datetime) -> bool:
    """Return whether a backup has the name of another scheduled one.

    An operator may rename other backups. Earlier versions recorded no name: there the time decides.
    """
    is_scheduled = _NAME.fullmatch(name) is not None
    if written_as is None:
        return is_scheduled and abs(time_of(name) - taken_at) > _CLOCKS_DIFFER
    return name != written_as and (is_scheduled or erasures_in(name) is not None)
