"""Named SQL statements, one file per concern.

A file holds statements, each under a line `-- name: statement_name`; the comment lines that follow say what it is
for. Parameters are `%(name)s`, bound by the driver, and lists are cast to their type: a statement is never built from
data. What the server must know when it plans, such as which partial index to use, is a constant `{name}`: an integer
that `with_constants` writes in.
"""

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from typing import Any, LiteralString

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PARAMETER = re.compile(r"%\((\w+)\)s(?:::(\w+(?:\[\])?))?")
_CONSTANT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Statement:
    """A statement and, for each of its parameters in the order of `$1, $2, …`, its name and (where cast) its type."""

    name: str
    source: LiteralString
    """As it stands in the file; what psycopg's cursors take."""
    text: bytes = field(init=False, repr=False)
    """With numbered parameters; what the server takes."""
    parameters: tuple[tuple[str, str], ...] = field(init=False)

    def __post_init__(self) -> None:
        types: dict[str, str] = {}
        for name, type_ in _PARAMETER.findall(self.source):
            types[name] = types.get(name) or type_
        numbers = {name: n for n, name in enumerate(types, start=1)}
        text = _PARAMETER.sub(
            lambda found: f"${numbers[found[1]]}" + (f"::{found[2]}" if found[2] else ""),
            self.source,
        )
        object.__setattr__(self, "text", text.encode())
        object.__setattr__(self, "parameters", tuple(types.items()))

    @cached_property
    def digest(self) -> str:
        """What tells this text from that of another version, in the name under which a server prepares it."""
        return hashlib.sha256(self.text).hexdigest()[:12]

    def with_constants(self, **constants: int) -> "Statement":
        """Return the statement with its `{name}` replaced by integers, and by nothing else than integers."""
        source: Any = _CONSTANT.sub(lambda found: str(int(constants[found[1]])), self.source)
        return Statement(self.name, source)


def load(concern: str, package: str | None) -> dict[str, Statement]:
    """Return the statements of `<concern>.sql`, by name. The file lies beside the module that reads it.

    Args:
        concern: the name of the file.
        package: the package that it lies in: `__package__`, where that is the caller's.
    """
    return {
        name: Statement(name, source) for name, source in load_sources(concern, package).items()
    }


def load_sources(concern: str, package: str | None) -> dict[str, LiteralString]:
    """Return the statements of `<concern>.sql` by name, as psycopg's cursors take them.

    The files are part of the program, hence `LiteralString`: what the driver accepts as not made from data.
    """
    text = resources.files(package or "").joinpath(f"{concern}.sql").read_text(encoding="utf-8")
    parts: list[Any] = _NAME.split(text)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
