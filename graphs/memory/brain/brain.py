"""The brain: memories that a slug names, one of each for a user or a company.

A memory of the brain is an item of the store, at `("users", user_id, "brain")` or `("orgs", company_id, "brain")` under
its slug; the brain's row says which item a slug stands for. Both commit together.
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
    """Slug-keyed memories: saving a slug again updates its memory in place, never makes a second one.

    A user's are theirs alone. A company is an organisation: its members read and save, its administrators delete too.
    Every method acts as whoever is acting now.

    Args:
        access: the way to the database.
        embedder: the store's model and text search.
        normalisers: how ids become the ones that are kept, by kind of entity: `{"company": entities.cl_rut}`. An
            organisation's id in `memory.organisations` must be the normalised one.
    """

    def __init__(
        self,
        access: Access,
        embedder: Embedder,
        normalisers: Mapping[Entity, EntityNormaliser] | None = None,
    ) -> None:
        self._access = access
        self._embedder = embedder
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
        """Save memories of a user, each or none of which may fail; what is there as given already stays as it is.

        It takes one round trip to read, one to write, and one batch of embeddings, however many they are. Hundreds at
        once are fine; after an interruption, save them again: what is saved costs next to nothing.

        Args:
            user_id: whose memories.
            memories: contents by slug, or memories with tags and metadata. Of two with one slug the last counts.

        Returns:
            What became of each. One that cannot be stored, or embedded, fails alone.

        Raises:
            InvalidEntityId: the id is not one of a user.
            AccessDenied: the principal is not this user and not the service; nothing was stored.
            StoreUnavailable: the database could not do it; saving them again does no harm.
        """
        return await self._saver.save(await self._user(user_id), memories)

    @on_home_loop
    @telemetry.operation
    async def save_company_memories(self, company_id: str, memories: BrainEntries) -> BrainReport:
        """Save memories of a company, as `save_user_memories` does for a user.

        Raises:
            InvalidEntityId: the id is not one of a company.
            AccessDenied: the principal is neither a member of this organisation nor the service; nothing was stored.
            StoreUnavailable: the database could not do it; saving them again does no harm.
        """
        return await self._saver.save(self._company(company_id), memories)

    @on_home_loop
    @telemetry.operation
    async def get_user_memory(self, user_id: str, slug: str) -> StoredBrainMemory | None:
        """Return the memory of a user that a slug names, None where there is none.

        Raises:
            InvalidValue: it is no slug.
            AccessDenied: the principal is not this user and not the service.
        """
        return await self._get(await self._user(user_id), slug)

    @on_home_loop
    @telemetry.operation
    async def get_company_memory(self, company_id: str, slug: str) -> StoredBrainMemory | None:
        """Return the memory of a company that a slug names, None where there is none or the principal is no member.

        Raises:
            InvalidValue: it is no slug.
        """
        return await self._get(self._company(company_id), slug)

    def user_memories(self, user_id: str) -> AsyncIterator[StoredBrainMemory]:
        """Return all memories of a user in the order of their slugs; no connection is held meanwhile.

        Raises:
            AccessDenied: the principal is not this user and not the service.
        """
        return _all(functools.partial(self.user_page, user_id))

    def company_memories(self, company_id: str) -> AsyncIterator[StoredBrainMemory]:
        """Return all memories of a company in the order of their slugs; none to who is no member."""
        return _all(functools.partial(self.company_page, company_id))

    @on_home_loop
    async def user_page(
        self, user_id: str, *, cursor: str | None = None, limit: int = MOST
    ) -> Page[StoredBrainMemory]:
        """Return a user's memories, a page at a time, in the order of their slugs.

        Raises:
            InvalidInput: a cursor or a limit that there is not.
            AccessDenied: the principal is not this user and not the service.
        """
        return await self._page(await self._user(user_id), cursor, limit)

    @on_home_loop
    async def company_page(
        self, company_id: str, *, cursor: str | None = None, limit: int = MOST
    ) -> Page[StoredBrainMemory]:
        """Return a company's memories, as `user_page` does a user's; none to who is no member."""
        return await self._page(self._company(company_id), cursor, limit)

    @on_home_loop
    @telemetry.operation
    async def forget_user_memory(self, user_id: str, slug: str) -> bool:
        """Delete a memory of a user and return whether there was one; its last version stays in the history.

        Raises:
            InvalidValue: it is no slug.
            AccessDenied: the principal is not this user and not the service.
        """
        return await self._forget(await self._user(user_id), slug)

    @on_home_loop
    @telemetry.operation
    async def forget_company_memory(self, company_id: str, slug: str) -> bool:
        """Delete a memory of a company and return whether there was one; its last version stays in the history.

        Raises:
            InvalidValue: it is no slug.
            AccessDenied: the principal is a member, but not an administrator.
        """
        return await self._forget(self._company(company_id), slug)

    @on_home_loop
    @telemetry.operation
    async def companies_of(self, user_id: str) -> list[str]:
        """Return the ids of the companies that a user is a member of.

        Raises:
            AccessDenied: the principal is not this user and not the service.
        """
        user = await self._user(user_id)
        query: Query[list[str]] = Query(
            _SQL["companies"], {"user_id": user.id}, lambda rows: [row[0] for row in rows]
        )
        [companies] = await self._access.run(user.principal, [query], current_provenance())
        return list(companies)

    def company_id(self, company_id: str) -> str:
        """Return a company's id as it is kept, which is that of its organisation.

        Raises:
            InvalidEntityId: it is not one of a company.
        """
        return normalise(company_id, self._normalisers["company"], "company_id")

    async def _user(self, user_id: str) -> Owner:
        kept = normalise(user_id, self._normalisers["user"], "user_id")
        return Owner("user", kept, await self._access.only(kept))

    def _company(self, company_id: str) -> Owner:
        return Owner("company", self.company_id(company_id), self._access.principal())

    async def _run(self, owner: Owner, queries: Sequence[Query[Any]]) -> list[Any]:
        return await self._access.run(owner.principal, queries, current_provenance())

    # Reading ----------------------------------------------------------------------------------------------------------

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

    async def _forget(self, owner: Owner, slug: str) -> bool:
        check_slug(slug)
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
