"""Export of the deployment's metrics and spans: to `/metrics`, and to an OTLP collector.

The server keeps its own metrics in a provider that no other code reaches. But its `/metrics`, on
API servers and queue workers, shows the whole registry of prometheus_client. So our metrics have a
provider of their own with a reader in that registry. The global provider is left alone: the server
may send what is recorded there to LangChain.
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
    """Export the metrics and spans of `telemetry`. Later calls in a process do nothing.

    It blocks: call it in a thread. Metrics go to the registry of prometheus_client.
    If OpenTelemetry's own variables name a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`, or the one for
    metrics or traces alone), metrics and spans go there, too; spans only if nothing else, such as
    `opentelemetry-instrument`, has set up tracing. The LangGraph server brings the SDK; without the
    SDK nothing is exported.
    """
    with _once:  # several event loops open their stores at the same time
        _export()


@cache
def _export() -> None:
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
    except ImportError:
        log.info("No metrics are exported: opentelemetry-exporter-prometheus is not installed")
        return
    readers: list[Any] = [PrometheusMetricReader(disable_target_info=True)]
    if _is_sent("METRICS"):
        readers.append(_otlp_reader())
    provider = MeterProvider(readers, resource=_resource())
    telemetry.record_with(provider.get_meter(telemetry.SCOPE))
    if _is_sent("TRACES"):
        _send_spans()


def _is_sent(signal: str) -> bool:
    """Return True if the environment names a collector for a signal.

    The variables are those of OpenTelemetry's specification.
    """
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
