"""The dashboard and the alert rules use existing metrics, and all of them."""

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from graphs.memory import telemetry

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana" / "dashboard.json").read_text())
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DOCS / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
PANEL_QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUERIES = PANEL_QUERIES + [rule["expr"] for rule in ALERTS]


def exposed(name: str, unit: str) -> str:
    """Return a metric's Prometheus name, as OpenTelemetry's exporter writes it."""
    return name.replace(".", "_") + ("_seconds" if unit == "s" else "")


HISTOGRAMS = {exposed(name, "s") for name in telemetry.DURATIONS} | {
    exposed(telemetry.RECALLED, "")
}
GAUGES = {
    exposed(name, unit) for name, (unit, _) in {**telemetry.POOL_GAUGES, **telemetry.GAUGES}.items()
}


def metrics_of(query: str) -> set[str]:
    """Return the metrics that a query reads; raise ValueError if it is not PromQL."""
    found: set[str] = set()

    def note(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            found.add(node.name)

    # Replace Grafana's variables: a duration, and a pattern for the job.
    promql_parser.walk(
        promql_parser.parse(query.replace("$__rate_interval", "5m").replace("$job", ".*")), note
    )
    return found


def without_part(metric: str) -> str:
    """Return the name of a histogram without the suffix of one of its series."""
    name = re.sub(r"_(bucket|count|sum)$", "", metric)
    return name if name in HISTOGRAMS else metric


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_is_promql_about_metrics_that_exist(query: str) -> None:
    named = metrics_of(query)
    assert named
    assert {name for name in named if without_part(name) not in HISTOGRAMS | GAUGES} == set()
    assert {name for name in named if name in HISTOGRAMS} == set(), (
        "a histogram is read by its buckets, sum or count"
    )


def test_the_dashboard_shows_every_metric() -> None:
    shown = {without_part(name) for query in PANEL_QUERIES for name in metrics_of(query)}
    assert shown == HISTOGRAMS | GAUGES


def test_the_guide_lists_every_metric() -> None:
    """Look for both of its names: OpenTelemetry's and Prometheus'."""
    guide = (DOCS / "observability.md").read_text()
    names = {*telemetry.DURATIONS, telemetry.RECALLED, *telemetry.POOL_GAUGES, *telemetry.GAUGES}
    missing = {name for name in names | HISTOGRAMS | GAUGES if f"`{name}`" not in guide}
    assert missing == set()


def test_the_dashboard_can_be_imported() -> None:
    """Check that panels have unique ids, do not overlap, and read from the selected source."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert all(target["datasource"] == chosen for panel in PANELS for target in panel["targets"])
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {
        "datasource",
        "job",
    }


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
