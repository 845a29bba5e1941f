"""Reflections: conclusions from other memories.

Each is a memory of type `reflection`, with relationships to the memories that it was made from.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from graphs.memory.access import Access
from graphs.memory.contract import COLLECTIONS
from graphs.memory.conversations.writing import Writer
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import MemoryNotFound
from graphs.memory.knowledge.common import (
    Knowledge,
    address_of,
    check_limit,
    containing,
    located,
    payload_of,
)
from graphs.memory.knowledge.relationships import REFLECTS_ON, noted, relate
from graphs.memory.values.namespaces import Address, to_text, user_scope

_SQL = statements.load("reflections", __package__)


class Reflection(Knowledge):
    """A conclusion from other memories."""


class Reflections:
    """Reflections of users' agents.

    Every method acts as the current principal, and refuses other users' data.

    Args:
        access: checks the principal and runs the queries.
        writer: stores payloads.
    """

    def __init__(self, access: Access, writer: Writer) -> None:
        self._access = access
        self._writer = writer

    async def write(
        self,
        user_id: str,
        content: str,
        *,
        session_id: str,
        agent: str,
        on: Sequence[Address] = (),
        tags: Sequence[str] = (),
        importance: float = 0.5,
        metadata: Mapping[str, Any] | None = None,
    ) -> Reflection:
        """Store a reflection.

        Memory and relationships commit together. The same call again by the same task of a graph
        changes nothing.

        Args:
            user_id: the user whose memory it belongs to.
            content: the conclusion, in words.
            session_id: the session that it comes from.
            agent: the agent that reflected.
            on: memories that it was made from; it gets a relationship of type `reflects_on` to each
                of them.
            tags: tags for filters of recalls.
            importance: from 0 to 1.
            metadata: a JSON object to store with it.

        Raises:
            ContractError: it breaks the contract of a payload; `fields` names the wrong fields.
            MemoryNotFound: one of `on` does not exist; nothing was written.
            AccessDenied: the principal is neither this user nor the service.
        """
        common: Any = {
            "session_id": session_id,
            "agent": agent,
            "tags": tags,
            "importance": importance,
        }
        payload = payload_of(user_id, "reflection", content, metadata=metadata, **common)
        address = address_of(payload)
        await self._writer.write(
            user_id,
            session_id,
            payload,
            [noted(relate(user_id, address, memory, REFLECTS_ON)) for memory in on],
        )
        query = Query(_SQL["get"], located(address), _reflections)
        found: list[Reflection] = await self._access.ask(user_id, query, address[0], past=True)
        if not found:
            raise MemoryNotFound(*address)
        return found[0]

    async def of(
        self,
        user_id: str,
        *,
        on: Address | None = None,
        tags: Sequence[str] = (),
        agent: str | None = None,
        limit: int = 100,
    ) -> list[Reflection]:
        """Return a user's reflections, the latest first.

        To search them by meaning, use `recall_memory`.

        Args:
            user_id: the user.
            on: only reflections that were made from this memory.
            tags: only memories that carry all of these tags.
            agent: only memories of this agent.
            limit: the most results to return, 1 to 1000.

        Raises:
            InvalidInput: the tags or the limit are out of range.
            SchemaPartMissing: `on` is given, and the database was made without the graph.
            AccessDenied: the principal is neither this user nor the service.
        """
        check_limit(limit)
        scope = user_scope(user_id, COLLECTIONS["reflection"])
        given = {"scope": to_text(scope), "contains": containing(tags, agent), "limit": limit}
        if on:
            given |= {"user_id": user_id, "type": REFLECTS_ON, **located(on)}
        query = Query(_SQL["list_on" if on else "list"], given, _reflections)
        found: list[Reflection] = await self._access.ask(user_id, query, scope, past=True)
        return found


def _reflections(rows: Rows) -> list[Reflection]:
    return [Reflection.of(row) for row in rows]
