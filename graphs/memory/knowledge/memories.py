"""Single memories: reading, history, revision and deletion by their users."""

import functools
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

from langgraph.store.base import PutOp
from pydantic import BaseModel, ConfigDict, Field, field_validator
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from graphs.memory.access import Access
from graphs.memory.contract import ErasureCertificate, check_types
from graphs.memory.database import statements
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import AccessDenied, MemoryNotFound, VersionConflict
from graphs.memory.knowledge.common import check_limit, containing, located
from graphs.memory.rights.erasure import MemoryEraser
from graphs.memory.search.embeddings import fields_of
from graphs.memory.search.recalled import Found, content_of, recalled, search_item
from graphs.memory.store.items import ExpectingPutOp
from graphs.memory.store.store import PostgresStore
from graphs.memory.values.namespaces import Address, check_address, user_scope
from graphs.memory.values.paging import Page, numbered, page_of

_SQL = statements.load("memories", __package__)

_TRIES = 20
"""Attempts of a change to a memory that others change at the same time."""


class Memory(BaseModel):
    """The current version of a memory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: tuple[str, ...]
    key: str
    content: str = Field(description="Its text, or the JSON of an item without a text.")
    type: str | None = None
    tags: list[str] = Field(default_factory=list)
    agent: str | None = Field(default=None, description="The agent that wrote it.")
    session_id: str | None = Field(default=None, description="The session that it comes from.")
    importance: float | None = None
    pinned: bool = Field(
        default=False, description="True: every run gets it, and it neither decays nor expires."
    )
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None

    @property
    def address(self) -> Address:
        """Namespace and key."""
        return self.namespace, self.key


class Version(BaseModel):
    """An earlier version of a memory, and the time in which it was valid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: str
    value: dict[str, Any]
    operation: Literal["update", "delete"] = Field(description="The operation that ended it.")
    valid_from: datetime
    valid_to: datetime
    run_id: str | None = Field(default=None, description="The run that wrote it.")
    ended_by: str | None = Field(default=None, description="The run that replaced or deleted it.")


class Revision(BaseModel):
    """A change of a memory. Fields that are not set stay as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: str | None = Field(default=None, min_length=1, description="The new text.")
    tags: list[str] | None = None
    importance: float | None = Field(default=None, ge=0, le=1)
    pinned: bool | None = Field(
        default=None,
        description="True to give it to every run, and keep it from decaying and expiring.",
    )

    @field_validator("content")
    @classmethod
    def _not_blank(cls, content: str | None) -> str | None:
        if content is not None and not content.strip():
            raise ValueError("must not be blank")
        return content


class Memories:
    """Memories of users, one by one.

    Every method acts as the current principal, and refuses other users' data.

    Args:
        access: checks the principal and runs the queries.
        store: the store that holds them as items.
        eraser: erases memories for good.
    """

    def __init__(self, access: Access, store: PostgresStore, eraser: MemoryEraser) -> None:
        self._access = access
        self._store = store
        self._eraser = eraser
        self.home_loop = access.home_loop

    async def get(self, user_id: str, memory: Address) -> Memory:
        """Return a memory: the user's own, or a shared one that the user can see.

        Raises:
            MemoryNotFound: the user can see no memory at this address.
            AccessDenied: the principal is neither this user nor the service.
        """
        return _memory(await self._row(user_id, memory, past=True))

    async def latest(
        self,
        user_id: str,
        *,
        types: Sequence[str] | None = None,
        tags: Sequence[str] = (),
        agent: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Memory]:
        """Return a page of a user's memories, the latest change first.

        Args:
            user_id: the user.
            types: only memories of these types; None for all except turns, which `store.sessions`
                lists.
            tags: only memories that carry all of these tags.
            agent: only memories that this agent wrote.
            cursor: `next` of the page before; None for the first page.
            limit: the most results to return, 1 to 200.

        Raises:
            InvalidInput: a type is unknown, the cursor is not from an earlier page, or the limit is
                out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        wanted = None if types is None else check_types(types)
        given = {
            "user_id": user_id,
            "types": wanted,
            "containing": containing(tags, agent),
            **numbered(cursor, limit),
        }
        rows = await self._access.ask(
            user_id, Query(_SQL["latest"], given, list), user_scope(user_id), past=True
        )
        page = page_of(rows, limit, lambda row: (row.updated_at, row.id))
        return Page(items=[_memory(row) for row in page.items], next=page.next)

    async def revise(
        self, user_id: str, memory: Address, revision: Revision, *, expected: datetime | None = None
    ) -> Memory:
        """Change a memory, and return it. Its earlier version goes to the history.

        Every run gets a pinned memory, and it neither decays nor expires. Unpinning it does not
        restore its former TTL.

        Args:
            user_id: the user.
            memory: namespace and key.
            revision: the new values.
            expected: the `updated_at` of the version to change; None to change any version.

        Raises:
            MemoryNotFound: the user can see no memory at this address.
            VersionConflict: it is not at the version that was expected.
            InvalidValue: the new values cannot be stored.
            AccessDenied: the principal may not change it.
        """
        async for attempt in _attempts(expected):
            with attempt:
                row = await self._row(user_id, memory)
                value = _revised(row.value, revision)
                if value != row.value or expected not in (None, row.updated_at):
                    put = PutOp(*_address(memory), value, _index(row, value), _ttl(row, value))
                    await self._store.abatch([ExpectingPutOp(put, expected or row.updated_at)])
        return await self.get(user_id, memory)

    async def forget(
        self,
        user_id: str,
        memory: Address,
        *,
        expected: datetime | None = None,
        for_good: bool = False,
    ) -> ErasureCertificate | None:
        """Delete a memory. Its last version stays in the history, and is no longer recalled.

        For good, its earlier versions go as well, and the queries of the recalls that found it; the
        certificate is returned. That also removes what is left of a memory that was forgotten.

        Args:
            user_id: the user.
            memory: namespace and key.
            expected: the `updated_at` of the version to delete; None to delete any version.
            for_good: erase the history of the memory as well; nothing brings it back.

        Raises:
            MemoryNotFound: the user can see no memory at this address.
            VersionConflict: it is not at the version that was expected.
            AccessDenied: the principal may not delete it.
        """
        if for_good:
            return await self._erase(user_id, _address(memory), expected)
        async for attempt in _attempts(expected):
            with attempt:
                row = await self._row(user_id, memory)
                await self._store.abatch(
                    [ExpectingPutOp(PutOp(*_address(memory), None), expected or row.updated_at)]
                )
        with suppress(MemoryNotFound):
            # A policy that forbids DELETE raises no error: the row is just still there.
            if (await self._row(user_id, memory)).id == row.id:
                raise AccessDenied("You may read and change this memory, but not delete it.")
        return None

    @on_home_loop
    async def _erase(
        self, user_id: str, memory: Address, expected: datetime | None
    ) -> ErasureCertificate:
        principal = await self._access.only(user_id)
        is_anothers = memory[0][:1] == ("users",) and memory[0][:2] != user_scope(user_id)
        certificate = None if is_anothers else await self._eraser.erase(principal, memory, expected)
        if certificate is None:
            raise MemoryNotFound(*memory)
        return certificate

    async def history(
        self, user_id: str, memory: Address, *, cursor: str | None = None, limit: int = 50
    ) -> Page[Version]:
        """Return a page of a memory's earlier versions, the last one first.

        It works for deleted memories as well.

        Raises:
            InvalidInput: the cursor is not from an earlier page, or the limit is out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        check_address(*_address(memory))
        given = {"user_id": user_id, **located(memory), **numbered(cursor, limit)}
        rows = await self._access.ask(
            user_id, Query(_SQL["history"], given, list), user_scope(user_id)
        )
        page = page_of(rows, limit, lambda row: (row.valid_to, row.id))
        return Page(items=[_version(row) for row in page.items], next=page.next)

    async def written_by(self, user_id: str, run_id: str, *, limit: int = 100) -> list[Memory]:
        """Return the memories whose current version a run wrote.

        They are turns, and the facts that were extracted from them.

        Raises:
            InvalidInput: the limit is out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        check_limit(limit)
        query = Query(
            _SQL["written_by"], {"user_id": user_id, "run_id": run_id, "limit": limit}, _memories
        )
        found: list[Memory] = await self._access.ask(user_id, query, user_scope(user_id))
        return found

    async def _row(self, user_id: str, memory: Address, *, past: bool = False) -> Any:
        namespace, key = _address(memory)
        check_address(namespace, key)
        read = functools.partial(_only, namespace, key)
        query = Query(_SQL["get"], {"user_id": user_id, **located(memory)}, read)
        [row] = await self._access.ask(user_id, query, namespace, past=past)
        return row


def _attempts(expected: datetime | None) -> AsyncRetrying:
    """Return the attempts of a read and write: only one if the caller expects a version."""
    tries = stop_after_attempt(1 if expected else _TRIES)
    return AsyncRetrying(retry=retry_if_exception_type(VersionConflict), stop=tries, reraise=True)


def _revised(value: dict[str, Any], revision: Revision) -> dict[str, Any]:
    revised = {**value, **revision.model_dump(exclude_none=True)}
    if revision.pinned is False:
        del revised["pinned"]
    return revised


def _address(memory: Address) -> Address:
    return tuple(memory[0]), memory[1]


def _only(namespace: tuple[str, ...], key: str, rows: Rows) -> Rows:
    if not rows:
        raise MemoryNotFound(namespace, key)
    return rows


def _index(row: Any, value: dict[str, Any]) -> Literal[False] | list[str] | None:
    """Return the fields to embed: the same as before, and none if it was put with `index=False`."""
    return fields_of(value, row.fields) if row.indexed else False


def _ttl(row: Any, value: dict[str, Any]) -> float | None:
    return None if value.get("pinned") is True else row.ttl_minutes


def _memories(rows: Rows) -> list[Memory]:
    return [_memory(row) for row in rows]


def _memory(row: Any) -> Memory:
    """Return the memory of a row. Its value may have any shape, since users may put items."""
    [shown] = recalled(Found([search_item(row, None)]))
    value, metadata, importance = row.value, row.value.get("metadata"), row.value.get("importance")
    known = isinstance(importance, (int, float)) and not isinstance(importance, bool)
    return Memory(
        **shown.model_dump(exclude={"score", "explanation"}),
        agent=value.get("agent") if isinstance(value.get("agent"), str) else None,
        importance=min(max(float(importance), 0.0), 1.0) if known else None,
        metadata=metadata if isinstance(metadata, dict) else {},
        expires_at=row.expires_at,
    )


def _version(row: Any) -> Version:
    return Version(
        content=content_of(row.value),
        value=row.value,
        **{
            name: getattr(row, name)
            for name in ("operation", "valid_from", "valid_to", "run_id", "ended_by")
        },
    )
