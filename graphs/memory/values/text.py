"""Text and JSON that Postgres can store."""

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

from graphs.memory.errors import InvalidValue

MAX_DEPTH = 200
"""The deepest nesting of a value: LangGraph's server answers with at most 254 levels."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_INTEGERS = range(-(2**63), 2**64)
"""Integers that LangGraph's server, and other readers of JSON, can hold."""


def problem_with(text: str) -> str | None:
    """Return why Postgres cannot store a text, or None if it can."""
    if "\0" in text:
        return "contains a NUL character, which Postgres cannot store."
    if not text.isascii() and _SURROGATE.search(text):
        return "contains a lone surrogate, which is not valid Unicode text."
    return None


def cleaned(text: str) -> str:
    """Return a text without characters that Postgres cannot store, for input of people."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def normalised(text: str) -> str:
    """Return a text as texts are compared: in NFKC, in which each character has one spelling.

    Keyboards differ in how they compose accents, Korean syllables and full-width letters.
    """
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def shortened(text: str, most: int) -> str:
    """Return a text, or its beginning and its end if it has more than `most` characters."""
    if len(text) <= most:
        return text
    left_out, half = "\n[…]\n", (most - 5) // 2
    return text[:half] + left_out + text[-half:]


def to_json(value: Any, path: str) -> str:
    """Serialise a value so that it comes back from the database exactly as it was.

    Args:
        value: mappings with string keys, lists, texts, numbers, booleans, None.
        path: the name of the value in an error.

    Raises:
        InvalidValue: something in it is not JSON, or cannot be stored; `path` leads there.
    """
    return orjson.dumps(_storable(value, path, 0)).decode()


def from_json(data: bytes | str) -> Any:
    """Return a stored value as far as readers of JSON hold it. SQL can store more.

    Integers of more than 64 bits become the nearest float, numbers beyond floats None, and a value
    that is nested too deep `{}`: one of them must not end the reading of all others.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data, parse_int=_integer_or_float, parse_float=_float_or_none)
    except RecursionError:
        return {}


def _integer_or_float(digits: str) -> int | float | None:
    short = len(digits) <= len(str(2**64))
    return int(digits) if short and int(digits) in _INTEGERS else _float_or_none(digits)


def _float_or_none(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _storable(value: Any, path: str, depth: int) -> Any:
    """Return `value` ready for serialisation, or raise with the path of the problem."""
    if depth > MAX_DEPTH:
        raise InvalidValue(path[:200], f"is nested deeper than {MAX_DEPTH} levels.")
    match value:
        case None | bool():
            return value
        case str():
            if problem := problem_with(value):
                raise InvalidValue(path, problem)
            return str(value)
        case int():
            return _integer(value, path)
        case float():
            if not math.isfinite(value):
                raise InvalidValue(path, f"is {value}, which JSON cannot express.")
            # Written out in digits: Postgres would give 1e+300 back as an integer.
            return value if abs(value) < 1e16 else orjson.Fragment(f"{Decimal(value):f}.0")
        case Mapping():
            return {
                _name(name, path): _storable(part, f"{path}.{name}", depth + 1)
                for name, part in value.items()
            }
        case list() | tuple():
            return [_storable(part, f"{path}[{n}]", depth + 1) for n, part in enumerate(value)]
        case _:
            raise InvalidValue(path, f"is a {type(value).__name__}, which is not JSON.")


def _integer(value: int, path: str) -> Any:
    if int(value) not in _INTEGERS:
        raise InvalidValue(
            path,
            "is an integer of more than 64 bits, which readers of JSON cannot hold: use a text.",
        )
    return value if -(2**53) < value < 2**53 else orjson.Fragment(str(int(value)))


def _name(name: Any, path: str) -> str:
    if not isinstance(name, str):
        raise InvalidValue(path, f"has the key {name!r}, which is not a string.")
    if problem := problem_with(name):
        raise InvalidValue(path, f"has a key that {problem}")
    return name
