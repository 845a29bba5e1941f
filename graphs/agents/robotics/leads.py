"""Leads: users' interests in buying, and a search of earlier conversations."""

from textwrap import shorten
from typing import Annotated, Any

from langchain_core.tools import BaseTool
from langgraph.runtime import get_runtime
from pydantic import Field

from graphs.agents.robotics.terms import ResultLimit, dollars
from graphs.memory.contract import COLLECTIONS
from graphs.memory.database import statements
from graphs.memory.database.query import Query
from graphs.memory.values.namespaces import user_scope
from graphs.nodes.runtime import current_user, session_of
from graphs.tools import as_tool, memory_of_run

_SQL = statements.load("leads", __package__)

_LONGEST = 240
"""Characters of a turn that are quoted."""

Interest = Annotated[
    str,
    Field(min_length=1, max_length=500, description="What the user wants to buy, and what for."),
]
Company = Annotated[str | None, Field(description="The user's company, if it was said.")]
Budget = Annotated[
    float | None, Field(gt=0, lt=1e10, description="Budget or spending, in US dollars.")
]
Timeline = Annotated[
    str | None, Field(description="When they want to decide or buy, if that was said.")
]
About = Annotated[
    str, Field(min_length=1, description="What to look for in what was said, in plain words.")
]


async def save_lead(
    interest: Interest, company: Company = None, budget: Budget = None, timeline: Timeline = None
) -> str:
    """Note that the user is interested in buying: plans, wants, needs a quote, an offer or a call.

    It is also for a user who evaluates. Saving the same interest again adds new details to it.
    """
    given = {
        "user_id": current_user(),
        "interest": " ".join(interest.split()),
        "company": company,
        "budget": budget,
        "timeline": timeline,
    }
    is_new = await memory_of_run().ask(
        Query(_SQL["save"], given, lambda rows: bool(rows[0].is_new))
    )
    return (
        "Noted as a new lead; sales will be in touch."
        if is_new
        else "Noted; this interest was known already."
    )


async def list_leads(limit: ResultLimit = 10) -> str:
    """Show the user's noted plans and interests to buy: budget, timeline and status.

    The latest comes first.
    """
    found = await memory_of_run().ask(
        Query(_SQL["latest"], {"user_id": current_user(), "limit": limit}, lambda rows: rows)
    )
    return "\n".join(map(_line, found)) or "No purchase interests of the user are noted yet."


async def search_conversations(query: About, limit: ResultLimit = 5) -> str:
    """Search what was said in earlier conversations: talked about, told, discussed last time."""
    scope, session = user_scope(current_user(), COLLECTIONS["turn"]), session_of(get_runtime())
    elsewhere = {"session_id": {"$ne": session}}
    found = await memory_of_run().asearch(scope, query=query, filter=elsewhere, limit=limit)
    lines = [
        f"- {turn.created_at:%Y-%m-%d}, {turn.value['role']}: "
        f"{shorten(turn.value['content'], _LONGEST)}"
        for turn in found
    ]
    return "\n".join(lines) or "There are no earlier conversations."


def tools() -> list[BaseTool]:
    """Return the sales agent's tools."""
    return [as_tool(save_lead), as_tool(list_leads), as_tool(search_conversations)]


def _line(row: Any) -> str:
    details = [f"budget {dollars(row.budget)}"] if row.budget else []
    details += [detail for detail in (row.company, row.timeline) if detail]
    return (
        f"- {row.interest} ({', '.join([row.status, *details])}, noted {row.created_at:%Y-%m-%d})"
    )
