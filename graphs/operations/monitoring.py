"""A snapshot of a running deployment: connections, slow statements, queues and dead letters."""

import time
from datetime import UTC, datetime

from pydantic import Field

from graphs.memory.database import statements
from graphs.memory.database.query import Query
from graphs.memory.errors import InvalidInput
from graphs.memory.jobs.tasks import Timing
from graphs.memory.values.models import FrozenModel
from graphs.operations.service import Ask

_SQL = statements.load("monitoring", __package__)
_VITALS = statements.load("health", "graphs.memory.store")["vitals"]


class Clients(FrozenModel):
    """Connections of one application in one state.

    A pooler appears with the server connections that it holds.
    """

    state: str = Field(description="As in pg_stat_activity: active, idle, idle in transaction, …")
    application: str
    connections: int


class Slow(FrozenModel):
    """A statement that has been running for a while."""

    pid: int = Field(description="Process id; pass it to `pg_cancel_backend` to cancel.")
    seconds: float
    waits_for: str = Field(description="The lock or event it waits for; empty while it works.")
    statement: str = Field(description="The first 300 characters.")


class Waiting(FrozenModel):
    """Unfinished background jobs of one task."""

    task: str
    status: str
    jobs: int


class OpenDeliveries(FrozenModel):
    """Deliveries of one adapter that are pending or failed (dead letters)."""

    adapter: str
    status: str
    deliveries: int


class Look(FrozenModel):
    """The state of a deployment at one moment. Counts that could be large stop at a limit."""

    at: datetime
    answered_seconds: float = Field(description="How long the database took to answer, in seconds.")
    connections: int
    max_connections: int
    clients: list[Clients]
    slow: list[Slow]
    jobs: list[Waiting]
    oldest_due: float | None = Field(
        description="For how many seconds the oldest waiting job has been due."
    )
    workers: int = Field(description="Number of live workers of background jobs.")
    deliveries: list[OpenDeliveries]
    pending_vectors: int = Field(description="Number of vectors not yet in the vector index.")
    unsealed_seconds: float | None = Field(
        description="Age of the oldest audit record that no seal covers, in seconds."
    )
    cache_hits: float | None = Field(
        description="Share of the requested pages that were in Postgres' cache, 0 to 1."
    )
    recalls: int = Field(
        description="Recalls with a receipt in the last minute, counted up to 5,000."
    )
    recall_median: float | None = Field(
        description="Median duration of recalls in the last 15 minutes, in seconds; known only "
        "while a shadow compares them."
    )
    recall_p95: float | None = Field(description="The 95th percentile of the same durations.")


async def look(ask: Ask, slow_seconds: float) -> Look:
    """Return the current state of the deployment.

    Args:
        ask: runs a query as the owner of the tables.
        slow_seconds: running statements are listed from this duration on.

    Raises:
        InvalidInput: `slow_seconds` is negative.
    """
    if not slow_seconds >= 0:
        raise InvalidInput(f"slow_seconds must be 0 or greater; got {slow_seconds!r}.")
    started = time.perf_counter()
    server = await ask(Query(_SQL["look"], {"slow": slow_seconds}, lambda rows: rows[0]._asdict()))
    answered = time.perf_counter() - started
    vitals = await ask(Query(_VITALS, {"alive_seconds": Timing().stalled}, lambda rows: rows[0]))
    return Look(
        at=datetime.now(UTC),
        answered_seconds=answered,
        jobs=vitals.jobs,
        oldest_due=vitals.oldest_due,
        workers=vitals.workers,
        pending_vectors=vitals.pending,
        unsealed_seconds=vitals.unsealed_age,
        **server,
    )
