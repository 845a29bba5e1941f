"""Parts of SVG charts. They are legible on light and dark pages."""

import math
from collections.abc import Sequence
from html import escape

COLOURS = (
    "#2563eb",
    "#d97706",
    "#059669",
    "#dc2626",
    "#7c3aed",
    "#0891b2",
    "#be185d",
    "#65a30d",
    "#475569",
    "#a16207",
)
WIDTH = 900
"""Width of a page, in its own units."""


def text(x: float, y: float, words: str, anchor: str = "middle", size: int = 12) -> str:
    """Return a text at a position."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(words)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return a faint line of a grid."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        'stroke="#9ca3af" stroke-opacity=".4"/>'
    )


def box(x: float, y: float, width: float, height: float, colour: str) -> str:
    """Return a filled rectangle."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="1.5" fill="{colour}"/>'
    )


def page(parts: Sequence[str], height: float) -> str:
    """Return an SVG document of its parts."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'font-family="sans-serif" fill="#6b7280">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the exponents of the powers of ten below and above the values."""
    low, high = (
        (math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))))
        if values
        else (0, 1)
    )
    return low, max(high, low + 1)
