"""Shadows: what another ranking, or a service outside, would have found, beside what was found. Nobody is shown it.

Comparisons are made after the answer is out, a few at a time. They are samples: what comes while too many wait is left
out, and a process that ends takes with it what it had not compared yet. What is kept is keys, never what was asked.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import GraphMemoryError
from graphs.memory.principal import Principal, acting_as
from graphs.memory.store.items import StoredAddress
from graphs.memory.values.text import cleaned

log = logging.getLogger(__name__)

_SQL = statements.load("shadow", __package__)

AT_ONCE = 2
"""How many comparisons are made at once, so that they take little from those who wait for answers."""

MOST_WAITING = 100
"""How many comparisons may wait; what comes then is not compared."""

Candidate = Callable[[], Awaitable[Sequence[StoredAddress | None]]]
"""Searches in another way for what was searched, and returns what it finds, best first; None for what is not known."""


class ShadowSummary(BaseModel):
    """What the comparisons with a candidate come to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    candidate: str
    comparisons: int
    failures: int = Field(description="How often it gave nothing that could be compared.")
    different: int = Field(description="How often it found something else, or in another order.")
    overlap: float | None = Field(
        description="Which part of what was found it found, too; the mean."
    )
    correlation: float | None = Field(
        description="Spearman's, of the ranks of what both found; the mean."
    )
    our_median_seconds: float | None
    their_median_seconds: float | None


def overlap(ours: Sequence[StoredAddress], theirs: Sequence[StoredAddress | None]) -> float | None:
    """Return which part of ours is among theirs; None where there is nothing of ours."""
    return len(set(ours) & set(theirs)) / len(set(ours)) if ours else None


def rank_correlation(
    ours: Sequence[StoredAddress], theirs: Sequence[StoredAddress | None]
) -> float | None:
    """Return Spearman's rho, of the ranks of what both have, 1 - 6 Σd² / n(n² - 1); None for less than two."""
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
        ask: answers a query of whoever may see what is about everybody.
    """

    def __init__(self, ask: Callable[[str | None, Query[Any]], Awaitable[Any]]) -> None:
        self._ask = ask
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
        """Have a recall compared with what candidates would have found, soon; it never waits and never raises.

        Args:
            user_id: whose memory was recalled.
            at_most: how many memories were asked for.
            ours: what was found, best first.
            seconds: how long that took.
            candidates: the others, by name.
        """
        for name, candidate in candidates.items():
            if len(self._running) >= MOST_WAITING:
                return
            task = asyncio.create_task(
                self._compare(name, candidate, user_id, at_most, ours, seconds)
            )
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def finish(self) -> None:
        """Return when every comparison that was begun is recorded, or was reported as not recorded."""
        while self._running:
            await asyncio.wait(self._running)

    async def close(self) -> None:
        """Give up what is not compared yet."""
        for task in self._running:
            task.cancel()
        await self.finish()

    async def summary(self, hours: float = 24) -> list[ShadowSummary]:
        """Return what the comparisons of the last hours come to, by candidate.

        Raises:
            AccessDenied: the principal is not the service.
        """

        def read(rows: Rows) -> list[ShadowSummary]:
            return [ShadowSummary.model_validate(row._asdict()) for row in rows]

        found: list[ShadowSummary] = await self._ask(
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
                    await self._ask(None, Query(_SQL["put"], told))
            except GraphMemoryError as unwritten:
                log.warning("A comparison with %s could not be recorded: %s", name, unwritten)
