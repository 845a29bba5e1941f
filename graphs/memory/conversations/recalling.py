"""Recall: a search of a user's memory, with other reads in the same round trips and a receipt."""

import asyncio
import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from langgraph.store.base import SearchOp

from graphs.memory import telemetry
from graphs.memory.access import Access
from graphs.memory.conversations import receipts
from graphs.memory.database.database import to_the_end
from graphs.memory.database.query import Query
from graphs.memory.database.rounds import asking, read, side_by_side
from graphs.memory.database.vectors import Vector
from graphs.memory.moment import current_moment, names_present
from graphs.memory.outbox.delivering import Courier
from graphs.memory.outbox.shadow import Shadow
from graphs.memory.principal import Principal, current_provenance
from graphs.memory.search.ranking import Weights
from graphs.memory.search.recalled import Found
from graphs.memory.search.searching import Searching, find
from graphs.memory.store.embedder import Embedder
from graphs.memory.store.items import StoredAddress
from graphs.memory.values.namespaces import to_text

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 5
"""Seconds that `close` waits for the database."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A search, and the queries that share its round trips."""

    principal: Principal
    op: SearchOp
    vector: Vector | None
    how: Searching
    beside: Sequence[Query[Any]]


class Recalls:
    """Recalls, their receipts, and their comparisons with shadows.

    Args:
        access: checks the principal and runs the queries.
        embedder: the store's embedding model and search.
        courier: the external services to compare with.
        shadow: compares results in the background, after a recall has returned.
        shadow_weights: another ranking to compare with; None for none.
    """

    def __init__(
        self,
        access: Access,
        embedder: Embedder,
        courier: Courier,
        shadow: Shadow,
        shadow_weights: Weights | None = None,
    ) -> None:
        self._access = access
        self._embedder = embedder
        self._courier = courier
        self._shadow = shadow
        self._shadow_weights = shadow_weights
        self._receipts = receipts.Receipts(access.database)

    async def recall(
        self,
        user_id: str,
        op: SearchOp,
        beside: Sequence[Query[Any]] = (),
        session_id: str | None = None,
        first: Query[datetime | None] | None = None,
    ) -> tuple[Found, list[Any]]:
        """Return the results of a search of a user's memory, and the answers to other queries.

        While the embedding model is unavailable, words alone rank.

        Args:
            user_id: the user.
            op: the search.
            beside: other queries, which share the round trips of the search.
            session_id: the session to record in the receipt.
            first: a query that runs before the search, and answers with the moment to read; None
                for the present. Its answer comes before those of `beside`.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        principal = await self._access.only(user_id)
        how = self._embedder.how
        call = await self._embedder.prepare_at_best([op], principal)
        vector = call.vectors.get(op.query or "")
        if call.unembedded and op.query and op.query.strip():
            how, vector = how.by_words()
        session = {"session_id": session_id} if session_id else {}
        source = tuple((current_provenance() | session).items())
        started = time.perf_counter()
        moment = current_moment()
        asked = _Asked(principal, op, vector, how, beside)
        with self._access.reporter.denials(principal):
            found, answers = await self._read(asked, moment, first if moment is None else None)
            if first and moment is None:
                forked_at = answers.pop(0)
                if forked_at and not names_present():
                    moment = forked_at
                    found, answers = await self._read(asked, moment)
        seconds = time.perf_counter() - started
        telemetry.recalled(len(found.items))
        self._access.reads.note(
            principal, source, op.namespace_prefix, "searches", len(found.items)
        )
        if vector is not None:  # without one nothing was ranked
            who = principal.user_id or principal.role
            told = receipts.receipt(who, user_id, op.query or "", found, moment)
            self._receipts.note(source, told)
            if not call.unembedded and moment is None:
                self._compare(principal, user_id, op, vector, found, seconds)
        return found, [moment, *answers] if first else answers

    async def _read(
        self,
        asked: _Asked,
        moment: datetime | None,
        first: Query[Any] | None = None,
    ) -> tuple[Found, list[Any]]:
        """Return what a search finds as of a moment, and the answers to the other queries."""
        how = asked.how.of_past() if moment else asked.how
        search = find(asked.op, asked.vector, how, asked.principal, beyond=receipts.NEARLY)
        before = [asking(first)] if first else []
        together = side_by_side([*before, search, *map(asking, asked.beside)])
        reading = read(self._access.database, [(asked.principal, together)], [moment])
        [answers] = await to_the_end(reading)
        return answers.pop(len(before)), answers

    def _compare(
        self,
        principal: Principal,
        user_id: str,
        op: SearchOp,
        vector: Vector,
        found: Found,
        seconds: float,
    ) -> None:
        others = self._courier.in_shadow(user_id, op)
        if self._shadow_weights:
            others["ranking"] = functools.partial(self._would_find, principal, op, vector)
        if others:
            ours = [(to_text(item.namespace), item.key) for item in found.items]
            self._shadow.compare(user_id, op.limit, ours, seconds, others)

    async def _would_find(
        self, principal: Principal, op: SearchOp, vector: Vector
    ) -> list[StoredAddress]:
        """Return the results of the other ranking, best first, without recording a read."""
        how = replace(self._embedder.how, weights=self._shadow_weights)
        search = find(op, vector, how, principal)
        [found] = await to_the_end(read(self._access.database, [(principal, search)]))
        return [(to_text(item.namespace), item.key) for item in found.items]

    async def close(self) -> None:
        """Finish within `_CLOSE_SECONDS`; if the database does not answer, log a warning."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.finish()
        except TimeoutError:
            log.warning(
                "The last reads, refusals and receipts could not be recorded, because the database "
                "did not answer within %s s",
                _CLOSE_SECONDS,
            )

    async def finish(self) -> None:
        """Wait until receipts, reads and refusals are written, or their loss is logged."""
        await self._receipts.finish()
        await self._access.finish()
