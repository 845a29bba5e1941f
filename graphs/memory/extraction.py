"""From talk to facts: read what was said, make facts of it, compare them with what is known, store it all at once."""

import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from langgraph.store.base import PutOp, SearchItem, SearchOp

from graphs.memory import audit, facts, items, search
from graphs.memory.batch import Call, Searching
from graphs.memory.contract import COLLECTIONS, ExtractionReport
from graphs.memory.database import Database, Part, to_the_end
from graphs.memory.facts import Conversation, Extractor, Said, Statement
from graphs.memory.items import ExpectingPutOp, Write
from graphs.memory.namespaces import user_scope
from graphs.memory.payloads import key_of
from graphs.memory.principal import Principal
from graphs.memory.transaction import Query

log = logging.getLogger(__name__)

MOST_TURNS = 40
"""How many turns are read together at most."""

CONTEXT_TURNS = 10
"""How many turns before them a model is shown, to understand them."""

KNOWN_FACTS = 20
"""How many of the facts that are known a new one is compared with."""

Prepare = Callable[[Sequence[Any], Principal], Awaitable[Call]]


@dataclass(slots=True)
class Changes:
    """What the facts of some turns come to: what to write, each with the turn that it is from, and what to report."""

    puts: list[tuple[PutOp | ExpectingPutOp, Said]] = field(default_factory=list)
    report: dict[str, list[str]] = field(default_factory=dict)

    def note(self, what: str, key: str) -> None:
        """Report that something became of a fact."""
        self.report.setdefault(what, []).append(key)


class Extraction:
    """Makes facts of sessions, each turn once.

    Args:
        database: where the turns are, and the facts go.
        how: the store's model and text search.
        prepare: checks and embeds what is to be stored.
        extractor: makes facts of talk.
    """

    def __init__(self, database: Database, how: Searching, prepare: Prepare, extractor: Extractor) -> None:
        self._database = database
        self._how = how
        self._prepare = prepare
        self._extractor = extractor

    async def extract(self, principal: Principal, user_id: str, session_id: str) -> ExtractionReport:
        """Take facts from all of a session that they were not taken from yet.

        It may be cut off anywhere, and called again: what it makes of some turns is stored with the note that they were
        read, or not at all.

        Raises:
            ExtractionFailed: the model did not do it; the turns are left for another time.
            VersionConflict: a turn or a fact was changed meanwhile; the turns are left for another time.
        """
        total = ExtractionReport()
        while said := await self._ask(principal, facts.unread(user_id, session_id, MOST_TURNS)):
            changes = await self._read(principal, user_id, session_id, said)
            total = total.with_more(len(said), changes.report)
        return total

    async def _read(self, principal: Principal, user_id: str, session_id: str, said: Sequence[Said]) -> Changes:
        before = await self._ask(principal, facts.read_before(user_id, session_id, CONTEXT_TURNS))
        known = functools.partial(self._known_texts, principal, user_id)
        statements = await self._extractor.extract(Conversation(user_id, said, before, known))
        changes = await self._compare(principal, user_id, session_id, said, statements)
        await self._store(principal, user_id, session_id, said, changes)
        return changes

    async def _ask(self, principal: Principal, query: Any) -> Any:
        return (await to_the_end(self._database.run(principal, [query])))[0]

    async def _known_texts(self, principal: Principal, user_id: str, text: str, limit: int) -> list[str]:
        """What is known of the user that is near to a text."""
        op = SearchOp(user_scope(user_id, COLLECTIONS["fact"]), limit=limit, query=text)
        vectors = (await self._prepare([op], principal)).vectors
        found = await self._ask(principal, search.search(op, vectors.get(text), self._how.model, wide=False))
        return [str(item.value.get("content", "")) for item in found.items]

    async def _compare(
        self, principal: Principal, user_id: str, session_id: str, said: Sequence[Said], statements: Sequence[Statement]
    ) -> Changes:
        changes = Changes()
        by_exchange = {turn.exchange: turn for turn in said}
        puts = [self._put(user_id, session_id, by_exchange[s.exchanges[-1]], s) for s in statements]
        written = (await self._prepare(puts, principal)).writes
        known = await self._known(principal, user_id, written)
        for statement, put in zip(statements, puts, strict=True):
            if put.key in known:
                changes.note("merged", put.key)
            else:
                changes.note("added", put.key)
                changes.puts.append((put, by_exchange[statement.exchanges[-1]]))
        return changes

    def _put(self, user_id: str, session_id: str, turn: Said, statement: Statement) -> PutOp:
        value = {
            "content": statement.text,
            "type": "fact",
            "agent": turn.agent,
            "session_id": session_id,
            "timestamp": turn.said_at.isoformat(),
            "tags": [],
            "importance": 0.5,
            "metadata": {},
            "sources": [{"session_id": session_id, "exchange": exchange} for exchange in statement.exchanges],
        }
        return facts.put_fact(user_id, key_of(statement.text), value)

    async def _known(self, principal: Principal, user_id: str, writes: Iterable[Write]) -> dict[str, SearchItem]:
        """The facts that are near to new ones, by key."""
        op = SearchOp(user_scope(user_id, COLLECTIONS["fact"]), limit=KNOWN_FACTS)
        queries = [
            search.search(op, next(iter(write.vectors.values()), None), self._how.model, wide=False) for write in writes
        ]
        found = await to_the_end(self._database.run(principal, queries)) if queries else []
        return {item.key: item for answer in found for item in answer.items}

    async def _store(
        self, principal: Principal, user_id: str, session_id: str, said: Sequence[Said], changes: Changes
    ) -> None:
        """Store what the turns came to, with the note that they were read; each fact with the run it comes from."""
        writes = (await self._prepare([put for put, _ in changes.puts], principal)).writes
        from_turns = sorted(
            zip(writes, (turn.provenance for _, turn in changes.puts), strict=True), key=lambda pair: str(pair[1])
        )
        read: Query[Any] = facts.mark_read(user_id, session_id, said)
        parts = [Part(principal, [read], _provenance(session_id, said[-1].provenance))]
        for _, group in groupby(from_turns, key=lambda pair: str(pair[1])):
            together = list(group)
            queries = items.put([write for write, _ in together], self._how.model, self._how.configuration)
            parts.append(Part(principal, queries, _provenance(session_id, together[0][1])))
        told = {"turns": len(said), **changes.report}
        parts.append(Part(principal, [audit.event(user_id, "facts.extracted", told)], _provenance(session_id, {})))
        await to_the_end(self._database.run_parts(parts))


def _provenance(session_id: str, of_turn: Mapping[str, str]) -> dict[str, str]:
    return {**of_turn, "session_id": session_id}
