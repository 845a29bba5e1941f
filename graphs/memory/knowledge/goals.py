"""Goals: aims of an agent, with their progress. The text of a goal is a memory of type `goal`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic import Field

from graphs.memory.access import Access
from graphs.memory.contract import COLLECTIONS
from graphs.memory.conversations.writing import Writer
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import InvalidValue, MemoryNotFound
from graphs.memory.knowledge.common import (
    Knowledge,
    address_of,
    check_limit,
    check_share,
    containing,
    located,
    payload_of,
)
from graphs.memory.values.namespaces import Address, Namespace, to_text, user_scope
from graphs.memory.values.text import to_json

_SQL = statements.load("goals", __package__)

GoalStatus = Literal["open", "achieved", "abandoned"]
"""The status of a goal."""


class Goal(Knowledge):
    """An aim and its latest assessment."""

    status: GoalStatus
    progress: float = Field(description="From 0 to 1.")
    assessment: dict[str, Any] = Field(default_factory=dict, description="The latest assessment.")


class Goals:
    """Goals of users' agents.

    Every method acts as the current principal, and refuses other users' data. Two goals with the
    same words are the same goal. The latest assessment is stored with the goal, earlier ones are in
    the audit log. A goal that `write_memory` stored is open.

    Args:
        access: checks the principal and runs the queries.
        writer: stores payloads.
    """

    def __init__(self, access: Access, writer: Writer) -> None:
        self._access = access
        self._writer = writer

    async def set(
        self,
        user_id: str,
        content: str,
        *,
        session_id: str,
        agent: str,
        tags: Sequence[str] = (),
        importance: float = 0.5,
        metadata: Mapping[str, Any] | None = None,
    ) -> Goal:
        """Store a goal.

        A goal that was achieved or abandoned is opened again, with progress 0. Memory and
        assessment commit together. The same call again by the same task of a graph changes nothing.

        Args:
            user_id: the user whose memory it belongs to.
            content: the aim, in words.
            session_id: the session that it comes from.
            agent: the agent that pursues it.
            tags: tags for filters of recalls.
            importance: from 0 to 1.
            metadata: a JSON object to store with it.

        Raises:
            ContractError: it breaks the contract of a payload; `fields` names the wrong fields.
            AccessDenied: the principal is neither this user nor the service.
        """
        common: Any = {
            "session_id": session_id,
            "agent": agent,
            "tags": tags,
            "importance": importance,
        }
        payload = payload_of(user_id, "goal", content, metadata=metadata, **common)
        address = address_of(payload)
        opened: Query[None] = Query(_SQL["opened"], {"user_id": user_id, **located(address)})
        await self._writer.write(user_id, session_id, payload, [opened])
        return await self.get(user_id, address[1])

    async def assess(
        self,
        user_id: str,
        key: str,
        *,
        progress: float | None = None,
        status: GoalStatus | None = None,
        assessment: Mapping[str, Any] | None = None,
    ) -> Goal:
        """Change the progress, status or assessment of a goal, and return the goal.

        Arguments that are None leave a value as it is.

        Args:
            user_id: the user.
            key: the key of the goal.
            progress: from 0 to 1; without it, `status="achieved"` sets 1.
            status: `open`, `achieved` or `abandoned`.
            assessment: a JSON object, such as `{"next": "…", "because": "…"}`.

        Raises:
            MemoryNotFound: there is no such goal.
            InvalidValue: the progress, the status or the assessment is not valid.
            AccessDenied: the principal is neither this user nor the service.
        """
        if progress is not None:
            check_share("progress", progress)
        _check_status(status)
        address = _address(user_id, key)
        given = {"user_id": user_id, "progress": progress, "status": status, **located(address)}
        given["assessment"] = (
            None if assessment is None else to_json(dict(assessment), "assessment")
        )
        return await self._one(user_id, address, Query(_SQL["assess"], given, _goals))

    async def get(self, user_id: str, key: str) -> Goal:
        """Return a goal.

        Raises:
            MemoryNotFound: the user has none with this key.
            AccessDenied: the principal is neither this user nor the service.
        """
        address = _address(user_id, key)
        return await self._one(user_id, address, Query(_SQL["get"], located(address), _goals))

    async def _one(self, user_id: str, address: Address, query: Query[list[Goal]]) -> Goal:
        found: list[Goal] = await self._access.ask(user_id, query, address[0], past=True)
        if not found:
            raise MemoryNotFound(*address)
        return found[0]

    async def list(
        self,
        user_id: str,
        *,
        status: GoalStatus | None = None,
        tags: Sequence[str] = (),
        agent: str | None = None,
        limit: int = 100,
    ) -> list[Goal]:
        """Return a user's goals, the latest change first.

        Args:
            user_id: the user.
            status: only goals with this status.
            tags: only memories that carry all of these tags.
            agent: only memories of this agent.
            limit: the most results to return, 1 to 1000.

        Raises:
            InvalidInput: the status, the tags or the limit are out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        _check_status(status)
        check_limit(limit)
        scope = _scope(user_id)
        given = {
            "namespace": to_text(scope),
            "contains": containing(tags, agent),
            "status": status,
            "limit": limit,
        }
        found: list[Goal] = await self._access.ask(
            user_id, Query(_SQL["list"], given, _goals), scope, past=True
        )
        return found


def _scope(user_id: str) -> Namespace:
    return user_scope(user_id, COLLECTIONS["goal"])


def _address(user_id: str, key: str) -> Address:
    return _scope(user_id), key


def _goals(rows: Rows) -> list[Goal]:
    return [Goal.of(row) for row in rows]


def _check_status(status: str | None) -> None:
    if status is not None and status not in get_args(GoalStatus):
        raise InvalidValue(
            "status", f"must be one of {', '.join(get_args(GoalStatus))}; got {status!r}."
        )
