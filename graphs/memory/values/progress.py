"""Progress of long work."""

from collections.abc import Callable

Progress = Callable[[int, int | None], None]
"""Receives how much is done and how much there is; None where the total is not known."""
