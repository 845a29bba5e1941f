"""The brain: memories of a user or a company that are named by slugs, one memory for each slug.

A memory of the brain is an item of the store. Its namespace is `("users", user_id, "brain")` or
`("orgs", company_id, "brain")`, its key is the slug. A row of the brain maps the slug to the item;
both commit together.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from graphs.memory import telemetry
from graphs.memory.access import Access
from graphs.memory.brain.entities import EntityNormaliser, normalise, plain
from graphs.memory.brain.models import (
    BrainReport,
    StoredBrainMemory,
)
from graphs.memory.brain.owners import Entity, Owner, check_slug
from graphs.memory.brain.saving import BrainEntries, Saver
from graphs.memory.database import statements
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query
from graphs.memory.errors import (
    AccessDenied,
)
from graphs.memory.principal import current_provenance
from graphs.memory.rights.erasure import MemoryEraser
from graphs.memory.store import items
from graphs.memory.store.embedder import Embedder
from graphs.memory.store.items import ItemWrite
from graphs.memory.values.paging import (
    MOST,
    Page,
    named,
    page_of,
)

_SQL = statements.load("brain", __package__)


class Brain:
    """Memories keyed by slugs. Saving a slug again updates its memory in place.

    A user's memories are visible to that user only. A company is an organisation: its members read
    and save, its administrators delete as well. Every method acts as the current principal.

    Args:
        access: runs the queries, as the current principal.
        embedder: the store's embedding model and text search.
        eraser: erases memories for good.
        normalisers: normalisers of ids, by kind of entity: `{"company": entities.cl_rut}`. An
            organisation's id in `memory.organisations` must be the normalised one.
    """

    def __init__(
        self,
        access: Access,
        embedder: Embedder,
        eraser: MemoryEraser,
        normalisers: Mapping[Entity, EntityNormaliser] | None = None,
    ) -> None:
        self._access = access
        self._embedder = embedder
        self._eraser = eraser
        self._saver = Saver(access, embedder)
        self._normalisers: dict[Entity, EntityNormaliser] = {
            "user": plain,
            "company": plain,
            **(normalisers or {}),
        }
        self.home_loop = asyncio.get_running_loop()

    @on_home_loop
    @telemetry.operation
    async def save_user_memories(self, user_id: str, memories: BrainEntries) -> BrainReport:
        """Save memories of a user. Memories that are stored as given already are left unchanged.

        Any number of memories takes one round trip to read, one to write, and one batch of
        embeddings; hundreds at once are fine. After an interruption, save them again: unchanged
        memories cost almost nothing.

        Args:
            user_id: the user.
            memories: contents by slug, or memories with a category, tags and metadata: each a
                `BrainMemory` or a dictionary of its fields. If two have the same slug, the last one
                counts.

        Returns:
            The outcome of each memory. A memory that cannot be stored or embedded does not prevent
            the others from being saved.

        Raises:
            InvalidEntityId: it is not an id of a user.
            AccessDenied: the principal is neither this user nor the service; nothing was stored.
            StoreUnavailable: the database is unavailable; saving them again is safe.
        """
        return await self._saver.save(await self._user(user_id), memories)

    @on_home_loop
    @telemetry.operation
    async def save_company_memories(self, company_id: str, memories: BrainEntries) -> BrainReport:
        """Save memories of a company, as `save_user_memories` does for a user.

        Raises:
            InvalidEntityId: it is not an id of a company.
            AccessDenied: the principal is neither a member of this organisation nor the service;
                nothing was stored.
            StoreUnavailable: the database is unavailable; saving them again is safe.
        """
        return await self._saver.save(self._company(company_id), memories)

    @on_home_loop
    @telemetry.operation
    async def get_user_memory(self, user_id: str, slug: str) -> StoredBrainMemory | None:
        """Return the memory of a user under a slug, None if there is none.

        Raises:
            InvalidValue: it is not a slug.
            AccessDenied: the principal is neither this user nor the service.
        """
        return await self._get(await self._user(user_id), slug)

    @on_home_loop
    @telemetry.operation
    async def get_company_memory(self, company_id: str, slug: str) -> StoredBrainMemory | None:
        """Return the memory of a company under a slug, None if there is none for the principal.

        Raises:
            InvalidValue: it is not a slug.
        """
        return await self._get(self._company(company_id), slug)

    def user_memories(self, user_id: str) -> AsyncIterator[StoredBrainMemory]:
        """Yield all memories of a user in the order of their slugs.

        It reads page by page and holds no connection between two pages.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        return _all(functools.partial(self.user_page, user_id))

    def company_memories(self, company_id: str) -> AsyncIterator[StoredBrainMemory]:
        """Yield all memories of a company in the order of their slugs; none if not a member."""
        return _all(functools.partial(self.company_page, company_id))

    @on_home_loop
    async def user_page(
        self, user_id: str, *, cursor: str | None = None, limit: int = MOST
    ) -> Page[StoredBrainMemory]:
        """Return a page of a user's memories, in the order of their slugs.

        Raises:
            InvalidInput: the cursor is not from an earlier page, or the limit is out of range.
            AccessDenied: the principal is neither this user nor the service.
        """
        return await self._page(await self._user(user_id), cursor, limit)

    @on_home_loop
    async def company_page(
        self, company_id: str, *, cursor: str | None = None, limit: int = MOST
    ) -> Page[StoredBrainMemory]:
        """Return a page of a company's memories, as `user_page`; none if not a member."""
        return await self._page(self._company(company_id), cursor, limit)

    @on_home_loop
    @telemetry.operation
    async def forget_user_memory(self, user_id: str, slug: str, *, for_good: bool = False) -> bool:
        """Delete a memory of a user, and return True if there was one.

        Its last version stays in the history, unless it is erased for good.

        Raises:
            InvalidValue: it is not a slug.
            AccessDenied: the principal is neither this user nor the service.
        """
        return await self._forget(await self._user(user_id), slug, for_good)

    @on_home_loop
    @telemetry.operation
    async def forget_company_memory(
        self, company_id: str, slug: str, *, for_good: bool = False
    ) -> bool:
        """Delete a memory of a company, and return True if there was one.

        Its last version stays in the history, unless it is erased for good.

        Raises:
            InvalidValue: it is not a slug.
            AccessDenied: the principal is a member, but not an administrator.
        """
        return await self._forget(self._company(company_id), slug, for_good)

    @on_home_loop
    @telemetry.operation
    async def companies_of(self, user_id: str) -> list[str]:
        """Return the ids of the companies of which a user is a member, without invitations.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        user = await self._user(user_id)
        query: Query[list[str]] = Query(
            _SQL["companies"], {"user_id": user.id}, lambda rows: [row[0] for row in rows]
        )
        [companies] = await self._access.run(user.principal, [query], current_provenance())
        return list(companies)

    def company_id(self, company_id: str) -> str:
        """Return the normalised id of a company: the id of its organisation.

        Raises:
            InvalidEntityId: it is not an id of a company.
        """
        return normalise(company_id, self._normalisers["company"], "company_id")

    async def _user(self, user_id: str) -> Owner:
        kept = normalise(user_id, self._normalisers["user"], "user_id")
        return Owner("user", kept, await self._access.only(kept))

    def _company(self, company_id: str) -> Owner:
        return Owner("company", self.company_id(company_id), self._access.principal())

    async def _run(self, owner: Owner, queries: Sequence[Query[Any]]) -> list[Any]:
        return await self._access.run(owner.principal, queries, current_provenance())

    # Reading ----------------------------------------------------------------------------------

    async def _get(self, owner: Owner, slug: str) -> StoredBrainMemory | None:
        check_slug(slug)
        [found] = await self._run(owner, [_get(owner, [slug])])
        self._note(owner, "gets", len(found))
        return found[0] if found else None

    async def _page(self, owner: Owner, cursor: str | None, limit: int) -> Page[StoredBrainMemory]:
        place = named(cursor, limit)
        found: list[StoredBrainMemory]
        [found] = await self._run(
            owner, [owner.ask("page", _memories, after=place["id"], most=place["most"])]
        )
        self._note(owner, "searches", len(found))
        return page_of(found, limit, lambda memory: (None, memory.slug))

    def _note(self, owner: Owner, kind: str, found: int) -> None:
        source = tuple(current_provenance().items())
        self._access.reads.note(owner.principal, source, owner.namespace, kind, found)

    async def _forget(self, owner: Owner, slug: str, for_good: bool = False) -> bool:
        check_slug(slug)
        if for_good:
            erased = await self._eraser.erase(owner.principal, (owner.namespace, slug))
            return erased is not None
        look = _get(owner, [slug])
        before, *_, after = await self._run(
            owner,
            [
                look,
                *items.put(
                    [ItemWrite(owner.namespace, slug, None)], None, self._embedder.how.configuration
                ),
                look,
            ],
        )
        # A policy that forbids DELETE raises no error: the row is just still there.
        if before and after and before[0].memory_id == after[0].memory_id:
            raise AccessDenied(
                f"Only administrators may delete memories of company {owner.id}.", owner.id
            )
        return bool(before)


async def _all(
    page_at: Callable[..., Awaitable[Page[StoredBrainMemory]]],
) -> AsyncIterator[StoredBrainMemory]:
    cursor: str | None = None
    while True:
        page = await page_at(cursor=cursor)
        for memory in page.items:
            yield memory
        if (cursor := page.next) is None:
            return


def _get(owner: Owner, slugs: Sequence[str]) -> Query[list[StoredBrainMemory]]:
    return owner.ask("get", _memories, slugs=slugs)


def _memories(rows: Any) -> list[StoredBrainMemory]:
    return [StoredBrainMemory.of(row) for row in rows]
