"""Named SQL statements, one file per concern.

A file holds statements, each under a line `-- name: statement_name`, followed by comments on its
purpose. Parameters are `%(name)s`, bound by the driver, and lists are cast to their type: a
statement is never built from data. Values that the planner must know, such as the model of a
partial index, are constants `{name}`: integers that `with_constants` fills in.
"""

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from typing import Any, LiteralString

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PARAMETER = re.compile(r"%\((\w+)\)s(?:::(\w+(?:\[\])?))?")
_TABLE = re.compile(
    r"memory\.(memories|memory_embeddings|turns|memory_relationships|belief_graphs"
    r"|goal_assessments)\b"
)
"""Tables whose past can be read."""
_CONSTANT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Statement:
    """A statement, with names and types of its parameters in the order of `$1, $2, …`."""

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
        """Identifies this text in the name of the prepared statement."""
        return hashlib.sha256(self.text).hexdigest()[:12]

    @cached_property
    def past(self) -> "Statement":
        """The same statement on what stood at the moment that its transaction names.

        Tables become their views `…_then`. Two spellings that choose an index of a table are plain
        again, since a view has other indexes.
        """
        source: Any = _TABLE.sub(r"memory.\1_then", self.source)
        source = source.replace("now()", "memory.moment()").replace(' COLLATE "POSIX"', "")
        return Statement(self.name, source.replace("~>=~", ">=").replace("~<~", "<"))

    def with_constants(self, **constants: int) -> "Statement":
        """Return the statement with integers in place of its `{name}` constants."""
        source: Any = _CONSTANT.sub(lambda found: str(int(constants[found[1]])), self.source)
        return Statement(self.name, source)


def load(concern: str, package: str | None) -> dict[str, Statement]:
    """Return the statements of `<concern>.sql` by name; the file is beside its module.

    Args:
        concern: the name of the file.
        package: the package of the file, usually the caller's `__package__`.
    """
    return {
        name: Statement(name, source) for name, source in load_sources(concern, package).items()
    }


def load_sources(concern: str, package: str | None) -> dict[str, LiteralString]:
    """Return the statements of `<concern>.sql` by name, as psycopg's cursors take them.

    The files are part of the program, hence `LiteralString`, as the driver demands. In them,
    `{text_formats}` stands for the settings of `settings.sql`.
    """
    return {
        name: source.replace("{text_formats}", _text_formats())
        for name, source in _parts(concern, package).items()
    }


@cache
def _text_formats() -> LiteralString:
    [(_, formats)] = _parts("settings", __package__).items()
    return "\n  ".join(line for line in formats.splitlines() if not line.startswith("--"))


def _parts(concern: str, package: str | None) -> dict[str, LiteralString]:
    text = resources.files(package or "").joinpath(f"{concern}.sql").read_text(encoding="utf-8")
    parts: list[Any] = _NAME.split(text)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
