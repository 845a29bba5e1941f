"""Named SQL statements, one file per concern.

A file holds statements, each under a line `-- name: statement_name`; the comment lines that follow say what it is
for. Parameters are `%(name)s`, bound by the driver: a statement is never built from data.
"""

import re
from importlib import resources
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(concern: str) -> dict[str, LiteralString]:
    """Return the statements of `sql/<concern>.sql` by name.

    The files are part of the program, hence `LiteralString`: what the driver accepts as not made from data.
    """
    text = resources.files(__name__).joinpath(f"{concern}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return {name: cast("LiteralString", body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)}
