"""Pages of long lists: each begins after the last row of the page before.

Writes between two requests shift nothing, and the hundredth page costs as much as the first.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from graphs.memory.errors import InvalidInput, InvalidValue
from graphs.memory.values.text import problem_with

T = TypeVar("T")

MOST = 200
"""Longest page."""

_LAST_ID = 2**63 - 1


class Page(BaseModel, Generic[T]):
    """A part of a list, and the cursor of the next part."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: list[T]
    next: str | None = None
    """The cursor of the next page; None where this is the last."""


def page_of(
    rows: Sequence[T], limit: int, place: Callable[[T], tuple[datetime | None, int | str]]
) -> Page[T]:
    """Return a page from the rows of a statement that read one row more than the page has.

    Args:
        rows: the rows, in order.
        limit: the length of the page.
        place: returns the time of a row (None if its number alone orders it) and its number or
            name.
    """
    shown = list(rows[:limit])
    if len(rows) <= limit:
        return Page(items=shown)
    at, id_ = place(shown[-1])
    place_json = json.dumps([at and at.isoformat(), id_], separators=(",", ":"))
    return Page(
        items=shown, next=base64.urlsafe_b64encode(place_json.encode()).decode().rstrip("=")
    )


def numbered(cursor: str | None, limit: int) -> dict[str, Any]:
    """Return the parameters `at`, `id` and `most` of a statement whose rows have numbers.

    Raises:
        InvalidValue: the cursor is not one of a page.
        InvalidInput: the limit is not from 1 to `MOST`.
    """
    at, id_ = _place(cursor)
    if id_ is None:
        id_ = _LAST_ID
    if not isinstance(id_, int) or isinstance(id_, bool) or not 0 <= id_ <= _LAST_ID:
        raise _not_one(cursor)
    return {"at": at, "id": id_, "most": _most(limit)}


def named(cursor: str | None, limit: int) -> dict[str, Any]:
    """Return the same for a statement whose rows have names.

    Raises:
        InvalidValue: the cursor is not one of a page.
        InvalidInput: the limit is not from 1 to `MOST`.
    """
    at, id_ = _place(cursor)
    if id_ is None:
        id_ = ""
    if not isinstance(id_, str) or problem_with(id_):
        raise _not_one(cursor)
    return {"at": at, "id": id_, "most": _most(limit)}


def _place(cursor: str | None) -> tuple[str, Any]:
    if cursor is None:
        return "infinity", None
    try:
        place = json.loads(
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        )
        at, id_ = place
        moment = datetime.fromisoformat(at) if at is not None else None
        if id_ is None or (moment is not None and moment.tzinfo is None):
            raise _not_one(cursor)
    except (binascii.Error, TypeError, ValueError, RecursionError):
        raise _not_one(cursor) from None
    return moment.isoformat() if moment else "infinity", id_


def _not_one(cursor: str | None) -> InvalidValue:
    return InvalidValue(
        "cursor", f"must be the `next` of a page before; got {str(cursor)[:100]!r}."
    )


def _most(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
        raise InvalidInput(f"limit must be a number from 1 to {MOST}; got {limit!r}.")
    return limit + 1
