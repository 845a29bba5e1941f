"""Vocabulary that tools, tables and demo data share."""

from typing import Annotated, Literal

from pydantic import Field

ResultLimit = Annotated[int, Field(ge=1, le=20, description="Most results.")]

Category = Literal[
    "welding",
    "palletizing",
    "assembly",
    "packaging",
    "machine tending",
    "painting",
    "inspection",
    "logistics",
]
"""A robot's use, and a dealer's specialty."""


def dollars(amount: float) -> str:
    """Return an amount as people write it: `$84,500`."""
    return f"${amount:,.0f}"
