"""Previews of irreversible operations, and reports on a deployment's state."""

import functools
from typing import NoReturn

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.access import Access
from graphs.memory.contract import ErasureCertificate
from graphs.memory.database import statements
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query, Rows
from graphs.memory.database.transaction import Transaction
from graphs.memory.errors import InvalidInput
from graphs.memory.rights import erasure, retention
from graphs.memory.search.embeddings import Index
from graphs.memory.search.recalled import content_of
from graphs.memory.values.namespaces import from_text, user_scope
from graphs.operations import audit_report, monitoring
from graphs.operations.audit_report import SecurityReport
from graphs.operations.monitoring import Look

_SQL = statements.load("oversight", __package__)


class Fading(BaseModel):
    """A memory that `decay_memory` would change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: tuple[str, ...]
    key: str
    content: str
    importance: float
    trimmed: bool = Field(
        description="Whether it would be deleted; otherwise its importance would be halved."
    )


class Oversight:
    """Dry runs of erasure, decay, sweep and re-embedding; job clean-up, security report and look.

    Args:
        access: the store's access.
        index: the store's embedding configuration; None for a store without vector search.
    """

    def __init__(self, access: Access, index: Index | None) -> None:
        self._access = access
        self._index = index
        self.home_loop = access.home_loop

    @on_home_loop
    async def would_erase(self, user_id: str) -> dict[str, int]:
        """Return the number of rows by table that `erase_user` would delete now.

        The erasure runs in full and is rolled back, so that the counts miss nothing. Writes of this
        user wait until then. Files are counted; their contents in Supabase Storage are not touched.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        principal = await self._access.only(user_id)
        try:
            await self._access.database.transaction(
                principal, lambda transaction: _erase_and_undo(transaction, user_id)
            )
        except _Undone as undone:
            return undone.certificate.erased

    async def would_decay(self, user_id: str, threshold_days: float) -> list[Fading]:
        """Return the memories that `decay_memory` would delete or weaken, least important first.

        Raises:
            InvalidInput: the threshold is not a positive number of days.
            AccessDenied: the principal is neither this user nor the service.
        """
        retention.check_threshold(threshold_days)
        given = {"user_id": user_id, "days": threshold_days, "important": retention.IMPORTANT}
        query = Query(_SQL["would_decay"], given, _fading)
        found: list[Fading] = await self._access.ask(user_id, query, user_scope(user_id))
        return found

    async def would_sweep(self) -> int:
        """Return the number of expired memories, which `sweep_ttl` would delete.

        Raises:
            AccessDenied: the principal is not the service.
        """
        counted: int = await self._access.ask_as_owner(
            None, Query(_SQL["would_sweep"], {}, lambda rows: rows[0].expired)
        )
        return counted

    async def would_reembed(self) -> int:
        """Return the number of vectors that `reembed` would create with the configured model.

        Raises:
            AccessDenied: the principal is not the service.
        """
        if self._index is None:
            return 0
        given = {"name": self._index.name, "dimensions": self._index.dimensions}
        counted: int = await self._access.ask_as_owner(
            None, Query(_SQL["would_reembed"], given, lambda rows: rows[0].missing)
        )
        return counted

    async def purge_jobs(
        self, hours: float, *, failed: bool = False, dry_run: bool = False
    ) -> dict[str, int]:
        """Delete old background jobs that have ended; return their number by status.

        Args:
            hours: age of a job, counted from its end, from which on it is deleted.
            failed: delete failed jobs, too. They can no longer be retried then.
            dry_run: count the jobs without deleting them.

        Raises:
            InvalidInput: `hours` is negative.
            AccessDenied: the principal is not the service.
        """
        if not hours >= 0:
            raise InvalidInput(f"hours must be 0 or greater; got {hours!r}.")
        statuses = ["succeeded", "cancelled", "aborted", *(["failed"] if failed else [])]
        given = {"hours": hours, "statuses": statuses, "dry_run": dry_run}
        counts: dict[str, int] = await self._access.ask_as_owner(
            None,
            Query(_SQL["purge_jobs"], given, lambda rows: {row.status: row.jobs for row in rows}),
        )
        return counts

    async def security_report(self, *, days: float = 7, head: str | None = None) -> SecurityReport:
        """Return who can access which data, recent access events, and the state of the audit seals.

        Args:
            days: how many days of access events to include.
            head: a digest that `seal_audit` returned earlier and that was kept elsewhere.

        Raises:
            InvalidInput: `days` is not positive, or `head` is not a digest.
            AccessDenied: the principal is not the service.
        """
        return await audit_report.security_report(
            functools.partial(self._access.ask_as_owner, None), days, head
        )

    async def look(self, *, slow_seconds: float = 1) -> Look:
        """Return the current state of the deployment, in a few milliseconds at any size.

        Args:
            slow_seconds: running statements are listed from this duration on.

        Raises:
            InvalidInput: `slow_seconds` is negative.
            AccessDenied: the principal is not the service.
        """
        return await monitoring.look(
            functools.partial(self._access.ask_as_owner, None), slow_seconds
        )


class _Undone(Exception):
    """Rolls the transaction back and carries the certificate out of it."""

    def __init__(self, certificate: ErasureCertificate) -> None:
        self.certificate = certificate
        super().__init__()


async def _erase_and_undo(transaction: Transaction, user_id: str) -> NoReturn:
    [certificate] = await transaction.run([erasure.erase(user_id, {})])
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
