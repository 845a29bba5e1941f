"""Puts and deletions that carry out decisions on facts, in an order that history can keep."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from langgraph.store.base import Item, PutOp

from graphs.memory.contract import COLLECTIONS
from graphs.memory.facts.consolidation import Decision, Fact, Known
from graphs.memory.facts.conversation import ExtractedFact, UnreadTurn
from graphs.memory.store.items import ExpectingPutOp
from graphs.memory.store.payloads import key_of
from graphs.memory.values.namespaces import user_scope

MOST_SOURCES = 20
"""Most exchanges kept as sources of one fact; the oldest are dropped."""


@dataclass(slots=True)
class FactChanges:
    """The facts of one user while new ones are added: those stored, and the changes so far.

    Args:
        user_id: the user.
        session_id: the session that the new facts come from.
        stored: the facts that new ones are compared with, by key; None if no item has this key.
    """

    user_id: str
    session_id: str
    stored: Mapping[str, Item | None]
    puts: list[tuple[PutOp | ExpectingPutOp, UnreadTurn]] = field(default_factory=list)
    """Items to store, in this order, each with the turn that it comes from."""
    report: dict[str, list[str]] = field(default_factory=dict)
    """Keys of facts by outcome.

    `added`, `merged`, `superseded`, `outdated`, `retired`, `unsure` or `unjudged`.
    """
    _values: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def known(self, similarity: Mapping[str, float | None]) -> list[Known]:
        """Return the facts to compare a new one with: its candidates, and those written before it.

        Facts that were retired meanwhile are left out.

        Args:
            similarity: cosine similarity of each candidate, by key; None if it was not measured.
        """
        keys = dict.fromkeys([*similarity, *self._values])
        found = [
            (key, value)
            for key in keys
            if (value := self._value(key)) and isinstance(value.get("content"), str)
        ]
        return [
            Known(self._fact(key, value), similarity.get(key), past="held_until" in value)
            for key, value in found
        ]

    def carry_out(self, statement: ExtractedFact, turn: UnreadTurn, decision: Decision) -> None:
        """Apply the decision on a new fact."""
        if decision.verdict == "duplicate":
            self._merge(decision.about[0], statement, turn)
            self._retire(decision.retires, turn)
        elif decision.verdict == "past" and decision.about:
            self._only_remember(statement, turn, decision)
        elif decision.retires:
            key = decision.retires[0]
            pinned = {"pinned": True} if (self._value(key) or {}).get("pinned") is True else {}
            self._put("superseded", key, self._new(statement, turn, decision) | pinned, turn)
            self._retire(decision.retires[1:], turn)
        else:
            value = self._new(statement, turn, decision)
            self._put("added", self._free_key(value["content"], turn), value, turn)
        if decision.unsure:
            self.note("unsure", key_of(statement.text))

    def note(self, what: str, key: str) -> None:
        """Add the key of a fact to the report, under the outcome `what`."""
        self.report.setdefault(what, []).append(key)

    def _merge(self, key: str, statement: ExtractedFact, turn: UnreadTurn) -> None:
        """Add the exchanges of a repeated fact to the sources of the known one."""
        value = self._value(key) or {}
        before: Any = value.get("sources")
        before = before if isinstance(before, list) else []
        sources = [
            *before,
            *(source for source in self._sources(statement) if source not in before),
        ]
        if len(sources) > len(before):
            self._put("merged", key, {**value, "sources": sources[-MOST_SOURCES:]}, turn)

    def _only_remember(
        self, statement: ExtractedFact, turn: UnreadTurn, decision: Decision
    ) -> None:
        """Put an outdated fact and delete it at once, so that only history keeps it."""
        value = self._new(statement, turn, decision)
        key = self._free_key(value["content"], turn)
        self._put("outdated", key, value, turn)
        self._write(key, None, turn)

    def _retire(self, keys: Iterable[str], turn: UnreadTurn) -> None:
        for key in keys:
            self.note("retired", key)
            self._write(key, None, turn)

    def _put(self, what: str, key: str, value: dict[str, Any], turn: UnreadTurn) -> None:
        self.note(what, key)
        self._write(key, value, turn)

    def _write(self, key: str, value: dict[str, Any] | None, turn: UnreadTurn) -> None:
        """Add a put. The first one of a key expects the item as it was when it was compared."""
        put = PutOp(user_scope(self.user_id, COLLECTIONS["fact"]), key, value, index=["content"])
        is_first = key not in self._values and key in self.stored
        stored = self.stored.get(key)
        self._values[key] = value
        self.puts.append(
            (ExpectingPutOp(put, stored.updated_at if stored else None) if is_first else put, turn)
        )

    def _new(
        self, statement: ExtractedFact, turn: UnreadTurn, decision: Decision
    ) -> dict[str, Any]:
        spans = {"held_from": decision.held_from, "held_until": decision.held_until}
        return {
            "content": decision.content or statement.text,
            "type": "fact",
            "agent": turn.agent,
            "session_id": self.session_id,
            "timestamp": turn.said_at.isoformat(),
            "tags": [],
            "importance": 0.5,
            "metadata": {},
            "sources": self._sources(statement),
            **{name: moment.isoformat() for name, moment in spans.items() if moment},
        }

    def _sources(self, statement: ExtractedFact) -> list[dict[str, str]]:
        return [
            {"session_id": self.session_id, "exchange": exchange}
            for exchange in statement.exchanges
        ]

    def _free_key(self, content: str, turn: UnreadTurn) -> str:
        """Return a key that no current fact has.

        The key of the content may be taken: a superseded fact leaves its key to its successor.
        """
        key = key_of(content)
        return (
            key
            if self._value(key) is None
            else key_of(f"{content} {turn.said_at.isoformat()} {turn.exchange}")
        )

    def _value(self, key: str) -> dict[str, Any] | None:
        if key in self._values:
            return self._values[key]
        stored = self.stored.get(key)
        return stored.value if stored else None

    def _fact(self, key: str, value: Mapping[str, Any]) -> Fact:
        stored = self.stored.get(key)
        return Fact(key, value["content"], said_at(value, stored.updated_at if stored else None))


def said_at(value: Mapping[str, Any], stored_at: datetime | None) -> datetime:
    """Return when a fact was said; when it was stored if its timestamp is later, or no date.

    Users may write any value into their own items, and the clocks of servers differ.
    """
    latest = stored_at or datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(value["timestamp"])
    except (KeyError, TypeError, ValueError):
        return latest
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(moment, stored_at) if stored_at else moment


def in_rounds(
    puts: Sequence[tuple[PutOp | ExpectingPutOp, UnreadTurn]],
) -> list[list[tuple[PutOp | ExpectingPutOp, UnreadTurn]]]:
    """Return puts in rounds, each of one provenance and without a key twice.

    The order is kept. As each version of an item is written in a round of its own, history keeps
    it.
    """
    rounds: list[list[tuple[PutOp | ExpectingPutOp, UnreadTurn]]] = []
    keys: set[str] = set()
    for put, turn in puts:
        key = put.put.key if isinstance(put, ExpectingPutOp) else put.key
        if not rounds or key in keys or turn.provenance != rounds[-1][-1][1].provenance:
            rounds.append([])
            keys = set()
        rounds[-1].append((put, turn))
        keys.add(key)
    return rounds
