"""Extraction: read turns, make facts of them, compare these with known ones, store all at once."""

import asyncio
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.store.base import GetOp, Item, SearchOp

from graphs.memory.access import Access
from graphs.memory.audit import events
from graphs.memory.contract import COLLECTIONS, ExtractionReport
from graphs.memory.database.database import PrincipalQueries, to_the_end
from graphs.memory.database.query import Query
from graphs.memory.errors import ExtractionFailed, JudgementFailed
from graphs.memory.facts import conversation as facts
from graphs.memory.facts.changes import FactChanges, in_rounds
from graphs.memory.facts.consolidation import (
    Decision,
    Fact,
    decide,
    settled,
)
from graphs.memory.facts.conversation import (
    Conversation,
    ExtractedFact,
    Extractor,
    UnreadTurn,
)
from graphs.memory.facts.judging import Judge
from graphs.memory.principal import Principal
from graphs.memory.search import search
from graphs.memory.store import items
from graphs.memory.store.embedder import Embedder
from graphs.memory.store.payloads import key_of
from graphs.memory.values.namespaces import user_scope

log = logging.getLogger(__name__)

MOST_TURNS = 40
"""Most turns that are read together."""

MOST_CHARACTERS = 50_000
"""Most characters that are read together; a longer exchange is read alone."""

CONTEXT_TURNS = 10
"""Earlier turns that a model is shown as context."""

NEAR_FACTS = 20
"""Nearest facts that a new one is compared with, beside the latest ones."""

LATEST_FACTS = 10
"""Latest facts that a new one is compared with: `now 120k` is near to none."""


class Extraction:
    """The extraction of facts from sessions, each turn once.

    Args:
        access: the way to the database.
        embedder: the store's embedding model and text search.
        extractor: makes facts of conversations.
        judge: settles pairs of facts that the rules leave unsure; None leaves them unsure.
    """

    def __init__(
        self,
        access: Access,
        embedder: Embedder,
        extractor: Extractor,
        judge: Judge | None = None,
    ) -> None:
        self._access = access
        self._embedder = embedder
        self._extractor = extractor
        self._judge = judge

    async def extract(
        self, principal: Principal, user_id: str, session_id: str
    ) -> ExtractionReport:
        """Extract facts from all turns of a session that none were extracted from yet.

        It may be interrupted at any point and called again: the facts of some turns are stored
        together with the mark that these were read, or not at all. If a model fails because of the
        content, exchanges are read one by one, so that one of them does not block the others.

        Raises:
            ExtractionFailed: the model failed for some or all exchanges; their turns stay unread
                for the next attempt.
            VersionConflict: a turn or a fact was changed meanwhile; the turns stay unread for the
                next attempt.
        """
        total = ExtractionReport()
        refused: dict[str, ExtractionFailed] = {}
        together = MOST_CHARACTERS
        while unread := await self._ask(
            principal, facts.unread(user_id, session_id, MOST_TURNS, [*refused])
        ):
            said = facts.first_of(unread, together)
            try:
                changes = await self._read(principal, user_id, session_id, said)
            except ExtractionFailed as error:
                if not error.over_content:
                    raise
                if together == 0 or said[0].exchange == said[-1].exchange:
                    refused[said[0].exchange] = error
                together = 0  # from now on, read one exchange at a time
            else:
                total = total.with_more(len(said), changes.report)
        if refused:
            raise next(iter(refused.values()))
        return total

    async def _read(
        self, principal: Principal, user_id: str, session_id: str, said: Sequence[UnreadTurn]
    ) -> FactChanges:
        before = await self._ask(principal, facts.read_before(user_id, session_id, CONTEXT_TURNS))
        known = functools.partial(self._known_texts, principal, user_id)
        statements = await self._extractor.extract(Conversation(user_id, said, before, known))
        changes = await self._compare(principal, user_id, session_id, said, statements)
        await self._store(principal, user_id, session_id, said, changes)
        return changes

    async def _ask(self, principal: Principal, query: Any) -> Any:
        return (await to_the_end(self._access.database.run(principal, [query])))[0]

    async def _known_texts(
        self, principal: Principal, user_id: str, text: str, limit: int
    ) -> list[str]:
        """Return the texts of the user's known facts that are nearest to a text."""
        op = SearchOp(user_scope(user_id, COLLECTIONS["fact"]), limit=limit, query=text)
        vectors = (await self._embedder.prepare([op], principal)).vectors
        found = await self._ask(
            principal, search.search(op, vectors.get(text), self._embedder.how.model, wide=False)
        )
        return [str(item.value.get("content", "")) for item in found.items]

    async def _compare(
        self,
        principal: Principal,
        user_id: str,
        session_id: str,
        said: Sequence[UnreadTurn],
        statements: Sequence[ExtractedFact],
    ) -> FactChanges:
        """Decide on new facts one after the other, in the order in which they were said."""
        by_exchange = {turn.exchange: turn for turn in said}
        order = {exchange: n for n, exchange in enumerate(by_exchange)}
        in_order = sorted(
            statements,
            key=lambda statement: max(order[exchange] for exchange in statement.exchanges),
        )
        stored, near = await self._near(
            principal, user_id, [statement.text for statement in in_order]
        )
        changes = FactChanges(user_id, session_id, stored)
        for statement, similarity in zip(in_order, near, strict=True):
            turn = by_exchange[statement.exchanges[-1]]
            new = Fact(key_of(statement.text), statement.text, turn.said_at)
            known = changes.known(similarity)
            decision = await asyncio.to_thread(decide, new, known)
            if decision.unsure and self._judge:
                candidates = [other.fact for other in known if other.fact.key in decision.unsure]
                decision = await self._judged(self._judge, decision, new, candidates, changes)
            changes.carry_out(statement, turn, decision)
        return changes

    async def _judged(
        self,
        judge: Judge,
        decision: Decision,
        new: Fact,
        candidates: Sequence[Fact],
        changes: FactChanges,
    ) -> Decision:
        """Return a decision completed by a judge.

        If the judge fails, the decision stays as it is, and the report notes the fact as
        `unjudged`.
        """
        try:
            return settled(decision, await judge.judge(new, candidates))
        except JudgementFailed as error:
            log.warning("A new fact could not be judged; it is kept beside the others: %s", error)
            changes.note("unjudged", new.key)
            return decision

    async def _near(
        self, principal: Principal, user_id: str, texts: Sequence[str]
    ) -> tuple[dict[str, Item | None], list[dict[str, float | None]]]:
        """Return the facts to compare new ones with, and the similarities for each new fact.

        The facts are by key; None if nothing is stored under the key of a new fact.
        """
        scope = user_scope(user_id, COLLECTIONS["fact"])
        ops = [SearchOp(scope, limit=NEAR_FACTS, query=text) for text in texts]
        if not ops:
            return {}, []
        vectors = (await self._embedder.prepare(ops, principal)).vectors
        latest = search.search(SearchOp(scope, limit=LATEST_FACTS), None, None)
        # A comparison is not a read by the user: it does not extend the time to live.
        same = items.get([GetOp(scope, key_of(text), refresh_ttl=False) for text in texts])
        queries: list[Query[Any]] = [latest, same]
        queries += [
            search.search(op, vectors.get(op.query or ""), self._embedder.how.model, wide=False)
            for op in ops
        ]
        recent, (exact, _), *near = await to_the_end(self._access.database.run(principal, queries))
        stored: dict[str, Item | None] = dict(zip(map(key_of, texts), exact, strict=True))
        stored |= {item.key: item for answer in (recent, *near) for item in answer.items}
        always: dict[str, float | None] = {item.key: None for item in recent.items}
        similar = [
            {
                **always,
                **({item.key: None} if item else {}),
                **{found.key: found.score for found in answer.items},
            }
            for answer, item in zip(near, exact, strict=True)
        ]
        return stored, similar

    async def _store(
        self,
        principal: Principal,
        user_id: str,
        session_id: str,
        said: Sequence[UnreadTurn],
        changes: FactChanges,
    ) -> None:
        """Store the changes and the mark that the turns were read, in one transaction.

        Each fact is stored with the run that it comes from.
        """
        writes = iter(
            (await self._embedder.prepare([put for put, _ in changes.puts], principal)).writes
        )
        read: Query[Any] = facts.mark_read(user_id, session_id, said)
        parts = [PrincipalQueries(principal, [read], _provenance(session_id, said[-1].provenance))]
        for together in in_rounds(changes.puts):
            queries = items.put(
                [next(writes) for _ in together],
                self._embedder.how.model,
                self._embedder.how.configuration,
            )
            parts.append(
                PrincipalQueries(
                    principal, queries, _provenance(session_id, together[0][1].provenance)
                )
            )
        told = {"turns": len(said), **changes.report}
        parts.append(
            PrincipalQueries(
                principal,
                [events.event(user_id, "facts.extracted", told)],
                _provenance(session_id, {}),
            )
        )
        await to_the_end(self._access.database.run_parts(parts))


def _provenance(session_id: str, of_turn: Mapping[str, str]) -> dict[str, str]:
    return {**of_turn, "session_id": session_id}
