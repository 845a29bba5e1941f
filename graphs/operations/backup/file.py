"""The file format of a backup: gzipped lines of JSON, encrypted if there is a secret.

The first line describes the backup. Then each table has one line with its name, its columns and
the last values of its sequences, and one line per row: a list of the values in that order, as
Postgres writes them as text, or null. The last line has the number of rows of each table, and the
SHA-256 of all lines before it, line ends included.

In a backup of changes, a table's rows are followed by its keys: one line with the table's name and
its key columns, and one line per row that existed at that moment, changed or not, with the values
of these columns. If the key is a number, each line has the first and the last one of a range
without gaps.

Everything here blocks: call it in a thread.
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

from graphs.memory.errors import InvalidInput
from graphs.operations.backup.places import BackupPlace
from graphs.operations.backup.seal import MAGIC, Sealing, Unsealing
from graphs.operations.errors import InvalidBackup

FORMAT = "graph-native-memory/backup"
VERSION = 1

_GZIP = b"\x1f\x8b"
_LEVEL = 4
_PORTION = 1024 * 1024
"""Bytes of lines that are read as one portion."""
_LINE = 64 * 1024 * 1024
"""Bytes of the longest line of a file that is not encrypted.

A megabyte of gzip may unpack to a gigabyte. What is encrypted was written by us.
"""
_TABLES = 10_000


@dataclass(frozen=True, slots=True)
class Key:
    """The secret of backups, and whether backups without encryption are read nevertheless.

    Args:
        secret: passphrase or key; None for backups without encryption.
        allow_unencrypted: read a backup that is not encrypted, although there is a secret.

    Raises:
        InvalidInput: the secret is empty.
    """

    secret: bytes | None = field(default=None, repr=False)
    allow_unencrypted: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty secret: it would count as none."""
        if self.secret is not None and not self.secret:
            raise InvalidInput("The secret is empty: give one, or None for no encryption.")


@dataclass(frozen=True, slots=True)
class Section:
    """A portion of a table's rows or keys in a backup."""

    table: str
    columns: tuple[str, ...]
    last_numbers: dict[str, int | None] = field(default_factory=dict)
    keys: bool = False
    """True for a portion of keys, False for rows."""
    ranges: bool = False
    """True if each key is the first and the last number of a range."""
    rows: list[list[str | None]] = field(default_factory=list)

    def more(self) -> "Section":
        """Return a copy without rows, for the next portion."""
        return replace(self, rows=[])


class BackupWriter:
    """Writes lines, counts rows and computes the digest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._table: str | None = None
        self.rows: dict[str, int] = {}

    def begin(self, **about: Any) -> None:
        """Write the first line."""
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
        """Write rows, or keys, of the current table."""
        if self._table is not None:
            self.rows[self._table] += len(rows)
        self._write(b"".join(orjson.dumps(row) + b"\n" for row in rows))

    def end(self) -> str:
        """Write the last line, and return the digest of all lines before it."""
        digest = self._digest.hexdigest()
        self._file.write(orjson.dumps({"rows": self.rows, "sha256": digest}) + b"\n")
        return digest

    def _write(self, lines: bytes) -> None:
        self._digest.update(lines)
        self._file.write(lines)


class NewBackup:
    """A backup that is being written. It appears under its name only when it is complete.

    Args:
        place: where to write it. An existing backup is replaced.
        key: has the secret to encrypt it with.

    Raises:
        InvalidInput: the place is not writable.
    """

    def __init__(self, place: BackupPlace, key: Key) -> None:
        self._made = place.make()
        outside = cast("BinaryIO", self._made)
        self._sealing = Sealing(outside, key.secret) if key.secret else None
        inside: Any = self._sealing or outside
        self._gzip = gzip.GzipFile(
            fileobj=inside, mode="wb", compresslevel=_LEVEL, mtime=0, filename=""
        )
        self.writer = BackupWriter(cast("BinaryIO", self._gzip))

    def keep(self) -> None:
        """Complete the backup and give it its name."""
        self._gzip.close()
        if self._sealing:
            self._sealing.finish()
        self._made.keep()

    def discard(self) -> None:
        """Delete what was written, unless it was kept."""
        self._made.discard()


class BackupReader:
    """A backup that is being read. `sections` yields its content in portions and checks it.

    Args:
        place: where it is.
        key: has the secret that it was encrypted with.

    Raises:
        InvalidBackup: it is not a backup, has an unknown version, is encrypted and the secret is
            missing or wrong, or is not encrypted and the key does not allow it.
        InvalidInput: it does not exist, or is not readable.
    """

    def __init__(self, place: BackupPlace, key: Key) -> None:
        self._file = place.open()
        try:
            with _damage():
                self._lines = self._open(key)
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
            raise InvalidBackup("it is not a backup of this project")
        if self.about.get("version") != VERSION:
            self.close()
            raise InvalidBackup(
                f"it has version {self.about.get('version')}, but this program reads version "
                f"{VERSION}; use the program that made it"
            )

    def _open(self, key: Key) -> io.BufferedReader:
        beginning = cast("io.BufferedReader", self._file).peek(len(MAGIC))[: len(MAGIC)]
        self.is_sealed = beginning == MAGIC
        if self.is_sealed and not key.secret:
            raise InvalidBackup(
                "it is encrypted; set MEMORY_BACKUP_PASSPHRASE, or pass its --key-file"
            )
        if not self.is_sealed and not beginning.startswith(_GZIP):
            raise InvalidBackup("it is not a backup of this project")
        if not self.is_sealed and key.secret and not key.allow_unencrypted:
            # Anybody who can write to its place could make such a file, administrators included.
            raise InvalidBackup(
                "it is not encrypted, although a passphrase or key is configured; if you know who "
                "made it, `restore` and `verify` take it with --allow-unencrypted"
            )
        inside: Any = self._file
        if self.is_sealed:
            inside = io.BufferedReader(Unsealing(self._file, key.secret or b""), 128 * 1024)
        return io.BufferedReader(
            cast("io.RawIOBase", gzip.GzipFile(fileobj=inside, mode="rb")), _PORTION
        )

    def sections(self) -> Iterator[Section]:
        """Yield the tables with their rows and keys. Large tables come in several portions.

        Each table comes at least once, also if it has no rows.

        Raises:
            InvalidBackup: it is damaged or truncated.
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
        if len(self.rows) >= _TABLES:
            raise InvalidBackup(f"it has more than {_TABLES:,} tables")
        self.rows[section.table] = 0
        self.columns[section.table] = section.columns
        return section

    def _take(self, section: Section | None, line: bytes) -> None:
        row = _parsed(line)
        if section is None or len(row) != (2 if section.ranges else len(section.columns)):
            raise InvalidBackup("it is damaged: a row does not fit its table")
        section.rows.append(row)
        if not section.keys:
            self.rows[section.table] += 1

    def _check(self, end: Any) -> None:
        """Compare the content with the last line, which must also be the end of the file."""
        self.sha256 = self._digest.hexdigest()
        if end.get("sha256") != self.sha256 or end.get("rows") != self.rows or self._lines.read(1):
            raise InvalidBackup("it is damaged: its checksum does not match")

    def _line(self, *, digested: bool = True) -> bytes:
        line = self._lines.readline(-1 if self.is_sealed else _LINE)
        if not self.is_sealed and len(line) == _LINE:
            raise InvalidBackup(
                f"a line has {_LINE:,} bytes or more, as only encrypted backups may have"
            )
        if digested:
            self._digest.update(line)
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _parsed(line: bytes) -> Any:
    if not line.endswith(b"\n"):
        raise InvalidBackup("it is damaged or truncated")
    return orjson.loads(line)


@contextmanager
def _damage() -> Iterator[None]:
    """Translate the errors of reading a damaged file into `InvalidBackup`."""
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
        raise InvalidBackup("it is damaged or truncated") from error
