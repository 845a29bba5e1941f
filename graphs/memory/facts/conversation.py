"""Facts: what was said that is still to be read for them, where each comes from, and how it is stored."""

import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Literal, NamedTuple, Protocol, cast

from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows

_SQL = statements.load("conversation", __package__)

_WORD = re.compile(r"\w+")


class UnreadTurn(NamedTuple):
    """One turn of a session, and what makes sure later that it is still the same."""

    role: Literal["user", "assistant"]
    content: str
    said_at: datetime
    exchange: str
    agent: str
    written_at: datetime
    provenance: dict[str, str]


class ExtractedFact(NamedTuple):
    """A fact, in words, and the exchanges that it comes from."""

    text: str
    exchanges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """What facts are to be made of.

    Args:
        user_id: who talked with an agent.
        said: what is new, oldest first.
        before: what was said before it, and is only there to be understood.
        known: finds what is known of the user that is near to a text; how much of it at most is the second argument.
    """

    user_id: str
    said: Sequence[UnreadTurn]
    before: Sequence[UnreadTurn]
    known: Callable[[str, int], Coroutine[Any, Any, Sequence[str]]]


class Extractor(Protocol):
    """What makes facts of talk."""

    async def extract(self, conversation: Conversation) -> list[ExtractedFact]:
        """Return the facts in what was said.

        Raises:
            ExtractionFailed: nothing was made of it, and may be another time.
        """


def with_sources(texts: Iterable[str], said: Iterable[UnreadTurn]) -> list[ExtractedFact]:
    """Return facts with the exchanges each comes from: those with most of its words, within a third of the best one.

    It reads all that was said, which may be long documents: call it from a thread.
    """
    turns = [(turn, {word.casefold() for word in _WORD.findall(turn.content)}) for turn in said]
    return [ExtractedFact(text, _sources_of(text, turns)) for text in texts]


def _sources_of(text: str, turns: Iterable[tuple[UnreadTurn, set[str]]]) -> tuple[str, ...]:
    words = {word.casefold() for word in _WORD.findall(text) if len(word) > 2 or word.isdigit()}
    shared: dict[str, int] = {}
    for turn, its_words in turns:
        found = len(words & its_words) + (len(words) if text in turn.content else 0)
        shared[turn.exchange] = max(shared.get(turn.exchange, 0), found)
    most = max(shared.values(), default=0)
    return tuple(exchange for exchange, count in shared.items() if count * 3 >= most * 2)


def first_of(said: Sequence[UnreadTurn], most_characters: int) -> list[UnreadTurn]:
    """Return the turns of the first exchanges that have so many characters together; of the first one at least."""
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
    """Ask for the oldest turns of a session that no facts were taken from yet; an exchange is never torn apart.

    Args:
        user_id: whose session.
        session_id: the session.
        limit: how many turns at most, or a few more.
        but: exchanges to leave out.
    """
    given = {"user_id": user_id, "session_id": session_id, "limit": limit, "but": list(but)}
    return Query(_SQL["unread_turns"], given, _said)


def read_before(user_id: str, session_id: str, limit: int) -> Query[list[UnreadTurn]]:
    """Ask for the last turns of a session that facts were taken from, oldest first."""
    return Query(
        _SQL["read_turns"], {"user_id": user_id, "session_id": session_id, "limit": limit}, _said
    )


def _said(rows: Rows) -> list[UnreadTurn]:
    names = ("thread_id", "run_id", "checkpoint_id")
    return [
        UnreadTurn(
            row.role,
            row.content,
            _said_at(row),
            row.exchange,
            row.agent or "assistant",
            row.written_at,
            {name: getattr(row, name) for name in names if getattr(row, name)},
        )
        for row in rows
    ]


def _said_at(row: Any) -> datetime:
    """When it was said. A person may have written anything into their own items; then it is when it was stored."""
    try:
        said_at = datetime.fromisoformat(row.said_at)
    except (TypeError, ValueError):
        return cast("datetime", row.created_at)
    return said_at if said_at.tzinfo else said_at.replace(tzinfo=UTC)


def mark_read(user_id: str, session_id: str, said: Sequence[UnreadTurn]) -> Query[None]:
    """Ask for turns to be marked as read, if they are still as they were; VersionConflict if they are not."""
    given = {
        "user_id": user_id,
        "session_id": session_id,
        "exchanges": [turn.exchange for turn in said],
        "roles": [turn.role for turn in said],
        "versions": [turn.written_at.isoformat() for turn in said],
    }
    return Query(_SQL["mark_read"], given)
