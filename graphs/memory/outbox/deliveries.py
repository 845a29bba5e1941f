"""What became of what was to leave for services outside: looking, replaying, and how each adapter keeps up."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

from pydantic import Field

from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import DeliveryFailed, DeliveryNotFound, InvalidInput
from graphs.memory.outbox.adapter import Mode, Outbound, SwitchedAdapter
from graphs.memory.outbox.intents import DeliveryStatus, MemoryWritten, emit
from graphs.memory.principal import Principal, acting_as
from graphs.memory.values.models import FrozenModel
from graphs.memory.values.namespaces import from_text

_SQL = statements.load("deliveries", __package__)

STUCK_SECONDS = 60.0
"""How old a delivery is at least that is taken for stuck where no job is there for it."""

PORTION = 1000
"""How many memories an adapter is told of in one transaction, where it is told of all."""

LATE_SECONDS = 300.0
"""So long a delivery may wait."""

CHECK_SECONDS = 5.0
"""How long a service may take to answer a health check."""


class Delivery(FrozenModel):
    """What was, or is to be, told to a service outside."""

    id: UUID
    adapter: str
    mode: Literal["shadow", "on"]
    user_id: str | None = Field(description="Whom it is about; none where a person was erased.")
    intent: dict[str, Any] = Field(description="What happened, by reference.")
    status: DeliveryStatus
    attempts: int
    error: str | None = Field(description="Why it was not taken the last time.")
    redactions: list[dict[str, str]] = Field(
        description="What was taken out before it left: its kind, and a keyed digest (`Redactor.digest`)."
    )
    created_at: datetime
    delivered_at: datetime | None


class AdapterHealth(FrozenModel):
    """How an adapter does."""

    adapter: str
    mode: Mode
    reachable: bool | None = Field(
        default=None, description="Whether its service answered just now; none where off."
    )
    problem: str | None = Field(
        default=None, description="What it said, if it did not answer as it should."
    )
    pending: int = 0
    failed: int = 0
    behind_seconds: float | None = Field(
        default=None, description="How long the oldest pending one has waited."
    )
    delivered: int = Field(default=0, description="How many of the last hour's arrived.")
    median_seconds: float | None = Field(
        default=None, description="From the commit to the arrival, of those."
    )
    p99_seconds: float | None = None


class Deliveries:
    """The outbox, to look at: `store.deliveries`.

    Args:
        ask: answers a query of whoever may see what is about a user (or, for None, about everybody).
        outbound: the adapters that are switched on; None for none.
        attempts: how often a delivery is tried before it stays as failed.
    """

    def __init__(
        self,
        ask: Callable[[str | None, Query[Any]], Awaitable[Any]],
        outbound: Outbound | None,
        attempts: int,
    ) -> None:
        self._ask = ask
        self._adapters = outbound.adapters if outbound else {}
        self._attempts = attempts

    async def list(
        self,
        *,
        status: DeliveryStatus | None = None,
        adapter: str | None = None,
        user_id: str | None = None,
        limit: int = 100,
    ) -> list[Delivery]:
        """Return deliveries, the latest first. `status="failed"` are the dead letters.

        Args:
            status: only those with this status.
            adapter: only those for this adapter.
            user_id: only those about this user; the user themselves may ask for these.
            limit: how many at most.

        Raises:
            AccessDenied: these are not about the principal, who is not the service.
        """
        given = {"status": status, "adapter": adapter, "user_id": user_id, "limit": limit}
        query = Query(
            _SQL["list"],
            given,
            lambda rows: [Delivery.model_validate(row._asdict()) for row in rows],
        )
        found: list[Delivery] = await self._ask(user_id, query)
        return found

    async def replay(self, delivery_id: UUID | str, *, dry_run: bool = False) -> None:
        """Have a delivery that failed, or was skipped, tried again; a dry run only looks whether it may be.

        Raises:
            DeliveryNotFound: there is no such delivery, or it neither failed nor was skipped.
            AccessDenied: the principal is not the service.
        """
        is_id = re.fullmatch("[0-9a-f-]{36}", str(delivery_id))
        if not is_id or not await self._replay([str(delivery_id)], None, dry_run):
            raise DeliveryNotFound(
                f"There is no delivery {delivery_id} that failed or was skipped: `deliveries.list(status='failed')` "
                "has those that failed."
            )

    async def replay_all(self, adapter: str, *, dry_run: bool = False) -> int:
        """Have all deliveries of an adapter that failed, or were skipped, tried again; return how many those are.

        A dry run only counts them.

        Raises:
            AccessDenied: the principal is not the service.
        """
        return len(await self._replay([], adapter, dry_run))

    async def _replay(self, ids: Sequence[str], adapter: str | None, dry_run: bool) -> Any:
        statement = _SQL["would_replay" if dry_run else "replay"]
        return await self._ask(None, Query(statement, {"ids": ids, "adapter": adapter}, _all))

    async def tell_all(self, adapter: str) -> None:
        """Tell an adapter of all memories that there are, so that one that is switched on late has those from before.

        It may be cut off and called again: what an adapter is told twice is as good as once.

        Raises:
            InvalidInput: the adapter is not switched on, or memories are nothing that it is told of.
            AccessDenied: the principal is not the service.
        """
        switched = self._adapters.get(adapter)
        if switched is None or "memory_written" not in switched.adapter.takes:
            raise InvalidInput(f"No adapter {adapter!r} that is told of memories is switched on.")
        last: int | None = 0
        while last is not None:
            given = {"adapter": adapter, "mode": switched.mode, "after": last, "most": PORTION}
            last = await self._ask(None, Query(_SQL["tell"], given, lambda rows: rows[0].last))

    async def rescue(self, older_than: float = STUCK_SECONDS) -> int:
        """Queue deliveries again that nobody works on, and return how many those are; done every few minutes.

        Args:
            older_than: how many seconds old they are at least.

        Raises:
            AccessDenied: the principal is not the service.
        """
        given = {"most": self._attempts, "older_than": older_than}
        return cast(
            "int", await self._ask(None, Query(_SQL["rescue"], given, lambda rows: rows[0].rescued))
        )

    async def heard(self, adapter: str, external_id: str, event: str, event_id: UUID) -> bool:
        """Note what a service says of its copy of a memory, and return whether there is one that we know.

        A copy that it deleted is no copy any more; where the memory is still there, it is told again.

        Args:
            adapter: the service.
            external_id: what it calls the copy.
            event: `ADD`, `UPDATE` or `DELETE`.
            event_id: the same for the same event, which is logged once.

        Raises:
            AccessDenied: the principal is not the service.
        """
        given = {
            "adapter": adapter,
            "external_id": external_id,
            "event": event,
            "event_id": event_id,
        }
        [copy] = await self._ask(None, Query(_SQL["heard"], given, _all)) or [None]
        if copy and event == "DELETE":
            told = MemoryWritten(
                user_id=copy.user_id, namespace=from_text(copy.namespace), key=copy.key
            )
            await self._ask(None, emit(told))
        return copy is not None

    async def health(self) -> Sequence[AdapterHealth]:
        """Return how each adapter does that is switched on, or has something left to deliver.

        Raises:
            AccessDenied: the principal is not the service.
        """
        rows = await self._ask(None, Query(_SQL["sync"], {}, _all))
        numbers = {row.adapter: row._asdict() for row in rows}
        names = sorted({*numbers, *self._adapters})
        told = {name: {"adapter": name, "mode": "off", **numbers.get(name, {})} for name in names}
        checked = await asyncio.gather(*(_checked(each) for each in self._adapters.values()))
        for each, found in zip(self._adapters, checked, strict=True):
            told[each] |= found
        return [AdapterHealth.model_validate(told[name]) for name in names]

    async def trouble(self) -> str | None:
        """Return what is to be done about deliveries that fail or wait, in a sentence; None if there are none."""
        with acting_as(Principal.service()):
            found = await self._ask(None, Query(_SQL["open"], {}, lambda rows: rows[0]))
        if found.failed:
            return f"Deliveries that failed: {found.failed}. `graph-memory outbox list` says why, `replay` tries again."
        if (found.behind_seconds or 0) > LATE_SECONDS:
            return f"A delivery has waited for {found.behind_seconds:.0f} s: see `graph-memory outbox health`."
        return None


async def _checked(switched: SwitchedAdapter) -> dict[str, Any]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await switched.adapter.check()
    except DeliveryFailed as error:
        return {"mode": switched.mode, "reachable": False, "problem": str(error)}
    except TimeoutError:
        return {
            "mode": switched.mode,
            "reachable": False,
            "problem": f"no answer in {CHECK_SECONDS:.0f} s",
        }
    return {"mode": switched.mode, "reachable": True}


def _all(rows: Rows) -> Rows:
    return rows
