"""Exports of `export-user` as a source: are they complete and unchanged, and the history in them.

Lines are parsed, so an export that another tool has rewritten (`jq -c`, sorted keys) is understood.
Its checksum is over the bytes that were written, so such a file cannot be told from a changed one.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from graphs.memory.errors import InvalidInput
from graphs.memory.rights.export import FORMAT, VERSION
from graphs.operations.migration.source import SourceVersion

MEMORIES, _HISTORY = "memory.memories", "memory.memory_history"


def parsed(line: bytes) -> Any:
    """Return the JSON of a line; None if it is not JSON, which no line of an export is."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def is_head(told: Any) -> bool:
    """Return whether this is the first line of an export.

    Raises:
        InvalidInput: it is that of another version.
    """
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        return False
    if told.get("version") != VERSION:
        raise InvalidInput(
            f"This export has version {told.get('version')}, but this program reads version "
            f"{VERSION}: use the program that made it."
        )
    return True


def has_memory(told: Any) -> bool:
    """Return whether a line has a memory, or is broken, so that it must be told of."""
    return not isinstance(told, dict) or told.get("table") == MEMORIES


class Export:
    """An export that is read from beginning to end.

    Args:
        lines: all of its lines.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.memories = 0
        """Number of lines with a memory, and of broken ones."""
        self.history: dict[int, list[SourceVersion]] = {}
        """The earlier versions of each memory."""
        self._rows: Counter[str] = Counter()
        self._broken: int | None = None
        digest = before = hashlib.sha256()
        last: Any = None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                digest.update(line)
                continue
            before = digest.copy()
            digest.update(line)
            last = parsed(line)
            self._take(number, last)
        self._end = last if isinstance(last, dict) and "sha256" in last else None
        self._digest = before.hexdigest()

    def _take(self, number: int, told: Any) -> None:
        self.memories += has_memory(told)
        if not isinstance(told, dict):
            self._broken = self._broken or number
        elif "table" in told:
            self._rows[str(told["table"])] += 1
            if told["table"] == _HISTORY:
                try:
                    _keep(told["row"], self.history)
                except (KeyError, TypeError, ValueError) as error:
                    raise InvalidInput(f"Line {number} has no earlier version: {error}.") from error

    @property
    def damage(self) -> str | None:
        """Return the difference from the export that was written; None if it is unchanged."""
        if self._end and self._end["sha256"] == self._digest:
            return None
        if self._broken:
            return f"line {self._broken} is not JSON, so it was changed or truncated"
        if self._end is None:
            return "it does not end with its checksum, so it was truncated"
        expected = self._end.get("rows")
        for table, rows in expected.items() if isinstance(expected, dict) else ():
            if rows != self._rows[table]:
                return f"it has {self._rows[table]:,} rows of {table} of the {rows} that it had"
        return "it does not fit its checksum, so it was changed, or rewritten by another tool"


def _keep(row: Mapping[str, Any], history: dict[int, list[SourceVersion]]) -> None:
    """Keep an earlier version until its memory is read; none from before its memory expired."""
    if row.get("expired"):
        history.pop(row["memory_id"], None)
        return
    since, until = moment(row["valid_from"]), moment(row["valid_to"])
    if since and until:
        history.setdefault(row["memory_id"], []).append(
            SourceVersion(row["value"], since, until, row["operation"])
        )


def moment(text: str | None) -> datetime | None:
    """Return one of an export's times."""
    return datetime.fromisoformat(text) if text else None
