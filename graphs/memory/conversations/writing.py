"""Writing a payload: what it becomes commits together, once for each task of a graph, or key, that says it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langgraph.store.base import PutOp

from graphs.memory.audit import claims
from graphs.memory.contract import Exchange, MemoryPayload, WriteReceipt
from graphs.memory.conversations import context
from graphs.memory.database.database import Database
from graphs.memory.database.query import Query
from graphs.memory.database.transaction import Transaction
from graphs.memory.jobs import queue
from graphs.memory.outbox import intents
from graphs.memory.principal import Principal
from graphs.memory.store import items, payloads
from graphs.memory.store.batch import Searching
from graphs.memory.store.items import ItemWrite


async def write_payload(
    database: Database,
    principal: Principal,
    payload: MemoryPayload,
    puts: Sequence[PutOp],
    writes: Sequence[ItemWrite],
    how: Searching,
    provenance: Mapping[str, str],
    extract_after: float | None = None,
    also: Sequence[Query[Any]] = (),
) -> WriteReceipt:
    """Store a payload, or return what the same write stored before.

    Args:
        database: where to.
        principal: who writes.
        payload: what was checked.
        puts: the items that it becomes.
        writes: the same, embedded.
        how: the store's model and text search.
        provenance: where it comes from.
        extract_after: in how many seconds facts are to be taken from a turn; None for never.
        also: what else is carried out in the transaction, after the items are stored.
    """
    addresses = [(op.namespace, op.key) for op in puts]
    claim = claims.claim_of(
        payload, provenance.get("task_id"), [query.parameters for query in also]
    )
    stored: list[Query[Any]] = []
    if isinstance(payload.content, Exchange):
        stored.append(
            context.put_turns(payload, payload.content.id, payloads.turns_of(payload, puts))
        )
        if extract_after is not None:
            stored.append(queue.queue_facts(payload.identity, payload.session_id, extract_after))
        if database.adapters:
            told = {
                "user_id": payload.identity,
                "session_id": payload.session_id,
                "exchange": payload.content.id,
            }
            stored.append(intents.emit(intents.TurnCommitted.model_validate(told)))
    if run_id := provenance.get("run_id"):
        stored.append(context.record_execution(run_id, payload))
    stored += also

    async def work(transaction: Transaction) -> WriteReceipt:
        claiming = claims.claim_write(payload, addresses, claim)
        is_ours, pinned = await transaction.run([claiming, context.pinned_among(addresses)])
        if not is_ours:
            [earlier] = await transaction.run([claims.claimed_write(payload.identity, claim)])
            return WriteReceipt(memories=earlier, replayed=True)
        session = context.touch_session(payload.identity, payload.session_id, payload.agent)
        kept = [
            _pinned(write) if (write.namespace, write.key) in pinned else write for write in writes
        ]
        await transaction.run([session, *items.put(kept, how.model, how.configuration), *stored])
        return WriteReceipt(memories=addresses)

    return await database.transaction(
        principal, work, {**provenance, "session_id": payload.session_id}
    )


def _pinned(write: ItemWrite) -> ItemWrite:
    """The same, for a memory that a person has pinned and that is said again. Its value is the JSON of an object."""
    return replace(write, value=f'{write.value[:-1]},"pinned":true}}' if write.value else None)
