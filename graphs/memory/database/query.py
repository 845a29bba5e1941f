"""A query and how to read its rows."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from psycopg.pq import Format

from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.statements import Statement
from graphs.memory.errors import InvalidInput
from graphs.memory.values.text import problem_with

T = TypeVar("T")


Rows = Sequence[Any]
"""Rows of a result: named tuples, with a field for each column."""


def no_answer(_: Rows) -> Any:
    """Read nothing: for statements that are only carried out."""


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """A statement, its parameters, and how to read the rows that come back.

    Parameters are texts, numbers, booleans, None, lists of these, or bytes in Postgres' binary
    format. A query that only records something in a part of the schema names the part. Without that
    part it is left out, and its answer is None. A query that may work for long says that it is
    lasting: it has no deadline.
    """

    statement: Statement
    parameters: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[Rows], T] = no_answer
    part: SchemaPart | None = None
    lasting: bool = False

    def of_past(self) -> "Query[T]":
        """Return the same query on what stood at the moment that its transaction names."""
        return replace(self, statement=self.statement.past)


_NULL = struct.pack(">i", -1)


def _text(text: str) -> bytes:
    """Return a text in UTF-8. A NUL would end it at the server; a lone surrogate is no text.

    Raises:
        InvalidInput: it has one.
    """
    if problem := problem_with(text):
        raise InvalidInput(f"{text[:100]!r} {problem}")
    return text.encode()


_ELEMENTS: dict[str, tuple[int, Callable[[Any], bytes]]] = {
    "text[]": (25, _text),
    "float8[]": (701, struct.Struct(">d").pack),
    "bigint[]": (20, struct.Struct(">q").pack),
    "boolean[]": (16, struct.Struct(">?").pack),
}
"""OID and binary format of the elements of each type of list; OIDs never change."""


def encode_array(oid: int, elements: Sequence[bytes | None]) -> bytes:
    """Return a non-empty list in Postgres' binary format; `oid` is the type of its elements."""
    parts = [struct.pack(">iiIii", 1, 1, oid, len(elements), 1)]
    parts += [
        _NULL if element is None else struct.pack(">i", len(element)) + element
        for element in elements
    ]
    return b"".join(parts)


def _encode(value: Any, type_: str) -> tuple[bytes | None, Format]:
    """Return a parameter for the server. Lists are binary: text would be quoted and parsed."""
    match value:
        case None:
            return None, Format.TEXT
        case bytes() | bytearray():
            return bytes(value), Format.BINARY
        case bool():
            return (b"true" if value else b"false"), Format.TEXT
        case [] | ():
            return b"{}", Format.TEXT
        case list() | tuple():
            oid, pack = _ELEMENTS[type_]
            return encode_array(
                oid, [None if part is None else pack(part) for part in value]
            ), Format.BINARY
        case _:
            return _text(str(value)), Format.TEXT


def encode_parameters(query: Query[Any]) -> tuple[list[bytes | None], list[Format]]:
    """Return the values of a query's parameters in the order of `$1, $2, …`, and their formats."""
    encoded = [_encode(query.parameters[name], type_) for name, type_ in query.statement.parameters]
    return [value for value, _ in encoded], [format_ for _, format_ in encoded]
