"""The catalogue of robots: facts in a table, descriptions as memories of the knowledge agent."""

from typing import Annotated, Any

from langchain_core.tools import BaseTool, ToolException
from pydantic import Field

from graphs.agents.robotics.terms import Category, ResultLimit, dollars
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.values.namespaces import Namespace
from graphs.tools import as_tool, memory_of_run

_SQL = statements.load("robots", __package__)

DESCRIPTIONS: Namespace = ("agents", "knowledge", "robots")
"""Namespace of the descriptions, by model. Signed-in users read them, the service writes them."""

Wish = Annotated[
    str, Field(min_length=1, description="What the robot is needed for, in plain words.")
]
CategoryOf = Annotated[
    Category | None, Field(description="What the robot is for, if that was said.")
]
MaxPrice = Annotated[
    float | None, Field(gt=0, description="Highest price, budget or cost, in US dollars.")
]
MinPayload = Annotated[
    float, Field(ge=0, description="What it must lift at least: payload in kg or kilos.")
]
MinReach = Annotated[
    float, Field(ge=0, description="How far it must reach at least, in mm or millimetres.")
]
Models = Annotated[
    list[str],
    Field(min_length=1, max_length=10, description="Models, as the catalogue names them."),
]


def facts_of(models: list[str]) -> Query[Rows]:
    """Return the query for facts about models, in the order given, without unknown models."""
    return Query(_SQL["facts"], {"models": models}, lambda rows: rows)


async def search_robots(
    query: Wish,
    category: CategoryOf = None,
    max_price: MaxPrice = None,
    min_payload_kg: MinPayload = 0,
    min_reach_mm: MinReach = 0,
    limit: ResultLimit = 3,
) -> str:
    """Search the catalogue for robots that fit a task.

    Use it for every question about products: which robot, machine, model, cobot or arm can do
    something, recommendations, prices, payload, reach, what a robot is able to do. Every entry of
    the result is one robot, the best match first.
    """
    memory = memory_of_run()
    asked = {
        "category": category,
        "max_price": max_price,
        "min_payload_kg": min_payload_kg,
        "min_reach_mm": min_reach_mm,
    }
    fitting = await memory.ask(
        Query(_SQL["fitting"], asked, lambda rows: [row.model for row in rows])
    )
    found = await memory.asearch(
        DESCRIPTIONS, query=query, filter={"model": {"$in": fitting}}, limit=limit
    )
    return (
        await _told({item.key: item.value["content"] for item in found})
        or "No robot of the catalogue fits that."
    )


async def compare_robots(models: Models) -> str:
    """Compare robots by their models: price, payload, reach and description of each."""
    memory = memory_of_run()
    known = [row.model for row in await memory.ask(facts_of(models))]
    if not known:
        raise ToolException(
            "There are no such models in the catalogue. Use search_robots to find models."
        )
    found = await memory.asearch(DESCRIPTIONS, filter={"model": {"$in": known}}, limit=len(known))
    texts = {item.key: item.value["content"] for item in found}
    return await _told({model: texts.get(model, "") for model in known})


def tools() -> list[BaseTool]:
    """Return the knowledge agent's tools."""
    return [as_tool(search_robots), as_tool(compare_robots)]


async def _told(descriptions: dict[str, str]) -> str:
    """Return robots as text for a model: facts from the table, and the description."""
    facts = await memory_of_run().ask(facts_of(list(descriptions)))
    return "\n".join(_line(row, descriptions.get(row.model, "")) for row in facts)


def _line(row: Any, description: str) -> str:
    measures = [f"payload {row.payload_kg:g} kg"] if row.payload_kg is not None else []
    measures += [f"reach {row.reach_mm} mm"] if row.reach_mm is not None else []
    facts = ", ".join([row.category, dollars(row.price), *measures])
    return f"- {row.model} by {row.maker} ({facts}): {description}"
