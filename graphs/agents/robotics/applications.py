"""Applications for financing: made by users, scored by the service, with a history of scores."""

import json
from dataclasses import asdict
from typing import Annotated, Any

from langchain_core.tools import BaseTool, ToolException
from pydantic import Field

from graphs.agents.robotics.robots import facts_of
from graphs.agents.robotics.scoring import (
    RULE,
    Inputs,
    Score,
    score,
)
from graphs.agents.robotics.terms import ResultLimit, dollars
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.nodes.runtime import current_user
from graphs.tools import as_tool, memory_of_run

_SQL = statements.load("applications", __package__)

Amount = Annotated[
    float, Field(gt=0, lt=1e9, description="Purchase amount or price to finance, in US dollars.")
]
Term = Annotated[
    int, Field(ge=1, le=120, description="Term over which it is paid back, in months.")
]
DownPayment = Annotated[
    float, Field(ge=0, lt=1e9, description="Down payment or deposit, in US dollars.")
]
Revenue = Annotated[
    float | None,
    Field(ge=0, lt=1e11, description="Annual revenue or sales per year, in US dollars."),
]
Years = Annotated[
    float | None, Field(ge=0, le=300, description="Years in business: the company's age in years.")
]
Robot = Annotated[
    str | None, Field(description="The robot's model, as the catalogue names it, if it is known.")
]
Business = Annotated[
    str | None, Field(description="Name of the company that applies, if it was said.")
]
ApplicationReference = Annotated[
    str | None,
    Field(
        pattern=r"^[0-9a-f]{8}[0-9a-f-]{0,28}$",
        description="Reference of an application, as list_applications shows it; any unless given.",
    ),
]


async def apply_for_financing(
    amount: Amount,
    term_months: Term,
    down_payment: DownPayment = 0,
    annual_revenue: Revenue = None,
    years_in_business: Years = None,
    robot_model: Robot = None,
    business_name: Business = None,
) -> str:
    """Apply for financing, a loan, credit or a lease of a robot; the application is scored at once.

    Ask for annual revenue, years in business and the down payment first: without them the score is
    low. The result is the score with its reasons, and the decision; tell the user both.
    """
    if down_payment >= amount:
        raise ToolException("The down payment must be smaller than the amount.")
    if robot_model and not await memory_of_run().ask(facts_of([robot_model])):
        raise ToolException(
            f"There is no model {robot_model!r} in the catalogue. Leave it out if it is not known."
        )
    given = {
        "user_id": current_user(),
        "robot": robot_model,
        "business_name": business_name,
        "amount": amount,
        "down_payment": down_payment,
        "term_months": term_months,
        "annual_revenue": annual_revenue,
        "years_in_business": years_in_business,
    }
    made: str = await memory_of_run().ask(Query(_SQL["apply"], given, lambda rows: str(rows[0].id)))
    return await score_application(made)


async def list_applications(limit: ResultLimit = 10) -> str:
    """Show the user's applications for financing, loans and requests: status, score and decision.

    The latest comes first. Use it when the user asks what became of one.
    """
    found = await memory_of_run().ask(latest(current_user(), limit=limit))
    return "\n".join(map(_line, found)) or "The user has no applications yet."


async def score_application(application: ApplicationReference = None) -> str:
    """Score an application again and explain the score.

    It is the latest application, unless a reference is given. Use it when the user asks for the
    score of an application, or why it is low. An unchanged score is not recorded a second time.
    """
    memory, user_id = memory_of_run(), current_user()
    found = await memory.ask(latest(user_id, application, limit=1))
    if not found:
        raise ToolException(
            "The user has no such application. list_applications shows the user's applications."
        )
    scored = score(inputs_of(found[0]))
    if not _is_known(found[0], scored) and not await record_score(
        memory, user_id, found[0], scored
    ):
        raise ToolException("The application was changed during the scoring. Score it again.")
    return _explained(found[0], scored)


async def scoring_history(application: ApplicationReference = None, limit: ResultLimit = 10) -> str:
    """Show how the user's applications were scored in the past, with reasons; the latest first."""
    asked = {"user_id": current_user(), "reference": application or "", "limit": limit}
    found = await memory_of_run().ask(Query(_SQL["scores"], asked, lambda rows: rows))
    return "\n".join(map(_past, found)) or "Nothing was scored yet."


def tools() -> list[BaseTool]:
    """Return the financing agent's tools."""
    return [
        as_tool(tool)
        for tool in (apply_for_financing, list_applications, score_application, scoring_history)
    ]


def latest(user_id: str, reference: str | None = None, *, limit: int) -> Query[Rows]:
    """Return the query for a user's applications, the latest first.

    Only those whose id begins with `reference` are found.
    """
    return Query(
        _SQL["latest"],
        {"user_id": user_id, "reference": reference or "", "limit": limit},
        lambda rows: rows,
    )


def inputs_of(row: Any) -> Inputs:
    """Return the inputs of an application's score; `row` is one of `latest`."""
    return Inputs(
        row.amount,
        row.term_months,
        row.down_payment,
        row.annual_revenue,
        row.years_in_business,
        row.list_price,
    )


async def record_score(memory: MemoryManager, user_id: str, row: Any, scored: Score) -> bool:
    """Write a score and its decision as the service, since users may not write their own.

    The application is a row that the user read under their own rights. It must be unchanged.

    Returns:
        True if it was unchanged, and the score was written.
    """
    given = {
        "id": row.id,
        "user_id": user_id,
        "read_at": row.updated_at.isoformat(),
        "score": scored.value,
        "decision": scored.decision,
        "reasons": json.dumps(scored.reasons),
        "inputs": json.dumps(asdict(inputs_of(row))),
        "rule": RULE,
    }
    with acting_as(Principal.service()):
        return await memory.ask(Query(_SQL["record_score"], given, bool))


def _is_known(row: Any, scored: Score) -> bool:
    """Return true if the application already has this score, for the same reasons."""
    return bool(row.score_reasons == scored.reasons and row.status == scored.decision)


_SAID = {
    "approved": "approved",
    "submitted": "submitted, and a person will decide",
    "declined": "declined",
    "draft": "a draft that is not scored",
}


def _title(row: Any) -> str:
    robot = f" for {row.robot}" if row.robot else ""
    return f"Application {row.id[:8]} ({dollars(row.amount)} over {row.term_months} months{robot})"


def _line(row: Any) -> str:
    scored = f", score {row.score:.1f} of 100" if row.score is not None else ""
    return f"- {_title(row)}: {_SAID[row.status]}{scored}"


def _explained(row: Any, scored: Score) -> str:
    lines = [f"{_title(row)} is {_SAID[scored.decision]}. Its score is {scored.value:.1f} of 100:"]
    lines += [
        f"- {c.component}: {c.points:.1f} of {c.most}, since {c.because}" for c in scored.components
    ]
    if scored.missing:
        lines.append(f"It would help to know the {' and the '.join(scored.missing)}.")
    return "\n".join(lines)


def _past(row: Any) -> str:
    parts = "; ".join(
        f"{r['component']} {r['points']:.1f} of {r['most']} ({r['because']})" for r in row.reasons
    )
    told = f"application {row.application[:8]} {row.decision}, {row.score:.1f} of 100"
    return f"- {row.created_at:%Y-%m-%d}: {told}: {parts}"
