"""The brain: memories that a slug names, one of each for a user or a company.

A memory of the brain is an item of the store, at `("users", user_id, "brain")` or `("orgs", company_id, "brain")` under
its slug; the brain's row says which item a slug stands for. Both commit together.
"""

import asyncio
import functools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langgraph.store.base import PutOp

from graphs.memory import telemetry
from graphs.memory.audit.reads import ReadLog
from graphs.memory.brain.entities import EntityNormaliser, normalise, plain
from graphs.memory.contract import (
    BrainMemory,
    BrainOutcome,
    BrainReport,
    StoredBrainMemory,
)
from graphs.memory.database import statements
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query
from graphs.memory.errors import (
    AccessDenied,
    ConfigurationError,
    EmbeddingFailed,
    GraphMemoryError,
    InvalidInput,
    InvalidValue,
    SetupRequired,
    StoreUnavailable,
)
from graphs.memory.principal import Principal, current_provenance
from graphs.memory.search.embeddings import is_passing
from graphs.memory.store import items
from graphs.memory.store.batch import Call, Searching
from graphs.memory.store.items import ItemWrite
from graphs.memory.values.namespaces import (
    Namespace,
    encode_label,
    to_text,
    user_scope,
)
from graphs.memory.values.paging import (
    MOST,
    Page,
    named,
    page_of,
)
from graphs.memory.values.text import problem_with, to_json

_SQL = statements.load("brain", __package__)

_SLUG = re.compile(r"[a-z][a-z0-9_]{0,127}")
_SHOWN = 200  # characters of what was to be a slug, in a report

# These would meet every memory of the owner alike.
_OF_ALL = (AccessDenied, ConfigurationError, SetupRequired, StoreUnavailable)

Entity = Literal["user", "company"]
BrainEntries = Mapping[str, str] | Sequence[BrainMemory]


@dataclass(frozen=True, slots=True)
class Means:
    """What the brain works with. It opens nothing itself."""

    principal_for: Callable[[str], Awaitable[Principal]]
    """Who is acting, who must be the user that is named, or the service."""
    principal: Callable[[], Principal]
    """Who is acting."""
    prepare: Callable[[Sequence[PutOp], Principal], Awaitable[Call]]
    """Checks and embeds."""
    run: Callable[[Principal, Sequence[Query[Any]], dict[str, Any]], Awaitable[list[Any]]]
    """Answers queries in one transaction."""
    how: Searching
    """The embedding model and the text search."""
    reads: ReadLog
    """The record of reads."""
    wrote: Callable[[Iterable[Sequence[ItemWrite]]], None]
    """Hears of what was written, for the vector index."""


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose memories they are, and who acts on them."""

    entity: Entity
    id: str
    principal: Principal

    @property
    def namespace(self) -> Namespace:
        return (
            *(user_scope(self.id) if self.entity == "user" else company_scope(self.id)),
            "brain",
        )

    def ask(self, statement: str, read: Callable[[Any], Any], **given: Any) -> Query[Any]:
        return Query(_SQL[f"{statement}_{self.entity}"], {"owner": self.id, **given}, read)


class Brain:
    """Slug-keyed memories: saving a slug again updates its memory in place, never makes a second one.

    A user's are theirs alone. A company is an organisation: its members read and save, its administrators delete too.
    Every method acts as whoever is acting now.

    Args:
        means: what it works with.
        normalisers: how ids become the ones that are kept, by kind of entity: `{"company": entities.cl_rut}`. An
            organisation's id in `memory.organisations` must be the normalised one.
    """

    def __init__(
        self, means: Means, normalisers: Mapping[Entity, EntityNormaliser] | None = None
    ) -> None:
        self._means = means
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
        return await self._save(await self._user(user_id), memories)

    @on_home_loop
    @telemetry.operation
    async def save_company_memories(self, company_id: str, memories: BrainEntries) -> BrainReport:
        """Save memories of a company, as `save_user_memories` does for a user.

        Raises:
            InvalidEntityId: the id is not one of a company.
            AccessDenied: the principal is neither a member of this organisation nor the service; nothing was stored.
            StoreUnavailable: the database could not do it; saving them again does no harm.
        """
        return await self._save(self._company(company_id), memories)

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
        [companies] = await self._means.run(user.principal, [query], current_provenance())
        return list(companies)

    def company_id(self, company_id: str) -> str:
        """Return a company's id as it is kept, which is that of its organisation.

        Raises:
            InvalidEntityId: it is not one of a company.
        """
        return normalise(company_id, self._normalisers["company"], "company_id")

    async def _user(self, user_id: str) -> _Owner:
        kept = normalise(user_id, self._normalisers["user"], "user_id")
        return _Owner("user", kept, await self._means.principal_for(kept))

    def _company(self, company_id: str) -> _Owner:
        return _Owner("company", self.company_id(company_id), self._means.principal())

    async def _run(self, owner: _Owner, queries: Sequence[Query[Any]]) -> list[Any]:
        return await self._means.run(owner.principal, queries, current_provenance())

    # Reading ----------------------------------------------------------------------------------------------------------

    async def _get(self, owner: _Owner, slug: str) -> StoredBrainMemory | None:
        _check_slug(slug)
        [found] = await self._run(owner, [_get(owner, [slug])])
        self._note(owner, "gets", len(found))
        return found[0] if found else None

    async def _page(self, owner: _Owner, cursor: str | None, limit: int) -> Page[StoredBrainMemory]:
        place = named(cursor, limit)
        found: list[StoredBrainMemory]
        [found] = await self._run(
            owner, [owner.ask("page", _memories, after=place["id"], most=place["most"])]
        )
        self._note(owner, "searches", len(found))
        return page_of(found, limit, lambda memory: (None, memory.slug))

    def _note(self, owner: _Owner, kind: str, found: int) -> None:
        source = tuple(current_provenance().items())
        self._means.reads.note(owner.principal, source, owner.namespace, kind, found)

    async def _forget(self, owner: _Owner, slug: str) -> bool:
        _check_slug(slug)
        look = _get(owner, [slug])
        before, *_, after = await self._run(
            owner,
            [
                look,
                *items.put(
                    [ItemWrite(owner.namespace, slug, None)], None, self._means.how.configuration
                ),
                look,
            ],
        )
        if before and after and before[0].memory_id == after[0].memory_id:
            raise AccessDenied(
                f"Only administrators may delete memories of company {owner.id}.", owner.id
            )
        return bool(before)

    # Saving -----------------------------------------------------------------------------------------------------------

    async def _save(self, owner: _Owner, memories: BrainEntries) -> BrainReport:
        given = (
            memories
            if isinstance(memories, Mapping)
            else {memory.slug: memory for memory in memories}
        )
        became: dict[Any, BrainOutcome] = {}
        puts: dict[str, PutOp] = {}
        for slug, memory in given.items():
            try:
                puts[slug] = _put(owner.namespace, slug, memory)
            except InvalidInput as error:
                became[slug] = _failed(slug, error)
        known = await self._known(owner, [*puts])
        puts = {slug: _as_kept(put, known.get(slug)) for slug, put in puts.items()}
        same = [
            slug
            for slug, value in known.items()
            if _canonical(value) == _canonical(puts[slug].value)
        ]
        became |= {slug: BrainOutcome(slug=slug, outcome="unchanged") for slug in same}
        writes, failed = await self._embed(
            owner, [put for slug, put in puts.items() if slug not in became]
        )
        became |= failed | await self._store(owner, writes)
        return BrainReport.of([became[slug] for slug in given])

    async def _known(self, owner: _Owner, slugs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What slugs stand for by now."""
        if not slugs:
            return {}
        rows: Any
        [rows] = await self._run(owner, [owner.ask("get", lambda rows: rows, slugs=slugs)])
        return {row.slug: row.value for row in rows}

    async def _embed(
        self, owner: _Owner, puts: Sequence[PutOp]
    ) -> tuple[list[ItemWrite], dict[str, BrainOutcome]]:
        """What is to be written, and what the embedding model did not take: alone, unless it is away altogether."""
        if not puts:
            return [], {}
        try:
            return [*(await self._means.prepare(puts, owner.principal)).writes], {}
        except EmbeddingFailed as error:
            if len(puts) == 1 or is_passing(error):
                return [], {put.key: _failed(put.key, error) for put in puts}
        alone = await asyncio.gather(*(self._embed(owner, [put]) for put in puts))
        failed = {slug: outcome for _, outcomes in alone for slug, outcome in outcomes.items()}
        return [write for writes, _ in alone for write in writes], failed

    async def _store(self, owner: _Owner, writes: Sequence[ItemWrite]) -> dict[str, BrainOutcome]:
        """Store memories together. Where the database refuses, each half is tried, so that a bad one fails alone."""
        if not writes:
            return {}
        how, slugs = self._means.how, [write.key for write in writes]
        link = owner.ask("link", lambda rows: rows, slugs=slugs, namespace=to_text(owner.namespace))
        try:
            *_, linked = await self._run(
                owner, [*items.put(writes, how.model, how.configuration), link]
            )
        except _OF_ALL:
            raise
        except GraphMemoryError as error:
            if len(writes) == 1:
                return {slugs[0]: _failed(slugs[0], error)}
            half = len(writes) // 2
            return await self._store(owner, writes[:half]) | await self._store(owner, writes[half:])
        self._means.wrote([writes])
        return {
            row.slug: BrainOutcome(slug=row.slug, outcome="created" if row.created else "updated")
            for row in linked
        }


def company_scope(company_id: str) -> Namespace:
    """Return the namespace of everything that belongs to a company: `("orgs", company_id)`."""
    return ("orgs", encode_label(company_id))


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


def _get(owner: _Owner, slugs: Sequence[str]) -> Query[list[StoredBrainMemory]]:
    return owner.ask("get", _memories, slugs=slugs)


def _memories(rows: Any) -> list[StoredBrainMemory]:
    return [StoredBrainMemory.of(row) for row in rows]


def _check_slug(slug: Any) -> None:
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        raise InvalidValue(
            "slug", "must be small letters, digits and _, begin with a letter and have at most 128."
        )


def _put(namespace: Namespace, slug: Any, memory: Any) -> PutOp:
    """What is to be stored, checked. The slug is embedded, too: it often says what a terse content is about.

    It has no importance, by which memories fade: what a slug names holds until it is replaced.
    """
    _check_slug(slug)
    content = memory.content if isinstance(memory, BrainMemory) else memory
    if not isinstance(content, str) or not content.strip():
        raise InvalidValue("content", "must be a text that is not blank.")
    tags, metadata = (memory.tags, memory.metadata) if isinstance(memory, BrainMemory) else ([], {})
    value = {"slug": slug, "content": content, "type": "fact", "tags": tags, "metadata": metadata}
    put = PutOp(namespace, slug, value, index=["slug", "content"])
    items.check_put(put)
    return put


def _as_kept(put: PutOp, known: Mapping[str, Any] | None) -> PutOp:
    """The same, pinned if a person has pinned what it takes the place of."""
    if known is None or known.get("pinned") is not True:
        return put
    return put._replace(value={**(put.value or {}), "pinned": True})


def _canonical(value: Any) -> str:
    """A value in the one form in which equal ones are the same text."""
    return json.dumps(json.loads(to_json(value, "value")), sort_keys=True)


def _failed(slug: Any, error: GraphMemoryError) -> BrainOutcome:
    shown = slug if isinstance(slug, str) and not problem_with(slug) else repr(slug)
    return BrainOutcome(
        slug=shown[:_SHOWN], outcome="failed", error=type(error).__name__, reason=str(error)
    )
