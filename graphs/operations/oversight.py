"""What an operator looks at before doing something that cannot be undone, and afterwards."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, Protocol

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.contract import ErasureCertificate
from graphs.memory.database import statements
from graphs.memory.database.database import Database
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query, Rows
from graphs.memory.database.transaction import Transaction
from graphs.memory.errors import InvalidInput
from graphs.memory.knowledge.common import Run
from graphs.memory.principal import Principal
from graphs.memory.rights import erasure, retention
from graphs.memory.search.embeddings import Index
from graphs.memory.search.recalled import content_of
from graphs.memory.values.namespaces import from_text, user_scope
from graphs.operations import audit_report, monitoring
from graphs.operations.audit_report import SecurityReport
from graphs.operations.monitoring import Look

_SQL = statements.load("oversight", __package__)


class AskAsOwner(Protocol):
    """Answers a query as the owner of the tables, for the service alone where it concerns everybody."""

    def __call__(self, user_id: str | None, query: Query[Any]) -> Awaitable[Any]:
        """Return what the query reads."""


class Fading(BaseModel):
    """A memory that `decay_memory` would change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: tuple[str, ...]
    key: str
    content: str
    importance: float
    trimmed: bool = Field(
        description="Whether it would go; otherwise it would lose half of its importance."
    )


class Oversight:
    """What would become of things, and how the whole is.

    Args:
        database: where the memory is.
        index: how the store embeds, None if it does not.
        principal_for: tells who is acting, and refuses who may not act for a user.
        ask_as: answers a query about a user as whoever is acting.
        ask_as_owner: answers a query about everybody, for the service.
    """

    def __init__(
        self,
        database: Database,
        index: Index | None,
        principal_for: Callable[[str], Awaitable[Principal]],
        ask_as: Run,
        ask_as_owner: AskAsOwner,
    ) -> None:
        self._database = database
        self._index = index
        self._principal_for = principal_for
        self._ask_as = ask_as
        self._ask_as_owner = ask_as_owner
        self.home_loop = asyncio.get_running_loop()

    @on_home_loop
    async def would_erase(self, user_id: str) -> dict[str, int]:
        """Return how many rows of which tables `erase_user` would remove now.

        The erasure is made and rolled back, so that nothing is left out: while it lasts, writes of this user wait.
        Files are counted; their contents in Supabase Storage are not touched.

        Raises:
            AccessDenied: the principal is not this user and not the service.
        """
        principal = await self._principal_for(user_id)
        try:
            await self._database.transaction(
                principal, lambda transaction: _erase_and_undo(transaction, user_id)
            )
        except _Undone as undone:
            return undone.certificate.erased

    async def would_decay(self, user_id: str, threshold_days: float) -> list[Fading]:
        """Return the memories that `decay_memory` would trim or let fade now, the least important first.

        Raises:
            InvalidInput: the threshold is not a positive number of days.
            AccessDenied: the principal is not this user and not the service.
        """
        retention.check_threshold(threshold_days)
        given = {"user_id": user_id, "days": threshold_days, "important": retention.IMPORTANT}
        query = Query(_SQL["would_decay"], given, _fading)
        found: list[Fading] = await self._ask_as(user_id, query, user_scope(user_id))
        return found

    async def would_sweep(self) -> int:
        """Return how many memories have expired, which `sweep_ttl` would delete.

        Raises:
            AccessDenied: the principal is not the service.
        """
        counted: int = await self._ask_as_owner(
            None, Query(_SQL["would_sweep"], {}, lambda rows: rows[0].expired)
        )
        return counted

    async def would_reembed(self) -> int:
        """Return how many vectors `reembed` would make, with the model that is configured.

        Raises:
            AccessDenied: the principal is not the service.
        """
        if self._index is None:
            return 0
        given = {"name": self._index.name, "dimensions": self._index.dimensions}
        counted: int = await self._ask_as_owner(
            None, Query(_SQL["would_reembed"], given, lambda rows: rows[0].missing)
        )
        return counted

    async def purge_jobs(
        self, hours: float, *, failed: bool = False, dry_run: bool = False
    ) -> dict[str, int]:
        """Delete the background jobs that ended that many hours ago or earlier; return how many there were, by status.

        Args:
            hours: for how long they are kept.
            failed: those that failed, too; nobody can have them tried again then.
            dry_run: only count them.

        Raises:
            InvalidInput: the hours are negative.
            AccessDenied: the principal is not the service.
        """
        if not hours >= 0:
            raise InvalidInput(f"hours must be a number from 0; got {hours!r}.")
        statuses = ["succeeded", "cancelled", "aborted", *(["failed"] if failed else [])]
        given = {"hours": hours, "statuses": statuses, "dry_run": dry_run}
        counts: dict[str, int] = await self._ask_as_owner(
            None,
            Query(_SQL["purge_jobs"], given, lambda rows: {row.status: row.jobs for row in rows}),
        )
        return counts

    async def security_report(self, *, days: float = 7, head: str | None = None) -> SecurityReport:
        """Report who could reach what, who did in the last days, and whether the records fit their seals.

        Args:
            days: how far back to look for who did what.
            head: a digest that `seal_audit` returned earlier and that was kept elsewhere.

        Raises:
            InvalidInput: the days are not positive, or the head is no digest.
            AccessDenied: the principal is not the service.
        """
        return await audit_report.security_report(
            functools.partial(self._ask_as_owner, None), days, head
        )

    async def look(self, *, slow_seconds: float = 1) -> Look:
        """Return how the deployment is at this moment; a few milliseconds, however much there is.

        Args:
            slow_seconds: from when on a running statement is told.

        Raises:
            InvalidInput: the seconds are negative.
            AccessDenied: the principal is not the service.
        """
        return await monitoring.look(functools.partial(self._ask_as_owner, None), slow_seconds)


class _Undone(Exception):
    """Has a transaction rolled back, and tells what it did."""

    def __init__(self, certificate: ErasureCertificate) -> None:
        self.certificate = certificate
        super().__init__()


async def _erase_and_undo(transaction: Transaction, user_id: str) -> NoReturn:
    [certificate] = await transaction.run([erasure.erase(user_id)])
    raise _Undone(certificate)


def _fading(rows: Rows) -> list[Fading]:
    return [
        Fading(
            namespace=from_text(row.namespace),
            key=row.key,
            content=content_of(row.value),
            importance=row.importance,
            trimmed=not row.important,
        )
        for row in rows
    ]
