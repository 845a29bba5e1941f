"""Beliefs: statements that an agent holds to be true, each with a confidence.

The text of a belief is a memory of type `belief`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from graphs.memory.access import Access
from graphs.memory.contract import COLLECTIONS, MemoryPayload
from graphs.memory.conversations.writing import Writer
from graphs.memory.database import statements
from graphs.memory.database.parts import SchemaPart
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
from graphs.memory.knowledge.relationships import (
    ABOUT,
    SUPERSEDES,
    noted,
    relate,
)
from graphs.memory.values.namespaces import Address, Namespace, to_text, user_scope

_SQL = statements.load("beliefs", __package__)


class Belief(Knowledge):
    """A statement that an agent holds to be true."""

    confidence: float = Field(description="Confidence, from 0 to 1.")
    superseded: bool = Field(
        description="True once another belief has replaced it; it is no longer recalled."
    )


class Beliefs:
    """Beliefs of users' agents.

    Every method acts as the current principal, and refuses other users' data. Two beliefs with the
    same words are the same belief. A revised belief stays, marked as superseded, and the new one
    gets a relationship of type `supersedes` to it. A belief that `write_memory` stored has
    confidence 1. In a database without the graph everything works except relationships, which are
    left out.

    Args:
        access: checks the principal and runs the queries.
        writer: stores payloads.
    """

    def __init__(self, access: Access, writer: Writer) -> None:
        self._access = access
        self._writer = writer

    async def hold(
        self,
        user_id: str,
        content: str,
        *,
        session_id: str,
        agent: str,
        confidence: float = 1.0,
        about: Sequence[Address] = (),
        tags: Sequence[str] = (),
        importance: float = 0.5,
        metadata: Mapping[str, Any] | None = None,
    ) -> Belief:
        """Store a belief.

        If the same words are stored already, the belief gets the new confidence and is no longer
        superseded. Memory, confidence and relationships commit together. The same call again by the
        same task of a graph changes nothing.

        Args:
            user_id: the user whose memory it belongs to.
            content: the statement, in words.
            session_id: the session that it comes from.
            agent: the agent that holds it.
            confidence: from 0 to 1.
            about: memories that it is about; it gets a relationship of type `about` to each.
            tags: tags for filters of recalls.
            importance: from 0 to 1.
            metadata: a JSON object to store with it.

        Raises:
            ContractError: it breaks the contract of a payload; `fields` names the wrong fields.
            InvalidValue: the confidence is not a number from 0 to 1.
            MemoryNotFound: one of `about` does not exist; nothing was written.
            AccessDenied: the principal is neither this user nor the service.
        """
        common: Any = {
            "session_id": session_id,
            "agent": agent,
            "tags": tags,
            "importance": importance,
        }
        payload = payload_of(user_id, "belief", content, metadata=metadata, **common)
        return await self._hold(payload, confidence, about)

    async def revise(
        self,
        user_id: str,
        key: str,
        content: str,
        *,
        session_id: str,
        agent: str,
        confidence: float = 1.0,
        about: Sequence[Address] = (),
        tags: Sequence[str] = (),
        importance: float = 0.5,
        metadata: Mapping[str, Any] | None = None,
    ) -> Belief:
        """Supersede a belief by another one, and return the new one.

        The arguments are those of `hold`, plus `key`, the key of the belief to supersede.

        Raises:
            MemoryNotFound: there is no such belief, or one of `about` does not exist; nothing was
                written.
            InvalidValue: the new words are the old ones (use `set_confidence` instead), or the
                confidence is not a number from 0 to 1.
            ContractError: it breaks the contract of a payload; `fields` names the wrong fields.
            AccessDenied: the principal is neither this user nor the service.
        """
        common: Any = {
            "session_id": session_id,
            "agent": agent,
            "tags": tags,
            "importance": importance,
        }
        payload = payload_of(user_id, "belief", content, metadata=metadata, **common)
        old, new = _address(user_id, key), address_of(payload)
        if old == new:
            raise InvalidValue(
                "content",
                "has the same words as the belief; use `set_confidence` to change its confidence.",
            )
        edge = noted(relate(user_id, new, old, SUPERSEDES))
        return await self._hold(payload, confidence, about, [_superseded(old), edge])

    async def _hold(
        self,
        payload: MemoryPayload,
        confidence: float,
        about: Sequence[Address],
        also: Sequence[Query[Any]] = (),
    ) -> Belief:
        """Store a payload with its confidence and relationships, and return the belief."""
        check_share("confidence", confidence)
        user_id, address = payload.identity, address_of(payload)
        edges = [noted(relate(user_id, address, memory, ABOUT)) for memory in about]
        held = [_held(user_id, address, confidence), _reinstated(user_id, address)]
        await self._writer.write(user_id, payload.session_id, payload, [*held, *also, *edges])
        return await self.get(user_id, address[1])

    async def set_confidence(self, user_id: str, key: str, confidence: float) -> Belief:
        """Change the confidence of a belief, and return the belief.

        Raises:
            MemoryNotFound: there is no such belief.
            InvalidValue: the confidence is not a number from 0 to 1.
            AccessDenied: the principal is neither this user nor the service.
        """
        check_share("confidence", confidence)
        address = _address(user_id, key)
        await self._access.ask(user_id, _held(user_id, address, confidence))
        return await self.get(user_id, key)

    async def get(self, user_id: str, key: str) -> Belief:
        """Return a belief.

        Raises:
            MemoryNotFound: the user has none with this key.
            AccessDenied: the principal is neither this user nor the service.
        """
        address = _address(user_id, key)
        query = Query(_SQL["get"], located(address), _beliefs)
        found: list[Belief] = await self._access.ask(user_id, query, address[0], past=True)
        if not found:
            raise MemoryNotFound(*address)
        return found[0]

    async def of(
        self,
        user_id: str,
        *,
        tags: Sequence[str] = (),
        agent: str | None = None,
        min_confidence: float = 0.0,
        superseded: bool = False,
        limit: int = 100,
    ) -> list[Belief]:
        """Return a user's beliefs, the highest confidence first.

        To search them by meaning, use `recall_memory`.

        Args:
            user_id: the user.
            tags: only memories that carry all of these tags.
            agent: only memories of this agent.
            min_confidence: only beliefs with at least this confidence.
            superseded: True to return superseded beliefs as well.
            limit: the most results to return, 1 to 1000.

        Raises:
            InvalidInput: the tags, the confidence or the limit are out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        check_share("min_confidence", min_confidence)
        check_limit(limit)
        scope = _scope(user_id)
        given = {"namespace": to_text(scope), "contains": containing(tags, agent), "limit": limit}
        given |= {"least": min_confidence, "superseded": superseded}
        found: list[Belief] = await self._access.ask(
            user_id, Query(_SQL["list"], given, _beliefs), scope, past=True
        )
        return found

    async def confidences(self, user_id: str, keys: Sequence[str]) -> dict[str, float]:
        """Return the confidences of beliefs, by key; unknown keys are left out.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {"namespace": to_text(_scope(user_id)), "keys": list(keys)}
        query = Query(
            _SQL["confidences"], given, lambda rows: {row.key: row.confidence for row in rows}
        )
        found: dict[str, float] = await self._access.ask(user_id, query, past=True)
        return found


def _scope(user_id: str) -> Namespace:
    return user_scope(user_id, COLLECTIONS["belief"])


def _address(user_id: str, key: str) -> Address:
    return _scope(user_id), key


def _beliefs(rows: Rows) -> list[Belief]:
    return [Belief.of(row) for row in rows]


def _held(user_id: str, address: Address, confidence: float) -> Query[None]:
    """Return the query that sets the confidence of a belief.

    Its answer raises `MemoryNotFound` if there is no such belief.
    """

    def read(rows: Rows) -> None:
        if not rows:
            raise MemoryNotFound(*address)

    return Query(
        _SQL["held"], {"user_id": user_id, "confidence": confidence, **located(address)}, read
    )


def _reinstated(user_id: str, address: Address) -> Query[None]:
    """Return the query that makes a belief no longer superseded by any other."""
    return Query(
        _SQL["reinstated"],
        {"user_id": user_id, "type": SUPERSEDES, **located(address)},
        part=SchemaPart.GRAPH,
    )


def _superseded(address: Address) -> Query[None]:
    """Return the query that marks a belief as superseded, so that searches skip it.

    Its answer raises `MemoryNotFound` if there is no such belief.
    """

    def read(rows: Rows) -> None:
        if not rows:
            raise MemoryNotFound(*address)

    return Query(_SQL["superseded"], located(address), read)
