"""Operations on the outbox: list and replay deliveries, and the health of each adapter."""

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

from pydantic import Field

from graphs.memory.access import Access
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
"""Age from which a delivery without a job counts as stuck."""

PORTION = 1000
"""Most memories that are queued in one transaction when all are delivered to an adapter."""

LATE_SECONDS = 300.0
"""Seconds that a delivery may wait before this is reported as trouble."""

CHECK_SECONDS = 5.0
"""Seconds that a service may take to answer a health check."""


class Delivery(FrozenModel):
    """A delivery to an external service, made or still to be made."""

    id: UUID
    adapter: str
    mode: Literal["shadow", "on"]
    user_id: str | None = Field(description="The user it is about; none if the user was erased.")
    intent: dict[str, Any] = Field(description="The event, by reference.")
    status: DeliveryStatus
    attempts: int
    error: str | None = Field(description="The reason why the last attempt failed.")
    redactions: list[dict[str, str]] = Field(
        description="The redacted values: kind and keyed digest (`Redactor.digest`) of each."
    )
    created_at: datetime
    delivered_at: datetime | None


class AdapterHealth(FrozenModel):
    """The health of an adapter and its deliveries."""

    adapter: str
    mode: Mode
    reachable: bool | None = Field(
        default=None, description="Whether its service answers now; none if off."
    )
    problem: str | None = Field(
        default=None, description="The failure of the health check, if any."
    )
    pending: int = 0
    failed: int = 0
    behind_seconds: float | None = Field(
        default=None, description="Age of the oldest pending delivery."
    )
    delivered: int = Field(default=0, description="Deliveries that arrived in the last hour.")
    median_seconds: float | None = Field(
        default=None, description="Median time from commit to arrival, of these."
    )
    p99_seconds: float | None = None


class Deliveries:
    """The deliveries of the outbox: `store.deliveries`.

    Args:
        access: the way to the database.
        outbound: the adapters that are switched on; None for none.
        attempts: attempts after which a delivery stays failed.
    """

    def __init__(
        self,
        access: Access,
        outbound: Outbound | None,
        attempts: int,
    ) -> None:
        self._access = access
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
        """Return deliveries, latest first. Those with `status="failed"` are the dead letters.

        Args:
            status: only deliveries with this status.
            adapter: only deliveries to this adapter.
            user_id: only deliveries about this user. Users may list their own.
            limit: most deliveries to return.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {"status": status, "adapter": adapter, "user_id": user_id, "limit": limit}
        query = Query(
            _SQL["list"],
            given,
            lambda rows: [Delivery.model_validate(row._asdict()) for row in rows],
        )
        found: list[Delivery] = await self._access.ask(user_id, query)
        return found

    async def replay(self, delivery_id: UUID | str, *, dry_run: bool = False) -> None:
        """Retry a delivery that failed or was skipped. A dry run only checks that this is possible.

        Raises:
            DeliveryNotFound: there is no such delivery, or it neither failed nor was skipped.
            AccessDenied: the principal is not the service.
        """
        # The database would refuse to cast any other text to a uuid.
        is_id = re.fullmatch("[0-9a-f-]{36}", str(delivery_id))
        if not is_id or not await self._replay([str(delivery_id)], None, dry_run):
            raise DeliveryNotFound(
                f"There is no delivery {delivery_id} that failed or was skipped: "
                "`deliveries.list(status='failed')` returns the failed ones."
            )

    async def replay_all(self, adapter: str, *, dry_run: bool = False) -> int:
        """Retry all deliveries of an adapter that failed or were skipped, and return their number.

        A dry run only counts them.

        Raises:
            AccessDenied: the principal is not the service.
        """
        return len(await self._replay([], adapter, dry_run))

    async def _replay(self, ids: Sequence[str], adapter: str | None, dry_run: bool) -> Any:
        statement = _SQL["would_replay" if dry_run else "replay"]
        return await self._access.ask(
            None, Query(statement, {"ids": ids, "adapter": adapter}, _all)
        )

    async def tell_all(self, adapter: str) -> None:
        """Queue deliveries of all memories to an adapter.

        Use it when an adapter is switched on late, so that it gets the memories from before.
        It may be interrupted and called again: a second delivery of a memory has no further effect.

        Raises:
            InvalidInput: the adapter is not switched on, or does not take memories.
            AccessDenied: the principal is not the service.
        """
        switched = self._adapters.get(adapter)
        if switched is None or "memory_written" not in switched.adapter.takes:
            raise InvalidInput(
                f"No adapter {adapter!r} that takes memories is switched on: "
                "`graph-memory outbox health` lists those that are."
            )
        last: int | None = 0
        while last is not None:
            given = {"adapter": adapter, "mode": switched.mode, "after": last, "most": PORTION}
            last = await self._access.ask(
                None, Query(_SQL["tell"], given, lambda rows: rows[0].last)
            )

    async def rescue(self, older_than: float = STUCK_SECONDS) -> int:
        """Queue stuck deliveries again, and return their number. A periodic job calls it.

        A delivery is stuck if it is pending and no job exists for it.

        Args:
            older_than: least age of a stuck delivery, in seconds.

        Raises:
            AccessDenied: the principal is not the service.
        """
        given = {"most": self._attempts, "older_than": older_than}
        return cast(
            "int",
            await self._access.ask(
                None, Query(_SQL["rescue"], given, lambda rows: rows[0].rescued)
            ),
        )

    async def heard(self, adapter: str, external_id: str, event: str, event_id: UUID) -> bool:
        """Log an event that a service reports about its copy of a memory.

        If the service deleted its copy and the memory still exists, the memory is delivered again.

        Args:
            adapter: the service's adapter.
            external_id: the service's id of the copy.
            event: `ADD`, `UPDATE` or `DELETE`.
            event_id: the same for repeats of an event, which is logged once.

        Returns:
            True if the copy is known here.

        Raises:
            AccessDenied: the principal is not the service.
        """
        given = {
            "adapter": adapter,
            "external_id": external_id,
            "event": event,
            "event_id": event_id,
        }
        [copy] = await self._access.ask(None, Query(_SQL["heard"], given, _all)) or [None]
        if copy and event == "DELETE":
            told = MemoryWritten(
                user_id=copy.user_id, namespace=from_text(copy.namespace), key=copy.key
            )
            await self._access.ask(None, emit(told))
        return copy is not None

    async def health(self) -> Sequence[AdapterHealth]:
        """Return the health of each adapter that is switched on or has open deliveries.

        Raises:
            AccessDenied: the principal is not the service.
        """
        rows = await self._access.ask(None, Query(_SQL["sync"], {}, _all))
        numbers = {row.adapter: row._asdict() for row in rows}
        names = sorted({*numbers, *self._adapters})
        told = {name: {"adapter": name, "mode": "off", **numbers.get(name, {})} for name in names}
        checked = await asyncio.gather(*(_checked(each) for each in self._adapters.values()))
        for each, found in zip(self._adapters, checked, strict=True):
            told[each] |= found
        return [AdapterHealth.model_validate(told[name]) for name in names]

    async def trouble(self) -> str | None:
        """Return a message about failed or late deliveries and their remedy, or None."""
        with acting_as(Principal.service()):
            found = await self._access.ask(None, Query(_SQL["open"], {}, lambda rows: rows[0]))
        if found.failed:
            return (
                f"Deliveries that failed: {found.failed}. `graph-memory outbox list` shows why, "
                "`graph-memory outbox replay` retries them."
            )
        if (found.behind_seconds or 0) > LATE_SECONDS:
            return (
                f"A delivery has waited for {found.behind_seconds:.0f} s: "
                "see `graph-memory outbox health`."
            )
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
