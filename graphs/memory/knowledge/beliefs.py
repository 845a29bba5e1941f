"""Beliefs: what is held to be true, and how firmly. What a belief says is a memory of type `belief`."""

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
    """Something that is held to be true."""

    confidence: float = Field(description="How firmly, from 0 to 1.")
    superseded: bool = Field(
        description="True once another belief has taken its place: it is not recalled any more."
    )


class Beliefs:
    """The beliefs of people's agents. Every method acts as whoever is acting now, and refuses another person's.

    The same words are the same belief. One that is revised stays, superseded, and the new one leads to it by a
    relationship of type `supersedes`. What `write_memory` stored as a belief is held with confidence 1. In a database
    that was made without the graph beliefs are held and superseded alike, and their relationships left out.

    Args:
        access: the way to the database.
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
        """Store a belief; the same words again get the new confidence, and hold again if they were superseded.

        Memory, confidence and relationships commit together; written again by the same task of a graph they change
        nothing.

        Args:
            user_id: whose memory it belongs to.
            content: what is held to be true, in words.
            session_id: the conversation that it comes from.
            agent: the agent that holds it.
            confidence: how firmly, from 0 to 1.
            about: memories that it is about; it gets a relationship of type `about` to each.
            tags: what it can be recalled by, beside its words.
            importance: from 0 to 1.
            metadata: a JSON object that is kept with it.

        Raises:
            ContractError: it breaks the contract of a payload; `fields` names where.
            InvalidValue: the confidence is not from 0 to 1.
            MemoryNotFound: one of `about` is not there; nothing was written.
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
        """Put another belief in the place of one, which is superseded; return the new one.

        The arguments are those of `hold`, and the key of the belief that is given up.

        Raises:
            MemoryNotFound: there is no such belief, or one of `about` is not there; nothing was written.
            InvalidValue: the new words are the old ones (see `set_confidence`), or the confidence is not from 0 to 1.
            ContractError: it breaks the contract of a payload; `fields` names where.
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
                "content", "says what the belief says already; `set_confidence` changes the rest."
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
        """Store a payload and what belongs to it, and return the belief that it became."""
        check_share("confidence", confidence)
        user_id, address = payload.identity, address_of(payload)
        edges = [noted(relate(user_id, address, memory, ABOUT)) for memory in about]
        held = [_held(user_id, address, confidence), _reinstated(user_id, address)]
        await self._writer.write(user_id, payload.session_id, payload, [*held, *also, *edges])
        return await self.get(user_id, address[1])

    async def set_confidence(self, user_id: str, key: str, confidence: float) -> Belief:
        """Say how firmly a belief is held, and return it.

        Raises:
            MemoryNotFound: there is no such belief.
            InvalidValue: the confidence is not from 0 to 1.
            AccessDenied: the principal is neither this user nor the service.
        """
        check_share("confidence", confidence)
        address = _address(user_id, key)
        await self._access.ask(user_id, _held(user_id, address, confidence))
        return await self.get(user_id, key)

    async def get(self, user_id: str, key: str) -> Belief:
        """Return a belief.

        Raises:
            MemoryNotFound: there is none of this key.
            AccessDenied: the principal is neither this user nor the service.
        """
        address = _address(user_id, key)
        query = Query(_SQL["get"], located(address), _beliefs)
        found: list[Belief] = await self._access.ask(user_id, query, address[0])
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
        """Return a user's beliefs, the firmest first. By meaning they are found with `recall_memory`.

        Args:
            user_id: whose memory.
            tags: only those that carry all of them.
            agent: only those of this agent.
            min_confidence: only those held at least so firmly.
            superseded: whether to return those, too, that others have taken the place of.
            limit: how many at most.

        Raises:
            InvalidInput: tags, confidence or limit are out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        check_share("min_confidence", min_confidence)
        check_limit(limit)
        scope = _scope(user_id)
        given = {"namespace": to_text(scope), "contains": containing(tags, agent), "limit": limit}
        given |= {"least": min_confidence, "superseded": superseded}
        found: list[Belief] = await self._access.ask(
            user_id, Query(_SQL["list"], given, _beliefs), scope
        )
        return found

    async def confidences(self, user_id: str, keys: Sequence[str]) -> dict[str, float]:
        """Return how firmly beliefs are held, by their keys; what is no belief of the user is left out.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {"namespace": to_text(_scope(user_id)), "keys": list(keys)}
        query = Query(
            _SQL["confidences"], given, lambda rows: {row.key: row.confidence for row in rows}
        )
        found: dict[str, float] = await self._access.ask(user_id, query)
        return found


def _scope(user_id: str) -> Namespace:
    return user_scope(user_id, COLLECTIONS["belief"])


def _address(user_id: str, key: str) -> Address:
    return _scope(user_id), key


def _beliefs(rows: Rows) -> list[Belief]:
    return [Belief.of(row) for row in rows]


def _held(user_id: str, address: Address, confidence: float) -> Query[None]:
    """Ask for the confidence in a belief that is there to be kept."""

    def read(rows: Rows) -> None:
        if not rows:
            raise MemoryNotFound(*address)

    return Query(
        _SQL["held"], {"user_id": user_id, "confidence": confidence, **located(address)}, read
    )


def _reinstated(user_id: str, address: Address) -> Query[None]:
    """Ask for a belief not to be superseded by any other."""
    return Query(
        _SQL["reinstated"],
        {"user_id": user_id, "type": SUPERSEDES, **located(address)},
        part=SchemaPart.GRAPH,
    )


def _superseded(address: Address) -> Query[None]:
    """Ask for a belief to be marked as superseded, which keeps searches from finding it."""

    def read(rows: Rows) -> None:
        if not rows:
            raise MemoryNotFound(*address)

    return Query(_SQL["superseded"], located(address), read)
