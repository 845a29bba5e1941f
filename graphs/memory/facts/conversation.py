"""Turns that facts are extracted from: queries to read and mark them, and the sources of facts."""

import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Literal, NamedTuple, Protocol

from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows

_SQL = statements.load("conversation", __package__)

LIVE = timedelta(hours=1)
"""Turns that are dated within this time of their storing were said when they were stored."""

_WORD = re.compile(r"\w+")


class UnreadTurn(NamedTuple):
    """A turn of a session; `written_at` is its version, which is checked when it is marked."""

    role: Literal["user", "assistant"]
    content: str
    said_at: datetime
    exchange: str
    agent: str
    written_at: datetime
    provenance: dict[str, str]


class ExtractedFact(NamedTuple):
    """The text of a fact, and the ids of the exchanges that it comes from."""

    text: str
    exchanges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """The input of an extraction.

    Args:
        user_id: the user who talked with an agent.
        said: the new turns, oldest first.
        before: the turns before them, which only serve as context.
        known: returns the known facts of the user nearest to a text; its second argument is the
            most to return.
    """

    user_id: str
    said: Sequence[UnreadTurn]
    before: Sequence[UnreadTurn]
    known: Callable[[str, int], Coroutine[Any, Any, Sequence[str]]]


class Extractor(Protocol):
    """An extractor of facts from conversations."""

    async def extract(self, conversation: Conversation) -> list[ExtractedFact]:
        """Return the facts in the new turns.

        Raises:
            ExtractionFailed: no facts were made; a later attempt may succeed.
        """


def with_sources(texts: Iterable[str], said: Iterable[UnreadTurn]) -> list[ExtractedFact]:
    """Return facts with the exchanges that each comes from.

    These are the exchanges with most words of the fact, and those with at least two thirds as many.
    All turns are read, and they may be long documents: call it from a thread.
    """
    turns = [(turn, {word.casefold() for word in _WORD.findall(turn.content)}) for turn in said]
    return [ExtractedFact(text, _sources_of(text, turns)) for text in texts]


def _sources_of(text: str, turns: Iterable[tuple[UnreadTurn, set[str]]]) -> tuple[str, ...]:
    words = {word.casefold() for word in _WORD.findall(text) if len(word) > 2 or word.isdigit()}
    shared: dict[str, int] = {}
    for turn, its_words in turns:
        # A turn that contains the fact literally counts for more than one with all of its words.
        found = len(words & its_words) + (len(words) if text in turn.content else 0)
        shared[turn.exchange] = max(shared.get(turn.exchange, 0), found)
    most = max(shared.values(), default=0)
    return tuple(exchange for exchange, count in shared.items() if count * 3 >= most * 2)


def first_of(said: Sequence[UnreadTurn], most_characters: int) -> list[UnreadTurn]:
    """Return the turns of the first exchanges within a limit of characters, at least of one."""
    kept: list[UnreadTurn] = []
    for _, exchange in groupby(said, key=lambda turn: turn.exchange):
        turns = list(exchange)
        if kept and sum(len(turn.content) for turn in (*kept, *turns)) > most_characters:
            break
        kept += turns
    return kept


def unread(
    user_id: str, session_id: str, limit: int, but: Sequence[str] = ()
) -> Query[list[UnreadTurn]]:
    """Return the query for the oldest turns of a session that no facts were extracted from yet.

    Exchanges are never split.

    Args:
        user_id: the user.
        session_id: the session.
        limit: most turns; a few more if the last exchange would be split.
        but: ids of exchanges to leave out.
    """
    given = {"user_id": user_id, "session_id": session_id, "limit": limit, "but": list(but)}
    return Query(_SQL["unread_turns"], given, _said)


def read_before(user_id: str, session_id: str, limit: int) -> Query[list[UnreadTurn]]:
    """Return the query for the last turns that facts were extracted from, oldest first."""
    return Query(
        _SQL["read_turns"], {"user_id": user_id, "session_id": session_id, "limit": limit}, _said
    )


def _said(rows: Rows) -> list[UnreadTurn]:
    names = ("thread_id", "run_id", "checkpoint_id")
    said: list[UnreadTurn] = []
    for row in rows:
        said_at = _said_at(row)
        # Turns of one transaction have one time, and their order.
        if said and said_at <= said[-1].said_at and row.created_at - said_at < LIVE:
            said_at = said[-1].said_at + timedelta(microseconds=row.exchange != said[-1].exchange)
        said.append(
            UnreadTurn(
                row.role,
                row.content,
                said_at,
                row.exchange,
                row.agent or "assistant",
                row.written_at,
                {name: getattr(row, name) for name in names if getattr(row, name)},
            )
        )
    return said


def _said_at(row: Any) -> datetime:
    """Return when a turn was said, by the database's clock.

    The clocks of servers differ, and a later correction must not seem to be the earlier one. So a
    turn of a run, and one that is dated within an hour of its storing, was said when it was stored.
    A date further back is one of an import.
    """
    stored_at: datetime = row.created_at
    try:
        said_at = datetime.fromisoformat(row.said_at)
    except (TypeError, ValueError):  # users may write any value into their own items
        return stored_at
    said_at = said_at if said_at.tzinfo else said_at.replace(tzinfo=UTC)
    return stored_at if row.run_id or said_at > stored_at - LIVE else said_at


def mark_read(user_id: str, session_id: str, said: Sequence[UnreadTurn]) -> Query[None]:
    """Return the query that marks turns as read.

    Raises:
        VersionConflict: a turn was changed meanwhile. It is raised when the query runs.
    """
    given = {
        "user_id": user_id,
        "session_id": session_id,
        "exchanges": [turn.exchange for turn in said],
        "roles": [turn.role for turn in said],
        "versions": [turn.written_at.isoformat() for turn in said],
    }
    return Query(_SQL["mark_read"], given)
