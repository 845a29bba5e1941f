"""Where a deployment's measurements go: to the LangGraph server's `/metrics`, and to an OTLP collector if one is named.

The server keeps its own metrics in a provider that nobody else reaches, but `/metrics`, of API servers as of queue
workers, shows the whole registry of prometheus_client. So ours have a provider of their own with a reader in that
registry. The global provider is left alone: the server may send what is recorded there to LangChain.
"""

import logging
import os
import threading
from functools import cache
from typing import Any

from graphs.memory import telemetry

log = logging.getLogger(__name__)

SERVICE_NAME = "graph-native-memory"


_once = threading.Lock()


def export_measurements() -> None:
    """Let what `telemetry` measures be seen; once in a process, later calls do nothing. It blocks: use a thread.

    Metrics go to the registry of prometheus_client. Where OpenTelemetry's own variables name a collector
    (`OTEL_EXPORTER_OTLP_ENDPOINT`, or that for metrics or traces alone) they and the spans go there, too; spans only if
    nobody else, such as `opentelemetry-instrument`, has set up tracing. The LangGraph server brings the SDK; without it
    nothing is exported.
    """
    with _once:  # several event loops open their stores at the same time
        _export()


@cache
def _export() -> None:
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
    except ImportError:
        log.info("No metrics: opentelemetry-exporter-prometheus is not installed")
        return
    readers: list[Any] = [PrometheusMetricReader(disable_target_info=True)]
    if _is_sent("METRICS"):
        readers.append(_otlp_reader())
    provider = MeterProvider(readers, resource=_resource())
    telemetry.record_with(provider.get_meter(telemetry.SCOPE))
    if _is_sent("TRACES"):
        _send_spans()


def _is_sent(signal: str) -> bool:
    """Whether the environment names a collector for a signal, in the words of OpenTelemetry's specification."""
    named = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or os.environ.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    return bool(named) and os.environ.get(f"OTEL_{signal}_EXPORTER", "otlp") == "otlp"


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", SERVICE_NAME)})


def _otlp_reader() -> Any:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(OTLPMetricExporter())


def _send_spans() -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        provider = TracerProvider(resource=_resource())
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
