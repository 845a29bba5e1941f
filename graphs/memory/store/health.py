"""The health of the memory by part, with advice for each part that is unwell."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory import telemetry
from graphs.memory.database import schema, statements
from graphs.memory.database.database import Database, to_the_end
from graphs.memory.database.driver_errors import READ_ONLY
from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.query import Query
from graphs.memory.errors import GraphMemoryError, SetupRequired
from graphs.memory.principal import Principal
from graphs.memory.search.embeddings import Index

_SQL = statements.load("health", __package__)

FRESH_SECONDS = 1.0
"""Seconds for which a report is reused."""

WATCH_SECONDS = 15.0
"""Seconds between two checks of a process, for its metrics."""

ANSWER_SECONDS = 2.0
"""Seconds within which the database must answer."""

LATE_SECONDS = 300.0
"""Seconds that a due job may wait."""

MANY_PENDING = 20_000
"""Vectors that may wait for the vector index; each search of a wide scope reads them all."""

UNSEALED_SECONDS = 900.0
"""Age of a record without a seal, in seconds; a seal is made every five minutes."""

REFUSED_SECONDS = 300.0
UNEMBEDDED_SECONDS = 300.0
"""Seconds for which a refused write counts; workers write more often."""

PartStatus = Literal["ok", "off", "degraded", "unavailable"]
_RANKS: dict[PartStatus, int] = {"ok": 0, "off": 0, "degraded": 1, "unavailable": 2}


class PartHealth(BaseModel):
    """The health of a part."""

    model_config = ConfigDict(frozen=True)

    status: PartStatus = Field(
        description="`off` where it is not in use; `unavailable` where the memory cannot be used."
    )
    advice: str | None = Field(default=None, description="What to do about it, if it is unwell.")


class HealthReport(BaseModel):
    """The health of the memory: that of its worst part. It holds no data and no secrets."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ok", "degraded", "unavailable"]
    parts: dict[str, PartHealth] = Field(
        description="By name; where the database is away, what is in it cannot be told."
    )


OK = PartHealth(status="ok")
OFF = PartHealth(status="off")

Probe = Callable[[], Awaitable[PartHealth]]
"""Returns the health of a part within a second, without a call of another system."""


class HealthMonitor:
    """Checks the health of the memory, and reports it as metrics.

    Args:
        database: the store's database.
        index: the embedding configuration; None for a store without vector search.
        alive_seconds: seconds without a heartbeat until a worker counts as dead.
    """

    def __init__(self, database: Database, index: Index | None, alive_seconds: float) -> None:
        self._database = database
        self._index = index
        self._alive_seconds = alive_seconds
        self._probes: dict[str, Probe] = {}
        self._looking = asyncio.Lock()
        self._report: HealthReport | None = None
        self._looked_at = float("-inf")
        self._own_schema: tuple[str, int] | None = None

    def add(self, name: str, probe: Probe) -> None:
        """Add a part outside the database, such as an adapter."""
        self._probes[name] = probe

    async def check(self) -> HealthReport:
        """Return the health, checked at most once a second. It raises nothing."""
        async with self._looking:
            if self._report is None or time.monotonic() - self._looked_at >= FRESH_SECONDS:
                self._report = await self._look()
                self._looked_at = time.monotonic()
            return self._report

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Update the metrics while the block lasts; one store of a process does it for all."""
        task = asyncio.create_task(self._watch(), name="watch over the memory's health")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _watch(self) -> None:
        while True:
            if telemetry.gauges_age() >= WATCH_SECONDS:
                await self.check()
            await asyncio.sleep(WATCH_SECONDS)

    async def _look(self) -> HealthReport:
        parts, gauges = await self._in_database()
        for name, probe in self._probes.items():
            parts[name] = await _probed(name, probe)
        ranks = {name: _RANKS[part.status] for name, part in parts.items()}
        told = [(float(rank), {"memory.health.part": name}) for name, rank in ranks.items()]
        telemetry.set_gauges({**gauges, "memory.health.status": told})
        overall: tuple[Literal["ok", "degraded", "unavailable"], ...] = (
            "ok",
            "degraded",
            "unavailable",
        )
        return HealthReport(status=overall[max(ranks.values())], parts=parts)

    async def _in_database(self) -> tuple[dict[str, PartHealth], telemetry.Gauges]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await self._vitals()
        except SetupRequired:
            advice = "The schema is missing: run `graph-memory setup`."
            return {"database": OK, "schema": PartHealth(status="unavailable", advice=advice)}, {}
        except (GraphMemoryError, TimeoutError) as error:
            advice = (
                f"The database does not answer ({type(error).__name__}): check its server and "
                "DATABASE_URL."
            )
            return {"database": PartHealth(status="unavailable", advice=advice)}, {}
        parts = {
            "database": (writes := self._writes(found.read_only)),
            "schema": _schema(found, *await self._own_version()),
            "embeddings": self._embeddings(found),
            "jobs": _jobs(found),
            "index": _index(found.pending),
            "audit": _audit(found.unsealed_age),
        }
        if writes.status != "ok":  # then no worker can work, whatever else would help
            for name in ("jobs", "index", "audit"):
                parts[name] = parts[name].model_copy(update={"advice": None})
        return parts, _gauges(found)

    def _writes(self, read_only: bool) -> PartHealth:
        """Return whether the database takes writes. A full disk is known by refused writes only."""
        if read_only:
            return PartHealth(status="degraded", advice=f"The database is read-only. {READ_ONLY}")
        refusal = self._database.refusal
        is_recent = time.monotonic() - self._database.refused_at < REFUSED_SECONDS
        if refusal and refusal.advice != READ_ONLY and is_recent:
            return PartHealth(status="degraded", advice=str(refusal))
        return OK

    async def _vitals(self) -> Any:
        given = {"alive_seconds": self._alive_seconds}
        query: Query[Any] = Query(_SQL["vitals"], given, lambda rows: rows[0])
        unsealed: Query[float] = Query(
            _SQL["unsealed_history"],
            {},
            lambda rows: float(rows[0].age) if rows else 0.0,
            part=SchemaPart.HISTORY,
        )
        found, age = await to_the_end(self._database.run(Principal.owner(), [query, unsealed]))
        return found._replace(unsealed_age=max(found.unsealed_age or 0.0, age or 0.0))

    async def _own_version(self) -> tuple[str, int]:
        """Return the digest and the step of this code's schema."""
        if self._own_schema is None:
            scripts = await asyncio.to_thread(schema.read_scripts)
            self._own_schema = scripts.digest, scripts.newest
        return self._own_schema

    def _embeddings(self, found: Any) -> PartHealth:
        index, name, dimensions = self._index, found.model, found.dimensions
        if index is None:
            return OFF
        # Without a model, the database has no vectors yet: the first start registers the model.
        if (name, dimensions) in ((index.name, index.dimensions), (None, None)):
            return _embedding(index, found)
        advice = (
            f"The database holds vectors of {name} ({dimensions} dimensions), and {index.name} "
            f"({index.dimensions}) is configured: run `graph-memory reembed` with the model to "
            "use, and start all servers with it."
        )
        return PartHealth(status="degraded", advice=advice)


def _embedding(index: Index, found: Any) -> PartHealth:
    if index.rests:
        advice = (
            f"The embedding model {index.name} does not answer: check its service and its key. "
            "Recalls go by words meanwhile, and a job embeds the turns later."
        )
        return PartHealth(status="degraded", advice=advice)
    age = found.unembedded_age or 0.0
    # Where a job has ended well, what still waits are single items that the model refuses.
    if age > UNEMBEDDED_SECONDS and any(job["task"] == "index_memories" for job in found.jobs):
        advice = (
            f"Items have waited {age / 60:.0f} min for their vectors: check that the "
            f"embedding model {index.name} answers and that a worker runs. `graph-memory jobs "
            "list --task index_memories` shows why they fail."
        )
        return PartHealth(status="degraded", advice=advice)
    return OK


async def _probed(name: str, probe: Probe) -> PartHealth:
    try:
        async with asyncio.timeout(1):
            return await probe()
    except (GraphMemoryError, TimeoutError) as error:
        return PartHealth(
            status="degraded",
            advice=f"The state of {name} cannot be told ({type(error).__name__}).",
        )


def _failed(found: Any) -> int:
    return sum(counted["jobs"] for counted in found.jobs if counted["status"] == "failed")


def _schema(found: Any, digest: str, newest: int) -> PartHealth:
    if found.schema_digest == digest:
        return OK
    if (found.schema_step or 0) > newest:
        advice = (
            f"The database is at step {found.schema_step} of the schema, and this code knows "
            f"{newest}: replace this server by one of the newer version."
        )
    else:
        advice = (
            "The database has another version of the schema than this code: run `graph-memory "
            "setup` of the newest; `graph-memory schema status` lists the steps that it lacks."
        )
    return PartHealth(status="degraded", advice=advice)


def _jobs(found: Any) -> PartHealth:
    advice = None
    if failed := _failed(found):
        advice = (
            f"Failed jobs: {failed}. `jobs.list(status='failed')` says why, `jobs.retry(id)` "
            "retries one."
        )
    if (found.oldest_due or 0) > LATE_SECONDS:
        advice = (
            f"A job has been due for {found.oldest_due:.0f} s: start more servers, or check them."
        )
    if not found.workers:
        advice = "Nobody does the background jobs: start a server with MEMORY_WORKER=true."
    return PartHealth(status="degraded", advice=advice) if advice else OK


def _index(pending: int) -> PartHealth:
    if pending <= MANY_PENDING:
        return OK
    advice = (
        f"{pending:,} vectors or more wait for the vector index: call `rebuild_index()` at a quiet "
        "time."
    )
    return PartHealth(status="degraded", advice=advice)


def _audit(unsealed_age: float | None) -> PartHealth:
    if (unsealed_age or 0) <= UNSEALED_SECONDS:
        return OK
    advice = (
        f"Records have not been sealed for {unsealed_age:.0f} s: look at the jobs `seal_audit`."
    )
    return PartHealth(status="degraded", advice=advice)


def _gauges(found: Any) -> telemetry.Gauges:
    def status_of(counted: Mapping[str, Any]) -> telemetry.Attributes:
        return {"memory.job.name": counted["task"], "memory.job.status": counted["status"]}

    return {
        "memory.jobs": [(counted["jobs"], status_of(counted)) for counted in found.jobs],
        "memory.job.oldest_due": [(found.oldest_due or 0, {})],
        "memory.job.workers": [(found.workers, {})],
        "memory.index.pending": [(found.pending, {})],
        "memory.audit.unsealed_age": [(found.unsealed_age or 0, {})],
    }
