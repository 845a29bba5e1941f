"""What facts that were decided on come to: puts and deletions, in an order in which history keeps each of them."""

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
"""How many exchanges are kept as sources of one fact; the latest."""


@dataclass(slots=True)
class FactChanges:
    """The facts of one person as they are while new ones are added: what is stored, and what will be.

    Args:
        user_id: the person.
        session_id: where the new facts come from.
        stored: the facts that new ones are compared with, by key; None where it is known that there is none.
    """

    user_id: str
    session_id: str
    stored: Mapping[str, Item | None]
    puts: list[tuple[PutOp | ExpectingPutOp, UnreadTurn]] = field(default_factory=list)
    """What to store, in this order, and the turn that each is from."""
    report: dict[str, list[str]] = field(default_factory=dict)
    """What became of which facts, by their keys."""
    _values: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def known(self, similarity: Mapping[str, float | None]) -> list[Known]:
        """Return the facts that hold now, of those near to a new one and those that were added before it."""
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
        """Do with a new fact what was decided."""
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
        """Report that something became of a fact."""
        self.report.setdefault(what, []).append(key)

    def _merge(self, key: str, statement: ExtractedFact, turn: UnreadTurn) -> None:
        """Add where it was said again to a fact that is known."""
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
        """Leave what something newer has replaced already to history."""
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
        """Write to a key; the first time, if it is as it was when it was compared."""
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
        """A key by which nothing else is known: a fact that was superseded left its own to what took its place."""
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
        return Fact(key, value["content"], said_at(value, stored.created_at if stored else None))


def said_at(value: Mapping[str, Any], otherwise: datetime | None) -> datetime:
    """When a fact was said; a person may have written anything into their own items."""
    try:
        moment = datetime.fromisoformat(value["timestamp"])
    except (KeyError, TypeError, ValueError):
        return otherwise or datetime.now(UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def in_rounds(
    puts: Sequence[tuple[PutOp | ExpectingPutOp, UnreadTurn]],
) -> list[list[tuple[PutOp | ExpectingPutOp, UnreadTurn]]]:
    """Part puts so that each round is of one run and writes no key twice; in this order nothing is lost to history."""
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
