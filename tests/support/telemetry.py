"""Exported telemetry: OpenTelemetry's SDK with exporters that keep everything in memory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from graphs.memory import telemetry


class Exported:
    """The telemetry since `exporting` began."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()

    @contextmanager
    def exporting(self) -> Iterator[None]:
        # A process can set its tracer provider only once.
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(TracerProvider())
        tracing: Any = trace.get_tracer_provider()
        tracing.add_span_processor(SimpleSpanProcessor(self._spans))
        provider = MeterProvider([self._reader])
        telemetry.record_with(provider.get_meter(telemetry.SCOPE))
        try:
            yield
        finally:
            self._spans.shutdown()
            telemetry.record_with(metrics.get_meter(telemetry.SCOPE))
            provider.shutdown()

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        return [span for span in self._spans.get_finished_spans() if name in (None, span.name)]

    def points(self, metric: str) -> list[Any]:
        """Return the points of a metric: attributes with a value, or with a sum and a count."""
        found = json.loads(self._metrics())
        scopes = [
            scope for resource in found["resource_metrics"] for scope in resource["scope_metrics"]
        ]
        return [
            point
            for scope in scopes
            for each in scope["metrics"]
            if each["name"] == metric
            for point in each["data"]["data_points"]
        ]

    def values(self, metric: str, label: str) -> dict[str, float]:
        """Return the values of a gauge, or the counts of a histogram, by one attribute."""
        return {
            point["attributes"].get(label, ""): point["value"]
            if "value" in point
            else point["count"]
            for point in self.points(metric)
        }

    def text(self) -> str:
        """Return everything as text, as it would leave the process."""
        return "\n".join([*(span.to_json() for span in self.spans()), self._metrics()])

    def _metrics(self) -> str:
        data = self._reader.get_metrics_data()
        return data.to_json() if data else '{"resource_metrics": []}'
