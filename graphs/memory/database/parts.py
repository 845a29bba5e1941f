"""The parts of the schema that a database may be without."""

import re
from collections.abc import Collection
from enum import StrEnum


class SchemaPart(StrEnum):
    """A part of the schema that a database may be without."""

    GRAPH = "graph"
    """The relationships between memories."""
    HISTORY = "history"
    """Earlier versions of memories."""


_TABLES = {
    SchemaPart.GRAPH: "memory.memory_relationships",
    SchemaPart.HISTORY: "memory.memory_history",
}

_MARKED = re.compile(r"^ *-- part: (\w+)\n.*?^ *-- end of part\n", re.MULTILINE | re.DOTALL)


def leave_out(script: str, parts: Collection[str]) -> str:
    """Return a script without what stands between the marks of some parts."""
    return _MARKED.sub(lambda marked: "" if marked[1] in parts else marked[0], script)


def part_named_in(message: str | None) -> SchemaPart | None:
    """Return the part whose table a message of Postgres names, None if it names none."""
    if '_then"' in (message or ""):  # a view of the past
        return SchemaPart.HISTORY
    return next((part for part, table in _TABLES.items() if f'"{table}"' in (message or "")), None)
