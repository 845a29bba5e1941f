"""Writing of payloads: items, turns, jobs and records of a payload commit once, and together."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from langgraph.store.base import PutOp

from graphs.memory.access import Access
from graphs.memory.audit import claims
from graphs.memory.contract import Exchange, MemoryPayload, WriteReceipt, check_payload
from graphs.memory.conversations import context
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query
from graphs.memory.database.transaction import Transaction
from graphs.memory.errors import GraphMemoryError
from graphs.memory.jobs import queue
from graphs.memory.outbox import intents
from graphs.memory.principal import Principal, current_provenance
from graphs.memory.store import items, payloads
from graphs.memory.store.embedder import Embedder
from graphs.memory.store.items import ItemWrite
from graphs.memory.timeline import runs
from graphs.memory.timeline.runs import RunPlace

log = logging.getLogger(__name__)

_INDEX_AFTER_SECONDS = 30.0
"""Seconds from a turn that was stored without vectors to the first attempt to embed it."""

_PORTION = 100
"""Payloads that commit together: a longer transaction would keep others waiting."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A checked payload, ready to be stored."""

    payload: MemoryPayload
    puts: Sequence[PutOp]
    writes: Sequence[ItemWrite]
    claim: claims.IdempotencyClaim

    @property
    def addresses(self) -> claims.Addresses:
        return [(op.namespace, op.key) for op in self.puts]


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
        [receipt] = await self._write(
            principal, [check_payload(user_id, session_id, payload)], also
        )
        return receipt

    @on_home_loop
    async def write_all(
        self,
        user_id: str,
        session_id: str,
        payloads: Sequence[MemoryPayload | dict[str, Any]],
        place: RunPlace | None = None,
    ) -> list[WriteReceipt]:
        """Store payloads in their order, in portions that each commit together.

        With a place, a run ends with the last portion.

        Raises:
            ContractError: a payload breaks the contract; nothing was written.
            AccessDenied: the principal is neither this user nor the service.
        """
        principal = await self._access.only(user_id)
        checked = [check_payload(user_id, session_id, payload) for payload in payloads]
        receipts: list[WriteReceipt] = []
        for at in range(0, len(checked), _PORTION):
            portion = checked[at : at + _PORTION]
            ends = place if at + _PORTION >= len(checked) else None
            run_id = place.run_id if place else None
            receipts += await self._write(principal, portion, ends=ends, run_id=run_id)
        return receipts

    async def _write(
        self,
        principal: Principal,
        checked: Sequence[MemoryPayload],
        also: Sequence[Query[Any]] = (),
        *,
        ends: RunPlace | None = None,
        run_id: str | None = None,
    ) -> list[WriteReceipt]:
        task_id = current_provenance().get("task_id")
        beside = [query.parameters for query in also]
        puts = [payloads.items_of(payload) for payload in checked]
        # A conversation goes on without its model; another memory is better written again later.
        all_turns = all(payload.type == "turn" for payload in checked)
        prepare = self._embedder.prepare_at_best if all_turns else self._embedder.prepare
        call = await prepare([*chain(*puts)], principal)
        its_writes = iter(call.writes)
        prepared = [
            _Prepared(
                payload,
                its_puts,
                [next(its_writes) for _ in its_puts],
                claims.claim_of(payload, task_id, beside),
            )
            for payload, its_puts in zip(checked, puts, strict=True)
        ]
        with self._access.reporter.denials(principal):
            receipts = await self._store(
                principal, prepared, also, unembedded=call.unembedded, ends=ends, run_id=run_id
            )
        self._embedder.wrote([call.writes])
        if call.unembedded:
            await self._queue_indexing()
        return receipts

    async def _queue_indexing(self) -> None:
        query = queue.queue_indexing(_INDEX_AFTER_SECONDS)
        try:
            await self._access.run(Principal.owner(), [query])
        except GraphMemoryError as error:  # the turns are stored, and the hourly job finds them
            log.warning("The job that embeds stored turns could not be queued: %s", error)

    async def _store(
        self,
        principal: Principal,
        prepared: Sequence[_Prepared],
        also: Sequence[Query[Any]],
        *,
        unembedded: bool,
        ends: RunPlace | None,
        run_id: str | None,
    ) -> list[WriteReceipt]:
        provenance = current_provenance() | ({"run_id": run_id} if run_id else {})
        first = prepared[0].payload
        how = self._embedder.how

        async def work(transaction: Transaction) -> list[WriteReceipt]:
            # Claims come first: a concurrent write with the same key waits here for this one.
            claiming = [
                claims.claim_write(each.payload, each.addresses, each.claim) for each in prepared
            ]
            among = context.pinned_among([*chain(*(each.addresses for each in prepared))])
            *ours, pinned = await transaction.run([*claiming, among])
            repeated = [
                claims.claimed_write(each.payload.identity, each.claim)
                for each, is_ours in zip(prepared, ours, strict=True)
                if not is_ours
            ]
            earlier = iter(await transaction.run(repeated) if repeated else [])
            if new := [each for each, is_ours in zip(prepared, ours, strict=True) if is_ours]:
                agent = new[-1].payload.agent
                session = context.touch_session(first.identity, first.session_id, agent)
                kept = [
                    _pinned(write) if (write.namespace, write.key) in pinned else write
                    for each in new
                    for write in each.writes
                ]
                items_stored = items.put(kept, how.model, how.configuration)
                if unembedded:
                    items_stored.append(items.wait_for_vectors(kept))
                beside = self._queries_beside(new, provenance.get("run_id"))
                ending = (
                    [runs.end_run(first.identity, first.session_id, agent, ends)] if ends else []
                )
                await transaction.run([session, *items_stored, *beside, *also, *ending])
            return [
                WriteReceipt(memories=each.addresses)
                if is_ours
                else WriteReceipt(memories=next(earlier), replayed=True)
                for each, is_ours in zip(prepared, ours, strict=True)
            ]

        return await self._access.database.transaction(
            principal, work, {**provenance, "session_id": first.session_id}
        )

    def _queries_beside(
        self, stored: Sequence[_Prepared], run_id: str | None
    ) -> Iterator[Query[Any]]:
        """Yield the queries that commit with the items: turns, extraction job, intents, run."""
        exchanges = [
            (each, each.payload.content)
            for each in stored
            if isinstance(each.payload.content, Exchange)
        ]
        for each, exchange in exchanges:
            payload = each.payload
            yield context.put_turns(payload, exchange.id, payloads.turns_of(payload, each.puts))
            if self._access.database.adapters:
                told = {
                    "user_id": payload.identity,
                    "session_id": payload.session_id,
                    "exchange": exchange.id,
                }
                yield intents.emit(intents.TurnCommitted.model_validate(told))
        first = stored[0].payload
        if exchanges and self._extract_after is not None:
            yield queue.queue_facts(first.identity, first.session_id, self._extract_after)
        if run_id:
            for payload in {each.payload.agent: each.payload for each in stored}.values():
                yield context.record_execution(run_id, payload)


def _pinned(write: ItemWrite) -> ItemWrite:
    """Return a write that keeps the memory pinned."""
    # The value is the JSON of an object: the field is added before its closing brace.
    return replace(write, value=f'{write.value[:-1]},"pinned":true}}' if write.value else None)
