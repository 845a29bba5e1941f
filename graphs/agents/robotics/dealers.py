"""Dealers: a search for them, and a memory of the results."""

import hashlib
from typing import Annotated, Any, Literal

from langchain_core.tools import BaseTool
from pydantic import Field

from graphs.agents.robotics.geography import ZipPlace, place_of
from graphs.agents.robotics.terms import Category, ResultLimit
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.values.namespaces import Namespace, agent_label, user_scope
from graphs.nodes.runtime import current_user
from graphs.tools import as_tool, memory_of_run

_SQL = statements.load("dealers", __package__)

AGENT = "dealer_matching"

ZipCode = Annotated[
    str,
    Field(
        pattern=r"^\d{5}$",
        description="Five-digit zip code of the United States, of where the user is.",
    ),
]
Specialty = Annotated[
    Category | None,
    Field(description="What the dealer has to be specialised in, if that was said."),
]
Rating = Annotated[
    float, Field(ge=0, le=5, description="Lowest rating, in stars out of 5; 0 for any.")
]
Miles = Annotated[float, Field(gt=0, le=5000, description="Largest distance, in miles.")]
Order = Annotated[
    Literal["distance", "rating"],
    Field(description="What comes first: the nearest, or the best rated within reach."),
]


def matches_of(user_id: str) -> Namespace:
    """Return the namespace of a user's searches. The user's other agents cannot read it."""
    return user_scope(user_id, agent_label(AGENT), "matches")


def nearest(
    place: ZipPlace,
    specialty: str | None,
    minimum_rating: float,
    within_miles: float,
    best_first: bool,
    limit: int,
) -> Query[Rows]:
    """Return the query for dealers within reach of a place, ordered by distance or by rating."""
    given = {
        "latitude": place.latitude,
        "longitude": place.longitude,
        "specialty": specialty,
        "minimum_rating": minimum_rating,
        "within_miles": within_miles,
        "best_first": best_first,
        "limit": limit,
    }
    return Query(_SQL["nearest"], given, lambda rows: rows)


async def find_dealers(
    zip_code: ZipCode,
    specialty: Specialty = None,
    minimum_rating: Rating = 0,
    within_miles: Miles = 250,
    sort_by: Order = "distance",
    limit: ResultLimit = 5,
) -> str:
    """Find robot dealers near a zip code, by distance, specialty and rating.

    Use it whenever the user asks where to buy, see or service a robot, or for the nearest or best
    dealer, shop, seller, store, vendor or integrator. Ask for the zip code if you do not know it.
    Every line is one dealer and its distance.
    """
    place = await place_of(zip_code)
    wanted = f"{specialty} dealers" if specialty else "Dealers"
    rated = f" with at least {minimum_rating:g} stars" if minimum_rating else ""
    found = await memory_of_run().ask(
        nearest(place, specialty, minimum_rating, within_miles, sort_by == "rating", limit)
    )
    if not found:
        reach = f"within {within_miles:g} miles of {place.name}"
        return f"There are no {wanted[0].lower()}{wanted[1:]}{rated} {reach}."
    heading = (
        f"{wanted[0].upper()}{wanted[1:]}{rated} within {within_miles:g} miles of {place.name}"
    )
    await _remember(heading, zip_code, specialty, [row.name for row in found])
    return "\n".join([f"{heading}:", *map(_line, found)])


async def past_matches(limit: ResultLimit = 5) -> str:
    """Show which dealers the user was shown before, and what they had asked for; the latest first.

    Use it when the user refers to dealers of an earlier search or conversation.
    """
    found = await memory_of_run().asearch(matches_of(current_user()), limit=limit)
    return (
        "\n".join(f"- {item.value['content']}" for item in found)
        or "The user was shown no dealers yet."
    )


def tools() -> list[BaseTool]:
    """Return the dealer agent's tools."""
    return [as_tool(find_dealers), as_tool(past_matches)]


async def _remember(heading: str, zip_code: str, specialty: str | None, names: list[str]) -> None:
    """Store a search and its result. The same search again replaces the earlier result."""
    value = {
        "content": f"{heading}: {', '.join(names)}.",
        "zip_code": zip_code,
        "specialty": specialty,
        "dealers": names,
    }
    key = hashlib.sha256(heading.encode()).hexdigest()[:32]
    await memory_of_run().aput(matches_of(current_user()), key, value, index=["content"])


def _line(row: Any) -> str:
    rated = f"{row.rating:.1f} stars" if row.rating is not None else "not rated"
    phone = f", {row.phone}" if row.phone else ""
    return (
        f"- {row.name}, {row.city}, {row.state} {row.zip_code}: {row.distance:.0f} miles, {rated}, "
        f"{', '.join(row.specialties)}{phone}"
    )
