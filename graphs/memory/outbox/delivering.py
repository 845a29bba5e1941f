"""Delivering: what leaves for services outside, after it was committed here.

The outbox (`memory.deliveries`) is written in the transaction that makes it necessary, with a job for each delivery.
The job reads what the intent is about as it is by then, redacts it and hands it to the adapter. So a delivery says how
things are: it may be made late, twice, or after its successor, and ends in the same.
"""

import asyncio
import functools
import json
import logging
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from langgraph.store.base import SearchOp
from pydantic import ValidationError

from graphs.memory import telemetry
from graphs.memory.contract import MemoryType
from graphs.memory.database import statements
from graphs.memory.database.database import Database, PrincipalQueries, to_the_end
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import DeliveryFailed, InvalidInput
from graphs.memory.outbox.adapter import (
    Copies,
    Copy,
    Outbound,
    Outgoing,
    Pseudonym,
    Searchable,
)
from graphs.memory.outbox.intents import (
    DeliveryStatus,
    Emitted,
    MemoryForgotten,
    MemoryWritten,
    TurnCommitted,
    UserErased,
    parse,
)
from graphs.memory.outbox.shadow import Candidate
from graphs.memory.principal import Principal
from graphs.memory.store.items import StoredAddress
from graphs.memory.values.namespaces import to_text
from graphs.memory.values.text import cleaned

log = logging.getLogger(__name__)

_SQL = statements.load("deliveries", __package__)

_ERASURE_FIRST = "this person was erased, and the service has yet to be told: that goes first, and may be replayed"


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What is about to leave.

    Args:
        number: the how-many-th attempt it is.
        outgoing: what the adapter gets.
        addresses: whose references those in it are.
        waits_for_erasure: whether the service has yet to forget the same person, of whom this tells anew.
    """

    number: int
    outgoing: Outgoing
    waits_for_erasure: bool
    addresses: dict[str, StoredAddress] = field(default_factory=dict)

    @property
    def redactions(self) -> str:
        """What was taken out of it, as JSON: of each value its kind and digest, once."""
        texts = (copy.text for copy in self.outgoing.memories if copy.text)
        found = dict.fromkeys(redaction for text in texts for redaction in text.redactions)
        return json.dumps(
            [{"kind": redaction.kind, "digest": redaction.digest} for redaction in found]
        )


class Courier:
    """Makes deliveries.

    Args:
        database: where the outbox is.
        outbound: the adapters that are switched on; None for none.
        attempts: how often a delivery is tried before it stays as failed.
    """

    def __init__(self, database: Database, outbound: Outbound | None, attempts: int) -> None:
        self._database = database
        self._outbound = outbound
        self._attempts = attempts
        self._told: set[str] = set()

    async def deliver(self, delivery_id: str) -> None:
        """Make a delivery; the job. It may be cut off anywhere, and run again.

        Raises:
            DeliveryFailed: it was not taken, and is to be tried again.
        """
        due = await self._run(Query(_SQL["delivery"], {"id": delivery_id}, _first))
        if due is None:  # made already, given up, or of a person who was erased
            return
        await self._deliver(due)

    async def _deliver(self, due: Any) -> None:
        """Make a delivery; one that is to be tried again raises."""
        outbound = self._outbound
        if outbound is None or due.adapter not in outbound.adapters:
            await self._leave(due)
            return
        try:
            attempt = await self._begin(due, outbound)
        except ValidationError:
            why = "its intent is none that this version knows"
            log.warning("Delivery %s to %s failed for good: %s", due.id, due.adapter, why)
            await self._not_delivered(due, "failed", why, due.receipt, None)
            return
        if attempt is None:
            return
        try:
            copies = await _tell(due.adapter, outbound, attempt)
        except DeliveryFailed as error:
            status: DeliveryStatus = (
                "failed" if error.hopeless or attempt.number >= self._attempts else "pending"
            )
            await self._not_delivered(due, status, str(error), error.receipt, attempt.redactions)
            if status == "pending":
                raise
            log.warning("Delivery %s to %s failed for good: %s", due.id, due.adapter, error)
            return
        await self._delivered(due, attempt, copies)

    async def _leave(self, due: Any) -> None:
        """Skip what is for an adapter that is switched off; but that something is to be removed stays to be done."""
        why = f"the adapter {due.adapter} is switched off; what is for it can be replayed when it is on"
        if due.adapter not in self._told:
            self._told.add(due.adapter)
            log.warning("Deliveries are skipped: %s", why)
        status: DeliveryStatus = "failed" if due.intent.get("kind") == "user_erased" else "skipped"
        await self._not_delivered(due, status, why, due.receipt, None)

    async def _begin(self, due: Any, outbound: Outbound) -> _Attempt | None:
        """Note the attempt, and return what is to leave; None if nothing is any more."""
        intent = parse(due.user_id, due.intent)
        if isinstance(intent, UserErased):
            user = outbound.pseudonyms.again(intent.pseudonym)
        else:
            user = outbound.pseudonyms.of_user(intent.user_id)
        begin = Query(_SQL["begin"], {"id": due.id, "pseudonym": user.text}, _first)
        parts = [PrincipalQueries(Principal.service(), [begin])]
        if content := _content(intent, due.adapter):
            parts.append(PrincipalQueries(Principal.of_subject(due.user_id), [content]))
        [[begun], *rest] = await to_the_end(self._database.run_parts(parts))
        if begun is None:
            return None
        rows = rest[0][0] if rest else ()
        return await asyncio.to_thread(_attempt, begun, due, intent, user, rows, outbound)

    async def _delivered(self, due: Any, attempt: _Attempt, copies: Copies) -> None:
        known = [
            (*attempt.addresses[reference], external_id)
            for reference, external_id in copies.items()
        ]
        given = {
            "id": due.id,
            "redactions": attempt.redactions,
            "namespaces": [namespace for namespace, _, _ in known],
            "keys": [key for _, key, _ in known],
            "external_ids": [external_id for _, _, external_id in known],
        }
        await self._run(Query(_SQL["delivered"], given))

    async def _not_delivered(
        self,
        due: Any,
        status: DeliveryStatus,
        error: str,
        receipt: str | None,
        redactions: str | None,
    ) -> None:
        told = {
            "status": status,
            "error": cleaned(error)[:500],
            "receipt": receipt,
            "redactions": redactions,
        }
        await self._run(Query(_SQL["not_delivered"], {"id": due.id, **told}))

    async def _run(self, query: Query[Any]) -> Any:
        return (await to_the_end(self._database.run(Principal.service(), [query])))[0]

    # Searching --------------------------------------------------------------------------------------------------------

    def in_shadow(self, user_id: str, op: SearchOp) -> dict[str, Candidate]:
        """Return the services that run in the shadow of ours, and how each searches a person's memory in its way."""
        switched = self._outbound.adapters if self._outbound else {}
        return {
            name: functools.partial(self.search, name, user_id, op.query or "", op.limit)
            for name, adapter in switched.items()
            if adapter.mode == "shadow"
        }

    async def search(
        self, name: str, user_id: str, query: str, limit: int
    ) -> list[StoredAddress | None]:
        """Return which memories of a person a service finds, best first; None for what is not known here.

        Raises:
            InvalidInput: no such adapter is switched on, or its service cannot be searched.
            DeliveryFailed: the service did not answer.
        """
        outbound = self._outbound
        adapter = (
            outbound.adapters[name].adapter if outbound and name in outbound.adapters else None
        )
        if outbound is None or not isinstance(adapter, Searchable):
            raise InvalidInput(f"No adapter {name!r} that can be searched is switched on.")
        redacted = await asyncio.to_thread(outbound.redactor.redact, query)
        with telemetry.adapter_call(name, "search"):
            found = await adapter.search(outbound.pseudonyms.of_user(user_id), redacted, limit)
        given = {"adapter": name, "user_id": user_id, "external_ids": [*found]}

        def read(rows: Rows) -> list[StoredAddress | None]:
            return [None if row.key is None else (row.namespace, row.key) for row in rows]

        return cast(
            "list[StoredAddress | None]", await self._run(Query(_SQL["known_as"], given, read))
        )


async def _tell(adapter: str, outbound: Outbound, attempt: _Attempt) -> Copies:
    if attempt.waits_for_erasure:
        raise DeliveryFailed(_ERASURE_FIRST)
    with telemetry.adapter_call(adapter, attempt.outgoing.kind):
        return await outbound.adapters[adapter].adapter.deliver(attempt.outgoing)


def _first(rows: Rows) -> Any:
    return rows[0] if rows else None


def _content(intent: Emitted | UserErased, adapter: str) -> Query[Rows] | None:
    """Ask for the memories that an intent is about."""
    match intent:
        case MemoryWritten() | MemoryForgotten():
            address = {"namespace": to_text(intent.namespace), "key": intent.key}
            return Query(
                _SQL["memory"], {"adapter": adapter, "user_id": intent.user_id, **address}, _all
            )
        case TurnCommitted():
            told = intent.model_dump(include={"user_id", "session_id", "exchange"})
            return Query(_SQL["turns"], {"adapter": adapter, **told}, _all)
        case _:
            return None


def _all(rows: Rows) -> Rows:
    return rows


def _attempt(
    begun: Any,
    due: Any,
    intent: Emitted | UserErased,
    user: Pseudonym,
    rows: Rows,
    outbound: Outbound,
) -> _Attempt:
    """Make what is to leave. It redacts, which takes a while with long texts: call it from a thread."""
    pseudonyms = outbound.pseudonyms
    copies, addresses = [], {}
    for row in rows:
        reference = pseudonyms.of("memory", row.namespace, row.key)
        addresses[reference.text] = (row.namespace, row.key)
        copies.append(
            Copy(
                reference,
                None if row.content is None else outbound.redactor.redact(row.content),
                row.type
                if row.type in get_args(MemoryType)
                else None,  # a person may write anything there
                row.role if row.role in ("user", "assistant") else None,
                row.external_id,
            )
        )
    session: str | None = getattr(intent, "session_id", None)
    outgoing = Outgoing(
        id=due.id,
        kind=intent.kind,
        user=user,
        session=None if session is None else pseudonyms.of("session", due.user_id, session),
        memories=copies,
        again=due.pseudonym is not None,
        receipt=due.receipt,
    )
    return _Attempt(begun.attempts, outgoing, begun.waits_for_erasure, addresses)
