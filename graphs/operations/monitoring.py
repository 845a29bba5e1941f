"""One look at a running deployment: its connections, what is slow, what waits and what was given up."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from graphs.memory.database import statements
from graphs.memory.database.query import Query
from graphs.memory.errors import InvalidInput
from graphs.memory.jobs.tasks import Timing
from graphs.memory.values.models import FrozenModel

_SQL = statements.load("monitoring", __package__)
_VITALS = statements.load("health", "graphs.memory")["vitals"]

Ask = Callable[[Query[Any]], Awaitable[Any]]


class Clients(FrozenModel):
    """Connections of one application in one state. A pooler's are the server connections that it holds."""

    state: str = Field(
        description="As pg_stat_activity has it: active, idle, idle in transaction, …"
    )
    application: str
    connections: int


class Slow(FrozenModel):
    """A statement that has been running for a while."""

    pid: int = Field(description="What `pg_cancel_backend` takes, to cancel it.")
    seconds: float
    waits_for: str = Field(description="What it waits for, such as a lock; empty while it works.")
    statement: str = Field(description="Its beginning.")


class Waiting(FrozenModel):
    """Background jobs of one task that are not done."""

    task: str
    status: str
    jobs: int


class OpenDeliveries(FrozenModel):
    """Deliveries to one service outside that are pending, or failed: dead letters."""

    adapter: str
    status: str
    deliveries: int


class Look(FrozenModel):
    """How a deployment is at a moment. Counts of what could be many end at a limit."""

    at: datetime
    answered_seconds: float = Field(description="In which time the database answered this look.")
    connections: int
    max_connections: int
    clients: list[Clients]
    slow: list[Slow]
    jobs: list[Waiting]
    oldest_due: float | None = Field(
        description="For how many seconds the job that waits longest has been due."
    )
    workers: int = Field(description="How many workers of background jobs are alive.")
    deliveries: list[OpenDeliveries]
    pending_vectors: int = Field(description="How many vectors wait for the vector index.")
    unsealed_seconds: float | None = Field(
        description="How old the oldest record is that no seal covers."
    )
    cache_hits: float | None = Field(
        description="Which part of the pages that were asked for lay in Postgres' cache."
    )
    recalls: int = Field(
        description="How many recalls of the last minute have a receipt; counted to 5,000."
    )
    recall_median: float | None = Field(
        description="Seconds that half of the recalls of the last 15 minutes took; known where a shadow compares them."
    )
    recall_p95: float | None = Field(description="The same of all but 5 %.")


async def look(ask: Ask, slow_seconds: float) -> Look:
    """Return how the deployment is now.

    Args:
        ask: answers a query as the owner of the tables.
        slow_seconds: from when on a running statement is told.

    Raises:
        InvalidInput: the seconds are negative.
    """
    if not slow_seconds >= 0:
        raise InvalidInput(f"slow_seconds must be a number from 0; got {slow_seconds!r}.")
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
