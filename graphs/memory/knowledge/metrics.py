"""Cognitive metrics: numbers that agents note about themselves over time, such as how sure or how helpful they were."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.access import Access
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import InvalidValue
from graphs.memory.knowledge.common import check_limit
from graphs.memory.values.text import problem_with, to_json

_SQL = statements.load("metrics", __package__)

MAX_NAME_BYTES = 200


class Metric(BaseModel):
    """One value of a metric."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    value: float
    session_id: str | None = None
    agent: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    run_id: str | None = Field(default=None, description="The run that noted it.")
    created_at: datetime


class Metrics:
    """The metrics of people's agents. Every method acts as whoever is acting now, and refuses another person's.

    Args:
        access: the way to the database.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def record(
        self,
        user_id: str,
        name: str,
        value: float,
        *,
        session_id: str | None = None,
        agent: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Metric:
        """Note a value now, with the run that it comes from.

        Args:
            user_id: in whose service it was measured.
            name: what is measured, such as `answer.helpful`; at most 200 bytes.
            value: a finite number, in a unit that the name tells.
            session_id: the conversation that it belongs to.
            agent: the agent that it is about.
            metadata: a JSON object that is kept with it.

        Raises:
            InvalidValue: name, value or metadata cannot be stored.
            AccessDenied: the principal is neither this user nor the service.
        """
        if not name or problem_with(name) or len(name.encode()) > MAX_NAME_BYTES:
            raise InvalidValue(
                "name", f"must be a text of 1 to {MAX_NAME_BYTES} bytes; got {name[:200]!r}."
            )
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
        ):
            raise InvalidValue("value", f"must be a finite number; got {value!r}.")
        given = {
            "user_id": user_id,
            "name": name,
            "value": value,
            "session_id": session_id,
            "agent": agent,
        }
        given |= {"metadata": to_json(dict(metadata or {}), "metadata"), "event_id": uuid4()}
        recorded: list[Metric] = await self._access.ask(
            user_id, Query(_SQL["record"], given, _metrics)
        )
        return recorded[0]

    async def series(
        self,
        user_id: str,
        name: str,
        *,
        since: datetime | None = None,
        agent: str | None = None,
        limit: int = 1000,
    ) -> list[Metric]:
        """Return the latest values of a metric, oldest first.

        Args:
            user_id: whose.
            name: what was measured.
            since: only from this moment on.
            agent: only about this agent.
            limit: how many at most.

        Raises:
            InvalidInput: a limit that there is not.
            AccessDenied: the principal is neither this user nor the service.
        """
        check_limit(limit)
        given = {"user_id": user_id, "name": name, "since": since, "agent": agent, "limit": limit}
        found: list[Metric] = await self._access.ask(
            user_id, Query(_SQL["series"], given, _metrics)
        )
        return found


def _metrics(rows: Rows) -> list[Metric]:
    return [Metric.model_validate(row._asdict()) for row in rows]
