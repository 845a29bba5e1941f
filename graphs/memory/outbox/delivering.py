"""Delivery of the outbox to external services, after the commit.

The transaction that makes a delivery necessary also writes it to the outbox (`memory.deliveries`)
and queues a job for it. The job reads the current state of the memories that the intent is about,
redacts them and passes them to the adapter. A delivery therefore describes a state: it may be made
late, twice, or after a newer one, with the same result.
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

_ERASURE_FIRST = (
    "this user was erased, and the erasure must be delivered first: if it failed, replay it "
    "(`graph-memory outbox list`)"
)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A delivery that is about to leave.

    Args:
        number: the number of the attempt, from 1.
        outgoing: the input of the adapter.
        addresses: the addresses of the memories in it, by their references.
        waits_for_erasure: an earlier erasure of the same user was not delivered to the service yet.
    """

    number: int
    outgoing: Outgoing
    waits_for_erasure: bool
    addresses: dict[str, StoredAddress] = field(default_factory=dict)

    @property
    def redactions(self) -> str:
        """The values that were redacted, as JSON: kind and digest of each, without repeats."""
        texts = (copy.text for copy in self.outgoing.memories if copy.text)
        found = dict.fromkeys(redaction for text in texts for redaction in text.redactions)
        return json.dumps(
            [{"kind": redaction.kind, "digest": redaction.digest} for redaction in found]
        )


class Courier:
    """The worker's side of the outbox: it makes deliveries.

    Args:
        database: the database of the outbox.
        outbound: the adapters that are switched on; None for none.
        attempts: attempts after which a delivery stays failed.
    """

    def __init__(self, database: Database, outbound: Outbound | None, attempts: int) -> None:
        self._database = database
        self._outbound = outbound
        self._attempts = attempts
        self._told: set[str] = set()

    async def deliver(self, delivery_id: str) -> None:
        """Make a delivery; this is the job. It may be interrupted at any point and run again.

        Raises:
            DeliveryFailed: the service did not accept it, and the job is to be retried.
        """
        due = await self._run(Query(_SQL["delivery"], {"id": delivery_id}, _first))
        if due is None:  # delivered or failed meanwhile, or its user was erased
            return
        await self._deliver(due)

    async def _deliver(self, due: Any) -> None:
        """Make a delivery. Raise `DeliveryFailed` only if it is to be retried."""
        outbound = self._outbound
        if outbound is None or due.adapter not in outbound.adapters:
            await self._leave(due)
            return
        try:
            attempt = await self._begin(due, outbound)
        except ValidationError:
            # A newer version wrote it, so no attempt of this one can succeed.
            why = "this version does not know the intent: upgrade, then replay the delivery"
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
        """Skip a delivery to an adapter that is switched off.

        An erasure becomes a dead letter instead: the service still has data that must be deleted.
        """
        why = f"the adapter {due.adapter} is switched off: switch it on, then replay its deliveries"
        if due.adapter not in self._told:
            self._told.add(due.adapter)
            log.warning("Deliveries are skipped: %s", why)
        status: DeliveryStatus = "failed" if due.intent.get("kind") == "user_erased" else "skipped"
        await self._not_delivered(due, status, why, due.receipt, None)

    async def _begin(self, due: Any, outbound: Outbound) -> _Attempt | None:
        """Record the attempt and return it; None if there is nothing left to deliver."""
        intent = parse(due.user_id, due.intent)
        if isinstance(intent, UserErased):
            user = outbound.pseudonyms.again(intent.pseudonym)
        else:
            user = outbound.pseudonyms.of_user(intent.user_id)
        begin = Query(_SQL["begin"], {"id": due.id, "pseudonym": user.text}, _first)
        parts = [PrincipalQueries(Principal.service(), [begin])]
        if content := _content(intent, due.adapter):
            # Read as the user: row-level security limits it to their own memories.
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

    # Searching ------------------------------------------------------------------------------------

    def in_shadow(self, user_id: str, op: SearchOp) -> dict[str, Candidate]:
        """Return a search for each service in the shadow of ours, by adapter, for a comparison."""
        switched = self._outbound.adapters if self._outbound else {}
        return {
            name: functools.partial(self.search, name, user_id, op.query or "", op.limit)
            for name, adapter in switched.items()
            if adapter.mode == "shadow"
        }

    async def search(
        self, name: str, user_id: str, query: str, limit: int
    ) -> list[StoredAddress | None]:
        """Return the memories of a user that a service finds, best first; None for unknown ones.

        Raises:
            InvalidInput: no such adapter is switched on, or its service cannot be searched.
            DeliveryFailed: the service did not answer.
        """
        outbound = self._outbound
        adapter = (
            outbound.adapters[name].adapter if outbound and name in outbound.adapters else None
        )
        if outbound is None or not isinstance(adapter, Searchable):
            raise InvalidInput(
                f"No adapter {name!r} that can be searched is switched on: "
                "`graph-memory outbox health` lists those that are."
            )
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
    """Return the query for the memories that an intent is about; None if it is about none."""
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
    """Make the input of an adapter. Redaction of long texts is slow: call it from a thread."""
    pseudonyms = outbound.pseudonyms
    copies, addresses = [], {}
    for row in rows:
        reference = pseudonyms.of("memory", row.namespace, row.key)
        addresses[reference.text] = (row.namespace, row.key)
        copies.append(
            Copy(
                reference,
                None if row.content is None else outbound.redactor.redact(row.content),
                # Users may write any value into their own items.
                row.type if row.type in get_args(MemoryType) else None,
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
