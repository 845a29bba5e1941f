"""The moment as of which memory is read: the present, unless a block or a forked run names another.

It is the database's time: what had been stored by then is read, also what was undone later. Writes
are always in the present, and rights are always today's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Literal

from graphs.memory.errors import InvalidValue
from graphs.memory.principal import current_provenance
from graphs.memory.values.remembered import Remembered

Moment = datetime | Literal["now"]

NOW: Literal["now"] = "now"
"""The present, also in a run that reads the past."""

_CLOCKS_DIFFER = timedelta(minutes=5)
"""How far the clock of the database may be ahead of this one."""

_RUN_SECONDS = 86_400.0
"""Seconds for which the moment of a run is remembered."""

_named: ContextVar[Moment | None] = ContextVar("as_of", default=None)
_of_runs: Remembered[datetime] = Remembered()


@contextmanager
def as_of(moment: Moment | None) -> Iterator[None]:
    """Read memory as it stood at a moment, inside the block.

    Gets, searches and lists of the store obey it, and recalls, contexts, turns, beliefs, goals and
    relationships. What the person forgot is not there.

    Args:
        moment: a time with a time zone, which is past; `NOW`; or None, which changes nothing.

    Raises:
        InvalidValue: the moment has no time zone, or is in the future.
    """
    token = _named.set(checked(moment)) if moment is not None else None
    try:
        yield
    finally:
        if token:
            _named.reset(token)


def checked(moment: Moment) -> Moment:
    """Return a moment that can be read.

    Raises:
        InvalidValue: it has no time zone, or is in the future.
    """
    if moment == NOW:
        return moment
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidValue(
            "as_of", "must be a time with a time zone, such as 2026-03-01T09:00:00Z."
        )
    if moment > datetime.now(UTC) + _CLOCKS_DIFFER:
        raise InvalidValue("as_of", "must not be in the future.")
    return moment.astimezone(UTC)


def read_for_this_task_as_of(moment: Moment) -> None:
    """Read memory as it stood at a moment for the rest of a task, such as that of a request.

    Raises:
        InvalidValue: the moment has no time zone, or is in the future.
    """
    _named.set(checked(moment))


def read_as_of(run_id: str, moment: datetime) -> None:
    """Let the rest of a run read memory as it stood at a moment."""
    _of_runs.put(run_id, moment, _RUN_SECONDS)


def names_present() -> bool:
    """Return whether a block names the present, which holds for a forked run, too."""
    return _named.get() == NOW


def current_moment() -> datetime | None:
    """Return the moment to read, None for the present."""
    named = _named.get()
    if named is None and _of_runs and (run_id := current_provenance().get("run_id")):
        named = _of_runs.get(run_id)
    return None if named == NOW else named
