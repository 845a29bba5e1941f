"""The file of a backup: lines of JSON, gzipped, and where there is a secret sealed.

The first line says what it is. Then, for each table, one line with its name, its columns and the last numbers it gave,
and one line for each of its rows: a list of its values in that order, as Postgres writes them as text, or null. The
last line has how many rows there are of each table, and the SHA-256 of all lines before it, line ends included.
Everything here blocks: call it from a thread.
"""

import gzip
import hashlib
import io
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from graphs.memory.errors import InvalidBackup, InvalidInput
from graphs.memory.operations.backup.seal import MAGIC, Sealing, Unsealing

FORMAT = "graph-native-memory/backup"
VERSION = 1

_GZIP = b"\x1f\x8b"
_LEVEL = 4
_PORTION = 1024 * 1024
"""Bytes of lines that are read together."""


@dataclass(frozen=True, slots=True)
class Section:
    """A table in a backup, and what of its rows was read together."""

    table: str
    columns: tuple[str, ...]
    last_numbers: dict[str, int | None]
    rows: list[list[str | None]] = field(default_factory=list)


class Writer:
    """Writes lines, and counts and digests them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._table = ""
        self.rows: dict[str, int] = {}

    def begin(self, **about: Any) -> None:
        """Write what the backup is."""
        self._write(orjson.dumps({"format": FORMAT, "version": VERSION, **about}) + b"\n")

    def section(self, table: str, columns: Sequence[str], last_numbers: dict[str, int | None]) -> None:
        """Begin a table."""
        self._table = table
        self.rows[table] = 0
        self._write(orjson.dumps({"table": table, "columns": columns, "last_numbers": last_numbers}) + b"\n")

    def add(self, rows: Sequence[Sequence[str | None]]) -> None:
        """Write rows of the table that was begun last."""
        self.rows[self._table] += len(rows)
        self._write(b"".join(orjson.dumps(row) + b"\n" for row in rows))

    def end(self) -> str:
        """Write the last line, and return the digest of all before it."""
        digest = self._digest.hexdigest()
        self._file.write(orjson.dumps({"rows": self.rows, "sha256": digest}) + b"\n")
        return digest

    def _write(self, lines: bytes) -> None:
        self._digest.update(lines)
        self._file.write(lines)


class NewFile:
    """A file that gets its name when it is complete and on the disk: cut off anywhere, there is none of that name.

    Args:
        path: where it will be. What is there is replaced.
        secret: what to seal it with; None leaves it open.

    Raises:
        InvalidInput: nothing can be written there.
    """

    def __init__(self, path: Path, secret: bytes | None) -> None:
        self._path = path
        try:
            number, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
        self._temporary = Path(name)
        self._file = os.fdopen(number, "wb")
        self._sealing = Sealing(self._file, secret) if secret else None
        inside: Any = self._sealing or self._file
        self._gzip = gzip.GzipFile(fileobj=inside, mode="wb", compresslevel=_LEVEL, mtime=0, filename="")
        self.writer = Writer(cast("BinaryIO", self._gzip))

    def keep(self) -> None:
        """Complete it, and give it its name."""
        self._gzip.close()
        if self._sealing:
            self._sealing.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        """Take away what was written, unless it was kept."""
        self._file.close()
        with suppress(FileNotFoundError):
            self._temporary.unlink()


class Reader:
    """A backup that is being read. `sections` gives what it holds, a portion at a time, and checks it on the way.

    Args:
        path: the file.
        secret: what it was sealed with.

    Raises:
        InvalidBackup: it is no backup, of a version that is not known, or sealed and there is no secret or another one.
        InvalidInput: there is no such file, or it may not be read.
    """

    def __init__(self, path: Path, secret: bytes | None) -> None:
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
        try:
            with _damage():
                self._lines = self._open(secret)
                self._digest = hashlib.sha256()
                self.about = _parsed(self._line())
        except BaseException:
            self.close()
            raise
        self.rows: dict[str, int] = {}
        self.sha256 = ""
        if not isinstance(self.about, dict) or self.about.get("format") != FORMAT:
            self.close()
            raise InvalidBackup("it is no backup of this project's")
        if self.about.get("version") != VERSION:
            self.close()
            raise InvalidBackup(
                f"it is of version {self.about.get('version')}, and this program reads version {VERSION}; use the "
                "program that made it"
            )

    def _open(self, secret: bytes | None) -> io.BufferedReader:
        beginning = self._file.read(len(MAGIC))
        self._file.seek(0)
        self.is_sealed = beginning == MAGIC
        if self.is_sealed and not secret:
            raise InvalidBackup("it is encrypted; set MEMORY_BACKUP_PASSPHRASE, or name its --key-file")
        if not self.is_sealed and not beginning.startswith(_GZIP):
            raise InvalidBackup("it is no backup of this project's")
        inside: Any = self._file
        if self.is_sealed:
            inside = io.BufferedReader(Unsealing(self._file, secret or b""), 128 * 1024)
        return io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=inside, mode="rb")), _PORTION)

    def sections(self) -> Iterator[Section]:
        """Yield tables with rows, a table several times if it is large, and at least once.

        Raises:
            InvalidBackup: it is damaged, or was cut short.
        """
        with _damage():
            section, size = None, 0
            while (line := self._line(digested=False)).startswith(b"[") or line.startswith(b'{"table"'):
                self._digest.update(line)
                if line.startswith(b"["):
                    self._take(section, line)
                    size += len(line)
                if section and (size >= _PORTION or not line.startswith(b"[")):
                    yield section
                    section, size = Section(section.table, section.columns, section.last_numbers), 0
                if not line.startswith(b"["):
                    section = _section(_parsed(line))
                    self.rows[section.table] = 0
            if section:
                yield section
            self._check(_parsed(line))

    def _take(self, section: Section | None, line: bytes) -> None:
        row = _parsed(line)
        if section is None or len(row) != len(section.columns):
            raise InvalidBackup("it is damaged: a row belongs to no table")
        section.rows.append(row)
        self.rows[section.table] += 1

    def _check(self, end: Any) -> None:
        """Compare what was read with what the last line says, after which there is nothing."""
        self.sha256 = self._digest.hexdigest()
        if end.get("sha256") != self.sha256 or end.get("rows") != self.rows or self._lines.read(1):
            raise InvalidBackup("it is damaged: its checksum does not fit")

    def _line(self, *, digested: bool = True) -> bytes:
        line = self._lines.readline()
        if digested:
            self._digest.update(line)
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _parsed(line: bytes) -> Any:
    if not line.endswith(b"\n"):
        raise InvalidBackup("it is damaged, or was cut short")
    return orjson.loads(line)


def _section(line: Any) -> Section:
    return Section(line["table"], tuple(line["columns"]), line["last_numbers"])


@contextmanager
def _damage() -> Iterator[None]:
    """Turn what reading a damaged file raises into one error."""
    try:
        yield
    except (
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
        orjson.JSONDecodeError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise InvalidBackup("it is damaged, or was cut short") from error
