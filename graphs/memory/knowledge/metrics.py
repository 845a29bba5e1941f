"""Cognitive metrics: numbers that agents record about themselves, such as their certainty."""

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
    run_id: str | None = Field(default=None, description="The run that recorded it.")
    created_at: datetime


class Metrics:
    """Metrics of users' agents.

    Every method acts as the current principal, and refuses other users' data.

    Args:
        access: checks the principal and runs the queries.
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
        """Record a value with the current time and run.

        Args:
            user_id: the user that the agent worked for.
            name: the name of the metric, such as `answer.helpful`; at most 200 bytes.
            value: a finite number. Let the name tell the unit.
            session_id: the session that it belongs to.
            agent: the agent that was measured.
            metadata: a JSON object to store with it.

        Raises:
            InvalidValue: the name, the value or the metadata cannot be stored.
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
        """Return the latest values of a metric, the oldest first.

        Args:
            user_id: the user.
            name: the name of the metric.
            since: only values recorded at this time or later.
            agent: only values of this agent.
            limit: the most results to return, 1 to 1000.

        Raises:
            InvalidInput: the limit is out of range.
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
