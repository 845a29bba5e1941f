"""SVG charts for light and dark pages: grouped bars, and lines over logarithmic axes."""

import math
from collections.abc import Mapping, Sequence

from graphs.cli.svg import (
    COLOURS,
    WIDTH,
    box,
    decades,
    line,
    page,
    text,
)

_LEFT, _RIGHT, _TOP, _BOTTOM, _PLOT = 64, 40, 48, 44, 300

Points = Sequence[tuple[float, float]]


def _legend(colours: Mapping[str, str], top: float) -> tuple[list[str], float]:
    """Return the legend, as many names in a line as fit, and the y of the next free line."""
    parts, x, y = [], float(_LEFT), top
    for name, colour in colours.items():
        width = 26 + 7.2 * len(name)
        if x + width > WIDTH:
            x, y = float(_LEFT), y + 20
        parts.append(box(x, y - 9, 12, 12, colour))
        parts.append(text(x + 17, y + 1, name, "start"))
        x += width
    return parts, y + 24


def _colour(n: int) -> str:
    return COLOURS[n % len(COLOURS)]


def bars(title: str, groups: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """Return a chart of percentages, with one bar of each series in each group."""
    parts = [text(_LEFT, 24, title, "start", 16)]
    legend, top = _legend({name: _colour(n) for n, name in enumerate(series)}, _TOP + 6)
    parts += legend
    base, wide = top + _PLOT, (WIDTH - _LEFT - 10) / max(1, len(groups))
    for percent in range(0, 101, 20):
        y = base - _PLOT * percent / 100
        parts += [line(_LEFT, y, WIDTH - 10, y), text(_LEFT - 8, y + 4, str(percent), "end")]
    bar = wide * 0.8 / max(1, len(series))
    for g, group in enumerate(groups):
        left = _LEFT + g * wide + wide * 0.1
        parts.append(text(left + wide * 0.4, base + 20, group))
        for n, values in enumerate(series.values()):
            value = 0.0 if math.isnan(values[g]) else values[g]
            x, tall = left + n * bar, _PLOT * value / 100
            parts.append(box(x, base - tall, bar * 0.92, tall, _colour(n)))
            parts.append(text(x + bar * 0.46, base - tall - 4, f"{value:.0f}", size=10))
    return page(parts, base + _BOTTOM)


def lines(panels: Mapping[str, Mapping[str, Points]], x_name: str, y_name: str) -> str:
    """Return one panel per title, below each other, with one line per series of (x, y) above 0."""
    parts, top = [], 0.0
    names = dict.fromkeys(name for series in panels.values() for name in series)
    # A series has the same colour in every panel.
    colours = {name: _colour(n) for n, name in enumerate(names)}
    for title, series in panels.items():
        drawn, top = _panel(title, series, colours, (x_name, y_name), top)
        parts += drawn
    return page(parts, top)


def _panel(
    title: str,
    series: Mapping[str, Points],
    colours: Mapping[str, str],
    names: tuple[str, str],
    top: float,
) -> tuple[list[str], float]:
    parts = [text(_LEFT, top + 24, title, "start", 16)]
    legend, plot_top = _legend({name: colours[name] for name in series}, top + _TOP + 6)
    parts += legend
    base = plot_top + _PLOT
    x_low, x_high = decades([x for points in series.values() for x, _ in points])
    y_low, y_high = decades([y for points in series.values() for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - x_low) / (x_high - x_low)
        up = (math.log10(y) - y_low) / (y_high - y_low)
        return _LEFT + across * (WIDTH - _LEFT - _RIGHT), base - up * _PLOT

    for power in range(y_low, y_high + 1):
        _, y = place(10.0**x_low, 10.0**power)
        parts += [
            line(_LEFT, y, WIDTH - _RIGHT, y),
            text(_LEFT - 8, y + 4, f"{10.0**power:,g}", "end"),
        ]
    for power in range(x_low, x_high + 1):
        x, _ = place(10.0**power, 10.0**y_low)
        parts += [line(x, plot_top, x, base), text(x, base + 18, f"{10**power:,}")]
    parts += [
        text(WIDTH - _RIGHT, base + 36, names[0], "end"),
        text(WIDTH - _RIGHT, plot_top - 6, names[1], "end"),
    ]
    for name, points in series.items():
        places = [place(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>'
        )
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colours[name]}"/>' for x, y in places
        ]
    return parts, base + _BOTTOM + 16
