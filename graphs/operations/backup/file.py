"""The file of a backup: lines of JSON, gzipped, and where there is a secret sealed.

The first line says what it is. Then, for each table, one line with its name, its columns and the last numbers it gave,
and one line for each of its rows: a list of its values in that order, as Postgres writes them as text, or null. The
last line has how many rows there are of each table, and the SHA-256 of all lines before it, line ends included.

A backup of what changed since an earlier one has, behind a table's rows, a line with its name and the columns by which
its rows are told apart, and then one line for each row that there was at its moment, changed or not: its values in
these columns. Where that is a number, a line has the first and the last one of a range without gaps.
Everything here blocks: call it from a thread.
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, cast

import orjson

from graphs.memory.errors import InvalidBackup
from graphs.operations.backup.places import BackupPlace
from graphs.operations.backup.seal import MAGIC, Sealing, Unsealing

FORMAT = "graph-native-memory/backup"
VERSION = 1

_GZIP = b"\x1f\x8b"
_LEVEL = 4
_PORTION = 1024 * 1024
"""Bytes of lines that are read together."""


@dataclass(frozen=True, slots=True)
class Section:
    """A table in a backup, and what of its rows, or of the keys that there were, was read together."""

    table: str
    columns: tuple[str, ...]
    last_numbers: dict[str, int | None] = field(default_factory=dict)
    keys: bool = False
    """Whether these are keys, and no rows."""
    ranges: bool = False
    """Whether each key is the first and the last one of a range."""
    rows: list[list[str | None]] = field(default_factory=list)

    def more(self) -> "Section":
        """Return it without rows, for those that come next."""
        return replace(self, rows=[])


class Writer:
    """Writes lines, and counts and digests them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._table: str | None = None
        self.rows: dict[str, int] = {}

    def begin(self, **about: Any) -> None:
        """Write what the backup is."""
        self._write(orjson.dumps({"format": FORMAT, "version": VERSION, **about}) + b"\n")

    def section(
        self, table: str, columns: Sequence[str], last_numbers: dict[str, int | None]
    ) -> None:
        """Begin a table."""
        self._table = table
        self.rows[table] = 0
        self._write(
            orjson.dumps({"table": table, "columns": columns, "last_numbers": last_numbers}) + b"\n"
        )

    def keys(self, table: str, columns: Sequence[str], *, ranges: bool) -> None:
        """Begin the keys of a table."""
        self._table = None
        self._write(orjson.dumps({"table": table, "keys": columns, "ranges": ranges}) + b"\n")

    def add(self, rows: Sequence[Sequence[str | None]]) -> None:
        """Write rows, or keys, of the table that was begun last."""
        if self._table is not None:
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


class NewBackup:
    """A backup that is being written, gzipped and, where there is a secret, sealed: complete, or not there.

    Args:
        place: where it will be. What is there is replaced.
        secret: what to seal it with; None leaves it open.

    Raises:
        InvalidInput: nothing can be written there.
    """

    def __init__(self, place: BackupPlace, secret: bytes | None) -> None:
        self._made = place.make()
        outside = cast("BinaryIO", self._made)
        self._sealing = Sealing(outside, secret) if secret else None
        inside: Any = self._sealing or outside
        self._gzip = gzip.GzipFile(
            fileobj=inside, mode="wb", compresslevel=_LEVEL, mtime=0, filename=""
        )
        self.writer = Writer(cast("BinaryIO", self._gzip))

    def keep(self) -> None:
        """Complete it, and give it its name."""
        self._gzip.close()
        if self._sealing:
            self._sealing.finish()
        self._made.keep()

    def discard(self) -> None:
        """Take away what was written, unless it was kept."""
        self._made.discard()


class BackupReader:
    """A backup that is being read. `sections` gives what it holds, a portion at a time, and checks it on the way.

    Args:
        place: where it is.
        secret: what it was sealed with.

    Raises:
        InvalidBackup: it is no backup, of a version that is not known, or sealed and there is no secret or another one.
        InvalidInput: there is none, or it may not be read.
    """

    def __init__(self, place: BackupPlace, secret: bytes | None) -> None:
        self._file = place.open()
        try:
            with _damage():
                self._lines = self._open(secret)
                self._digest = hashlib.sha256()
                self.about = _parsed(self._line())
        except BaseException:
            self.close()
            raise
        self.rows: dict[str, int] = {}
        self.columns: dict[str, tuple[str, ...]] = {}
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
        beginning = cast("io.BufferedReader", self._file).peek(len(MAGIC))[: len(MAGIC)]
        self.is_sealed = beginning == MAGIC
        if self.is_sealed and not secret:
            raise InvalidBackup(
                "it is encrypted; set MEMORY_BACKUP_PASSPHRASE, or name its --key-file"
            )
        if not self.is_sealed and not beginning.startswith(_GZIP):
            raise InvalidBackup("it is no backup of this project's")
        inside: Any = self._file
        if self.is_sealed:
            inside = io.BufferedReader(Unsealing(self._file, secret or b""), 128 * 1024)
        return io.BufferedReader(
            cast("io.RawIOBase", gzip.GzipFile(fileobj=inside, mode="rb")), _PORTION
        )

    def sections(self) -> Iterator[Section]:
        """Yield tables with rows, and with keys, a table several times if it is large, and at least once.

        Raises:
            InvalidBackup: it is damaged, or was cut short.
        """
        with _damage():
            section, size = None, 0
            while (line := self._line(digested=False)).startswith(b"[") or line.startswith(
                b'{"table"'
            ):
                self._digest.update(line)
                if line.startswith(b"["):
                    self._take(section, line)
                    size += len(line)
                if section and (size >= _PORTION or not line.startswith(b"[")):
                    yield section
                    section, size = section.more(), 0
                if not line.startswith(b"["):
                    section = self._begin(_parsed(line))
            if section:
                yield section
            self._check(_parsed(line))

    def _begin(self, line: Any) -> Section:
        if "keys" in line:
            return Section(line["table"], tuple(line["keys"]), keys=True, ranges=line["ranges"])
        section = Section(line["table"], tuple(line["columns"]), line["last_numbers"])
        self.rows[section.table] = 0
        self.columns[section.table] = section.columns
        return section

    def _take(self, section: Section | None, line: bytes) -> None:
        row = _parsed(line)
        if section is None or len(row) != (2 if section.ranges else len(section.columns)):
            raise InvalidBackup("it is damaged: a row belongs to no table")
        section.rows.append(row)
        if not section.keys:
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
