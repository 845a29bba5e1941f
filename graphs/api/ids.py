"""Memory ids as URL parameters."""

from typing import Annotated

from fastapi import Path, Query

PATTERN = r"^[A-Za-z0-9_-]+$"

_WHAT = "A memory's `id`, as responses return it."

PathId = Annotated[str, Path(alias="id", pattern=PATTERN, description=_WHAT)]
QueryId = Annotated[str, Query(pattern=PATTERN, description=_WHAT)]
