"""Recalling: a search of a person's memory, what else is read in the same round trips, and the record of it."""

import asyncio
import logging
from dataclasses import replace

from langgraph.store.base import SearchOp

from graphs.memory import telemetry
from graphs.memory.audit.reads import ReadLog
from graphs.memory.conversations import receipts
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.vectors import Vector
from graphs.memory.principal import Principal, Provenance
from graphs.memory.search.ranking import Weights
from graphs.memory.search.recalled import Found
from graphs.memory.store.batch import Reads, Searching, answer
from graphs.memory.store.items import StoredAddress
from graphs.memory.values.namespaces import to_text

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 5


class Recalls:
    """Carries recalls out, and has each recorded: what was chosen, what nearly, and why.

    Args:
        database: where from.
        how: the store's way of searching.
        reads: the record of reads.
    """

    def __init__(self, database: Database, how: Searching, reads: ReadLog) -> None:
        self._database = database
        self._how = how
        self._reads = reads
        self._receipts = receipts.Receipts(database)

    async def recall(
        self,
        principal: Principal,
        user_id: str,
        op: SearchOp,
        vector: Vector | None,
        reads: Reads,
        source: Provenance,
    ) -> Found:
        """Return what was found, and take the answers of `reads` on the way.

        Args:
            principal: who recalls.
            user_id: whose memory.
            op: the search.
            vector: its embedded query, None without one.
            reads: what else is asked for.
            source: the run and node that recall.
        """
        found: list[Found] = []
        reads.search(op, vector, self._how, principal, found.append, beyond=receipts.NEARLY)
        await to_the_end(answer(self._database, [(principal, reads)]))
        telemetry.recalled(len(found[0].items))
        self._reads.note(principal, source, op.namespace_prefix, "searches", len(found[0].items))
        if vector is not None:
            who = principal.user_id or principal.role
            self._receipts.note(source, receipts.receipt(who, user_id, op.query or "", found[0]))
        return found[0]

    async def would_find(
        self, principal: Principal, op: SearchOp, vector: Vector, weights: Weights
    ) -> list[StoredAddress]:
        """Return where what another ranking would find lies, best first; nothing is recorded of it.

        Args:
            principal: who recalls.
            op: the search.
            vector: its embedded query.
            weights: of the other ranking.
        """
        found: list[Found] = []
        reads = Reads()
        reads.search(op, vector, replace(self._how, weights=weights), principal, found.append)
        await to_the_end(answer(self._database, [(principal, reads)]))
        return [(to_text(item.namespace), item.key) for item in found[0].items]

    async def close(self) -> None:
        """Finish, but do not wait for a database that is away: what is lost then, the log says."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.finish()
        except TimeoutError:
            log.warning(
                "The last reads could not be recorded: the database did not answer in %s s",
                _CLOSE_SECONDS,
            )

    async def finish(self) -> None:
        """Return when every recall is recorded, or was reported as not recorded."""
        await self._receipts.finish()
        await self._reads.finish()
