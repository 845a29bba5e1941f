"""Shadow comparisons: the results of another ranking or service beside ours. Users never see them.

Comparisons run after the answer was returned, a few at a time. They are samples: if too many wait,
new ones are dropped, and a process that ends drops its unfinished ones. Only keys are stored, never
queries.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.access import Access
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import GraphMemoryError
from graphs.memory.principal import Principal, acting_as
from graphs.memory.store.items import StoredAddress
from graphs.memory.values.text import cleaned

log = logging.getLogger(__name__)

_SQL = statements.load("shadow", __package__)

AT_ONCE = 2
"""Most comparisons that run at once, so that they take little from requests."""

MOST_WAITING = 100
"""Most comparisons that may wait; further ones are dropped."""

Candidate = Callable[[], Awaitable[Sequence[StoredAddress | None]]]
"""A search by another ranking or service for the same query.

It returns the addresses found, best first; None for memories that are unknown here.
"""


class ShadowSummary(BaseModel):
    """The comparisons with one candidate, summed up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    candidate: str
    comparisons: int
    failures: int = Field(description="Comparisons in which the candidate failed.")
    different: int = Field(description="Comparisons with other results, or another order.")
    overlap: float | None = Field(description="Mean share of our results that it found, too.")
    correlation: float | None = Field(
        description="Mean of Spearman's rho over the ranks of common results."
    )
    our_median_seconds: float | None
    their_median_seconds: float | None


def overlap(ours: Sequence[StoredAddress], theirs: Sequence[StoredAddress | None]) -> float | None:
    """Return the share of our results that are among theirs; None if we have none."""
    return len(set(ours) & set(theirs)) / len(set(ours)) if ours else None


def rank_correlation(
    ours: Sequence[StoredAddress], theirs: Sequence[StoredAddress | None]
) -> float | None:
    """Return Spearman's rho of the ranks of common results: 1 - 6 Σd² / n(n² - 1).

    None for fewer than two common results.
    """
    both = [address for address in dict.fromkeys(ours) if address in set(theirs)]
    if (n := len(both)) < 2:
        return None
    place = {address: rank for rank, address in enumerate(sorted(both, key=list(theirs).index))}
    return 1 - 6 * sum((rank - place[address]) ** 2 for rank, address in enumerate(both)) / (
        n * (n * n - 1)
    )


class Shadow:
    """The comparisons: `store.shadow`.

    Args:
        access: the way to the database.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._running: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(AT_ONCE)

    def compare(
        self,
        user_id: str,
        at_most: int,
        ours: Sequence[StoredAddress],
        seconds: float,
        candidates: Mapping[str, Candidate],
    ) -> None:
        """Schedule comparisons of a recall with candidates. It never waits and never raises.

        Args:
            user_id: the user whose memory was recalled.
            at_most: the limit of the recall.
            ours: the results of the recall, best first.
            seconds: the duration of the recall.
            candidates: the other searches, by name.
        """
        for name, candidate in candidates.items():
            if len(self._running) >= MOST_WAITING:
                return
            task = asyncio.create_task(
                self._compare(name, candidate, user_id, at_most, ours, seconds)
            )
            # The event loop itself holds only a weak reference to a task.
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def finish(self) -> None:
        """Wait until every scheduled comparison is recorded, or its failure is logged."""
        while self._running:
            await asyncio.wait(self._running)

    async def close(self) -> None:
        """Cancel the comparisons that are not finished."""
        for task in self._running:
            task.cancel()
        await self.finish()

    async def summary(self, hours: float = 24) -> list[ShadowSummary]:
        """Return a summary of the comparisons of the last hours for each candidate.

        Raises:
            AccessDenied: the principal is not the service.
        """

        def read(rows: Rows) -> list[ShadowSummary]:
            return [ShadowSummary.model_validate(row._asdict()) for row in rows]

        found: list[ShadowSummary] = await self._access.ask(
            None, Query(_SQL["summary"], {"hours": hours}, read)
        )
        return found

    async def _compare(
        self,
        name: str,
        candidate: Candidate,
        user_id: str,
        at_most: int,
        ours: Sequence[StoredAddress],
        seconds: float,
    ) -> None:
        async with self._turns:
            started = time.perf_counter()
            theirs: Sequence[StoredAddress | None] = ()
            error = None
            try:
                theirs = await candidate()
            except GraphMemoryError as failure:
                error = cleaned(str(failure))[:500]
            told = {
                "candidate": name,
                "user_id": user_id,
                "at_most": at_most,
                "ours": json.dumps(ours),
                "theirs": json.dumps(theirs),
                "overlap": None if error else overlap(ours, theirs),
                "correlation": None if error else rank_correlation(ours, theirs),
                "our_seconds": seconds,
                "their_seconds": time.perf_counter() - started,
                "error": error,
            }
            try:
                with acting_as(Principal.service()):
                    await self._access.ask(None, Query(_SQL["put"], told))
            except GraphMemoryError as unwritten:
                log.warning(
                    "A shadow comparison with %s could not be recorded: %s", name, unwritten
                )
