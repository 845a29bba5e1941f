"""Writing of payloads: items, turns, jobs and records of a payload commit once, and together."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from langgraph.store.base import PutOp

from graphs.memory.access import Access
from graphs.memory.audit import claims
from graphs.memory.contract import Exchange, MemoryPayload, WriteReceipt, check_payload
from graphs.memory.conversations import context
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query
from graphs.memory.database.transaction import Transaction
from graphs.memory.jobs import queue
from graphs.memory.outbox import intents
from graphs.memory.principal import Principal, current_provenance
from graphs.memory.store import items, payloads
from graphs.memory.store.embedder import Embedder
from graphs.memory.store.items import ItemWrite


class Writer:
    """The writer of payloads: `write_memory`, and everything else under the contract.

    Args:
        access: checks the principal and runs the queries.
        embedder: the store's embedding model and text search.
        extract_after: seconds from a turn to the extraction of its facts; None for no extraction.
    """

    def __init__(self, access: Access, embedder: Embedder, extract_after: float | None) -> None:
        self._access = access
        self._embedder = embedder
        self._extract_after = extract_after
        self.home_loop = access.home_loop

    @on_home_loop
    async def write(
        self,
        user_id: str,
        session_id: str,
        payload: MemoryPayload | dict[str, Any],
        also: Sequence[Query[Any]] = (),
    ) -> WriteReceipt:
        """Store a payload, or return the receipt of the same write if it was stored before.

        Args:
            user_id: the user whose memory it is.
            session_id: the session it belongs to.
            payload: the payload; it is checked against the contract.
            also: other queries for the same transaction. They run after the items are stored, and
                not at all if the same write was stored before.

        Raises:
            ContractError: the payload breaks the contract; `fields` names where.
            AccessDenied: the principal is neither this user nor the service.
        """
        principal = await self._access.only(user_id)
        checked = check_payload(user_id, session_id, payload)
        puts = payloads.items_of(checked)
        writes = (await self._embedder.prepare(puts, principal)).writes
        with self._access.reporter.denials(principal):
            receipt = await self._store(principal, checked, puts, writes, also)
        self._embedder.wrote([writes])
        return receipt

    async def _store(
        self,
        principal: Principal,
        payload: MemoryPayload,
        puts: Sequence[PutOp],
        writes: Sequence[ItemWrite],
        also: Sequence[Query[Any]],
    ) -> WriteReceipt:
        provenance = current_provenance()
        addresses = [(op.namespace, op.key) for op in puts]
        beside = [query.parameters for query in also]
        claim = claims.claim_of(payload, provenance.get("task_id"), beside)
        stored = [*self._queries_beside(payload, puts, provenance.get("run_id")), *also]
        how = self._embedder.how

        async def work(transaction: Transaction) -> WriteReceipt:
            # The claim comes first: a concurrent write with the same key waits here for this one.
            claiming = claims.claim_write(payload, addresses, claim)
            is_ours, pinned = await transaction.run([claiming, context.pinned_among(addresses)])
            if not is_ours:
                [earlier] = await transaction.run([claims.claimed_write(payload.identity, claim)])
                return WriteReceipt(memories=earlier, replayed=True)
            session = context.touch_session(payload.identity, payload.session_id, payload.agent)
            kept = [
                _pinned(write) if (write.namespace, write.key) in pinned else write
                for write in writes
            ]
            items_stored = items.put(kept, how.model, how.configuration)
            await transaction.run([session, *items_stored, *stored])
            return WriteReceipt(memories=addresses)

        return await self._access.database.transaction(
            principal, work, {**provenance, "session_id": payload.session_id}
        )

    def _queries_beside(
        self, payload: MemoryPayload, puts: Sequence[PutOp], run_id: str | None
    ) -> Iterator[Query[Any]]:
        """Yield the queries that commit with the items: turns, extraction job, intent, run."""
        if isinstance(payload.content, Exchange):
            exchange = payload.content.id
            yield context.put_turns(payload, exchange, payloads.turns_of(payload, puts))
            if self._extract_after is not None:
                yield queue.queue_facts(payload.identity, payload.session_id, self._extract_after)
            if self._access.database.adapters:
                told = {
                    "user_id": payload.identity,
                    "session_id": payload.session_id,
                    "exchange": exchange,
                }
                yield intents.emit(intents.TurnCommitted.model_validate(told))
        if run_id:
            yield context.record_execution(run_id, payload)


def _pinned(write: ItemWrite) -> ItemWrite:
    """Return a write that keeps the memory pinned."""
    # The value is the JSON of an object: the field is added before its closing brace.
    return replace(write, value=f'{write.value[:-1]},"pinned":true}}' if write.value else None)
