"""Words that tools, tables and demo data share."""

from typing import Annotated, Literal

from pydantic import Field

ResultLimit = Annotated[int, Field(ge=1, le=20, description="How many at most.")]

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
"""What a robot is for, and what a dealer is specialised in."""


def dollars(amount: float) -> str:
    """Return an amount as people read it: `$84,500`."""
    return f"${amount:,.0f}"
