"""Spans and metrics through OpenTelemetry's API; without an SDK they do nothing.

Names are those of OpenTelemetry's semantic conventions (`db.*`, `gen_ai.*`, `error.type`), or begin
with `memory.`. Attributes name the kind of work and its outcome. They never hold contents, queries,
keys, namespaces, ids of users or texts of errors. docs/observability.md lists everything.
"""

import functools
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

from opentelemetry import context, metrics, trace
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import SpanKind, StatusCode

P = ParamSpec("P")
T = TypeVar("T")
Attributes = Mapping[str, str | int]

SCOPE = "graphs.memory"
"""The instrumentation scope of all spans and metrics."""

_QUICK = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
_SLOW = [0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]
_COUNTS = [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 100]

DURATIONS = {
    "memory.operation.duration": ("How long calls of the memory took.", _QUICK),
    "db.client.operation.duration": (
        "How long transactions took, the wait for a connection included.",
        _QUICK,
    ),
    "gen_ai.client.operation.duration": (
        "How long the embedding model took, retries included.",
        _QUICK,
    ),
    "memory.job.duration": ("How long attempts at background jobs took.", _SLOW),
    "memory.adapter.duration": ("How long calls of other systems took.", _SLOW),
}
"""Histograms of seconds, each with what it says and its buckets."""

RECALLED = "memory.recall.results"

POOL_GAUGES = {
    "db.client.connection.count": (
        "{connection}",
        "Connections of this process, by state: idle or used.",
    ),
    "db.client.connection.max": ("{connection}", "Most connections that this process may have."),
    "db.client.connection.pending_requests": (
        "{request}",
        "Work of this process that waits for a connection.",
    ),
}

GAUGES = {
    "memory.jobs": (
        "{job}",
        "Background jobs by name and status; those that are `failed` need somebody.",
    ),
    "memory.job.oldest_due": (
        "s",
        "How long the background job has waited that has been due longest.",
    ),
    "memory.job.workers": (
        "{worker}",
        "Workers of background jobs that gave a sign of life lately.",
    ),
    "memory.index.pending": ("{vector}", "Vectors that wait to be put into the vector index."),
    "memory.audit.unsealed_age": ("s", "How old the oldest record is that no seal covers yet."),
    "memory.health.status": (
        "{status}",
        "How each part is: 0 ok or not in use, 1 degraded, 2 unavailable.",
    ),
}
"""Gauges that are read from the database at intervals, and set by `set_gauges`."""

Gauges = Mapping[str, Sequence[tuple[float, Attributes]]]
"""Values of `GAUGES`, each with its attributes."""


class PoolWithStatistics(Protocol):
    """A connection pool with counters, such as those of psycopg_pool."""

    def get_stats(self) -> dict[str, int]:
        """Return its counters."""


class _Reading(NamedTuple):
    """The values of gauges, and when they were read."""

    gauges: Gauges
    at: float


KEPT_SECONDS = 60.0
"""Seconds for which values of gauges are reported; older ones may be wrong."""

_tracer = trace.get_tracer(SCOPE)
_pools: set[PoolWithStatistics] = set()
_reading = _Reading({}, float("-inf"))


class _Instruments:
    """The instruments of one meter."""

    def __init__(self, meter: Meter) -> None:
        self.durations = {
            name: meter.create_histogram(
                name, "s", text, explicit_bucket_boundaries_advisory=buckets
            )
            for name, (text, buckets) in DURATIONS.items()
        }
        self.recalled = meter.create_histogram(
            RECALLED,
            "{memory}",
            "How many memories a recall gave.",
            explicit_bucket_boundaries_advisory=_COUNTS,
        )
        for name, (unit, text) in {**POOL_GAUGES, **GAUGES}.items():
            meter.create_observable_gauge(
                name, [functools.partial(self._observe, name)], unit, text
            )

    def _observe(self, name: str, _: CallbackOptions) -> Iterable[Observation]:
        """Tell a gauge's values from memory: a scrape must never wait for the database."""
        if self is not _instruments:
            return []
        values = _of_pools(name) if name in POOL_GAUGES else _read(name)
        return [Observation(value, attributes) for value, attributes in values]


def _read(name: str) -> Sequence[tuple[float, Attributes]]:
    return _reading.gauges.get(name, ()) if gauges_age() < KEPT_SECONDS else ()


def _of_pools(name: str) -> Sequence[tuple[float, Attributes]]:
    stats = [pool.get_stats() for pool in list(_pools)]
    size, idle, waiting, most = (
        sum(found.get(key, 0) for found in stats)
        for key in ("pool_size", "pool_available", "requests_waiting", "pool_max")
    )
    pool: Attributes = {"db.client.connection.pool.name": "memory"}
    if name == "db.client.connection.count":
        state = "db.client.connection.state"
        return [(idle, {**pool, state: "idle"}), (size - idle, {**pool, state: "used"})]
    return [(most if name == "db.client.connection.max" else waiting, pool)]


_instruments = _Instruments(metrics.get_meter(SCOPE))


def record_with(meter: Meter) -> None:
    """Record with this meter from now on, and not with that of the global provider."""
    global _instruments
    _instruments = _Instruments(meter)


@contextmanager
def watching(pool: PoolWithStatistics) -> Iterator[None]:
    """Measure a connection pool while the block lasts."""
    _pools.add(pool)
    try:
        yield
    finally:
        _pools.discard(pool)


def set_gauges(gauges: Gauges) -> None:
    """Set the current values of `GAUGES`, which all stores of a process share."""
    global _reading
    _reading = _Reading(gauges, time.monotonic())


def gauges_age() -> float:
    """Return how many seconds ago somebody in this process called `set_gauges`."""
    return time.monotonic() - _reading.at


def recalled(memories: int) -> None:
    """Count what a recall gave."""
    _instruments.recalled.record(memories)


class MeasuredBlock:
    """A block of work: a current span, and its duration. The functions below create it.

    If an exception leaves the block, the span has the status ERROR and `error.type` its name. A
    cancelled caller has not failed.
    """

    __slots__ = ("_attributes", "_began", "_duration", "_kind", "_name", "_span", "_token")

    def __init__(
        self, duration: str, name: str, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL
    ) -> None:
        self._duration = duration
        self._name = name
        self._attributes = attributes
        self._kind = kind

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        self._span = _tracer.start_span(self._name, None, self._kind, self._attributes)
        is_real = self._span.get_span_context().is_valid
        self._token = context.attach(trace.set_span_in_context(self._span)) if is_real else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._token is not None:
            context.detach(self._token)
        attributes = self._attributes
        if isinstance(error, Exception):
            attributes = {**attributes, "error.type": type(error).__name__}
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
        _instruments.durations[self._duration].record(time.perf_counter() - self._began, attributes)


def call(name: str) -> MeasuredBlock:
    """Measure a call of the memory."""
    return MeasuredBlock("memory.operation.duration", f"memory.{name}", {"memory.operation": name})


def operation(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Measure every call of an async method, under its name."""
    name = method.__name__

    @functools.wraps(method)
    async def measured(*args: P.args, **kwargs: P.kwargs) -> T:
        with call(name):
            return await method(*args, **kwargs)

    return measured


def transaction(name: str) -> MeasuredBlock:
    """Measure a transaction.

    Args:
        name: of its first statement in the `.sql` file.
    """
    given: Attributes = {"db.system.name": "postgresql", "db.operation.name": name}
    return MeasuredBlock(
        "db.client.operation.duration", f"{name} postgresql", given, SpanKind.CLIENT
    )


def embedding(model: str) -> MeasuredBlock:
    """Measure a call of an embedding model.

    Args:
        model: its name, as `provider:model` where the provider is known.
    """
    provider, _, name = model.rpartition(":")
    given: Attributes = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": provider or "custom",
        "gen_ai.request.model": name,
    }
    return MeasuredBlock(
        "gen_ai.client.operation.duration", f"embeddings {name}", given, SpanKind.CLIENT
    )


def job(name: str) -> MeasuredBlock:
    """Measure an attempt at a background job.

    Args:
        name: of its task.
    """
    return MeasuredBlock(
        "memory.job.duration", f"job {name}", {"memory.job.name": name}, SpanKind.CONSUMER
    )


def adapter_call(name: str, operation: str) -> MeasuredBlock:
    """Measure a call of another system, such as hosted Mem0; for those who write adapters.

    Args:
        name: of the adapter: a constant of the code.
        operation: what is done, likewise, such as `add`.
    """
    given: Attributes = {"memory.adapter": name, "memory.operation": operation}
    return MeasuredBlock("memory.adapter.duration", f"{name} {operation}", given, SpanKind.CLIENT)
