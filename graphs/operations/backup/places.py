"""Where backups lie: files of this machine here, and whatever else is given that behaves like them.

Everything here blocks: call it from a thread.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from graphs.memory.errors import InvalidInput

_PARTIAL = ".partial"
"""How files are called that are not complete."""


class Making(Protocol):
    """Something that is being written, and has its name when it is complete."""

    def write(self, data: bytes, /) -> int:
        """Take what comes next."""
        ...

    def keep(self) -> None:
        """Complete it, and give it its name; what had that name before is replaced."""
        ...

    def discard(self) -> None:
        """Take away what was written, unless it was kept."""
        ...


class BackupPlace(Protocol):
    """Where one backup is, or will be. As a text it is what an operator calls it."""

    def make(self) -> Making:
        """Begin to write it.

        Raises:
            InvalidInput: nothing can be written there.
        """
        ...

    def open(self) -> BinaryIO:
        """Open it for reading, buffered.

        Raises:
            InvalidInput: there is none, or it cannot be read.
        """
        ...


class Folder(Protocol):
    """Where many backups lie side by side. As a text it is what an operator calls it."""

    def place(self, name: str) -> BackupPlace:
        """Return where the backup of a name is, or will be."""
        ...

    def names(self) -> list[str]:
        """Return the names of what lies there, sorted.

        Raises:
            InvalidInput: it cannot be read.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove what has a name; it may be gone already."""
        ...

    def tidy(self, beginning: str) -> None:
        """Remove what was begun, under a name with this beginning, by a process that died."""
        ...


class LocalFile:
    """A file of this machine. Only its owner may read what is written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def make(self) -> Making:
        """Begin to write it, under another name."""
        return _NewFile(self.path)

    def open(self) -> BinaryIO:
        """Open it."""
        try:
            return self.path.open("rb")
        except OSError as error:
            raise InvalidInput(f"{self.path} cannot be read: {error.strerror}.") from error


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def place(self, name: str) -> BackupPlace:
        """Return a file in it."""
        return LocalFile(self._path / name)

    def names(self) -> list[str]:
        """Return the names of its files."""
        try:
            return sorted(entry.name for entry in self._path.iterdir() if entry.is_file())
        except OSError as error:
            raise InvalidInput(f"{self._path} cannot be read: {error.strerror}.") from error

    def remove(self, name: str) -> None:
        """Remove a file."""
        with suppress(FileNotFoundError):
            (self._path / name).unlink()

    def tidy(self, beginning: str) -> None:
        """Remove files that never got their name."""
        for name in self.names():
            if name.startswith(f".{beginning}") and name.endswith(_PARTIAL):
                self.remove(name)


class _NewFile:
    """A file that gets its name when it is complete and on the disk: cut off anywhere, there is none of that name."""

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
            _to_the_disk(self._path.parent)
        except OSError as error:
            raise InvalidInput(f"{self._path} cannot be written: {error.strerror}.") from error

    def discard(self) -> None:
        with suppress(OSError):  # a disk that is full says so once more
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
    """Return the place that a path stands for."""
    return LocalFile(place) if isinstance(place, Path) else place
