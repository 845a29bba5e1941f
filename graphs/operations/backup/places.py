"""Interfaces for places of backups, and their implementation for local files.

Everything here blocks: call it in a thread.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from graphs.memory.errors import InvalidInput

_PARTIAL = ".partial"
"""Suffix of incomplete files."""


class Making(Protocol):
    """A backup that is being written. It gets its name when it is complete."""

    def write(self, data: bytes, /) -> int:
        """Write the next bytes."""
        ...

    def keep(self) -> None:
        """Complete it and give it its name. An existing backup of that name is replaced."""
        ...

    def discard(self) -> None:
        """Delete what was written, unless it was kept."""
        ...


class BackupPlace(Protocol):
    """The place of one backup. `str` returns the name that operators use."""

    def make(self) -> Making:
        """Begin to write the backup.

        Raises:
            InvalidInput: the place is not writable.
        """
        ...

    def open(self) -> BinaryIO:
        """Open the backup for buffered reading.

        Raises:
            InvalidInput: it does not exist, or is not readable.
        """
        ...


class Folder(Protocol):
    """A place of many backups. `str` returns the name that operators use."""

    def place(self, name: str) -> BackupPlace:
        """Return the place of a backup by name."""
        ...

    def names(self) -> list[str]:
        """Return the names of the backups, sorted.

        Raises:
            InvalidInput: the folder is not readable.
        """
        ...

    def remove(self, name: str) -> None:
        """Delete a backup by name. It may be missing already."""
        ...

    def tidy(self, beginning: str) -> None:
        """Delete incomplete backups of dead processes whose names have this beginning."""
        ...


class LocalFile:
    """A local file. What is written is readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def make(self) -> Making:
        """Begin to write the file, under a temporary name."""
        return _NewFile(self.path)

    def open(self) -> BinaryIO:
        """Open the file for reading."""
        try:
            return self.path.open("rb")
        except OSError as error:
            raise InvalidInput(f"{self.path} cannot be read: {error.strerror}.") from error


class LocalFolder:
    """A local folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def place(self, name: str) -> BackupPlace:
        """Return the place of a file in this folder."""
        return LocalFile(self._path / name)

    def names(self) -> list[str]:
        """Return the names of its files."""
        try:
            return sorted(entry.name for entry in self._path.iterdir() if entry.is_file())
        except OSError as error:
            raise InvalidInput(f"{self._path} cannot be read: {error.strerror}.") from error

    def remove(self, name: str) -> None:
        """Delete a file."""
        with suppress(FileNotFoundError):
            (self._path / name).unlink()

    def tidy(self, beginning: str) -> None:
        """Delete incomplete files."""
        for name in self.names():
            if name.startswith(f".{beginning}") and name.endswith(_PARTIAL):
                self.remove(name)


class _NewFile:
    """A file that gets its name only when it is complete and on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            number, name = tempfile.mkstemp(
                prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent
            )
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
        self._temporary = Path(name)
        self._file = os.fdopen(number, "wb")

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            raise InvalidInput(f"{self._path} cannot be written: {error.strerror}.") from error

    def keep(self) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._path)
            # Without this, a power failure could lose the rename.
            _to_the_disk(self._path.parent)
        except OSError as error:
            raise InvalidInput(f"{self._path} cannot be written: {error.strerror}.") from error

    def discard(self) -> None:
        with suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        with suppress(FileNotFoundError):
            self._temporary.unlink()


def _to_the_disk(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def as_place(place: "BackupPlace | Path") -> BackupPlace:
    """Return the place of a path."""
    return LocalFile(place) if isinstance(place, Path) else place
