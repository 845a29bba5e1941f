"""Loads: profiles of users and companies become memories of the brain, one owner or all of them, as background jobs.

A load goes through the profiles in batches. What a batch writes is written by slug, so that a batch done twice writes
nothing twice; what it came to, and where the next one begins, is then noted in one statement. A load that is cut off
anywhere hence goes on after the last batch that was noted, with totals as if nothing had happened.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from graphs.memory.access import Access
from graphs.memory.brain.brain import Brain
from graphs.memory.brain.entities import EntityNormaliser
from graphs.memory.brain.models import BrainLoad, BrainReport
from graphs.memory.brain.owners import Entity
from graphs.memory.brain.profiles import (
    BrainSource,
    Profile,
    StoredProfiles,
    memories_of,
)
from graphs.memory.database import statements
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query, no_answer
from graphs.memory.errors import (
    ConfigurationError,
    GraphMemoryError,
    InvalidEntityId,
    SetupRequired,
    StoreUnavailable,
)
from graphs.memory.principal import Principal, acting_as, current_provenance
from graphs.memory.store.embedder import Embedder

_SQL = statements.load("loading", __package__)

T = TypeVar("T")
R = TypeVar("R")

_BATCH = 100
"""Profiles that are read, and noted as done, together."""

_AT_ONCE = 8
"""Owners whose memories are saved at the same time."""

# The job ends with these, and is tried again: they would meet every owner alike.
_OF_ALL = (ConfigurationError, SetupRequired, StoreUnavailable)

_ENTITIES: Mapping[str, Entity] = {
    "user": "user",
    "users": "user",
    "company": "company",
    "companies": "company",
}


class _State(NamedTuple):
    """A load that is not over, and where it goes on."""

    kind: str
    owner: str | None
    cursor: str
    started_at: datetime | None
    cancelled: bool

    @property
    def entity(self) -> Entity:
        return _ENTITIES[self.kind]

    def began_before(self, at: datetime) -> bool:
        return self.started_at is not None and self.started_at <= at


@dataclass(slots=True)
class _Tally:
    """What became of a batch."""

    done: int = 0
    saved: int = 0
    unchanged: int = 0
    failed: int = 0
    owners: list[str] = field(default_factory=list)
    slugs: list[str | None] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def fail(self, owner: str, slug: str | None, error: str) -> None:
        self.failed += 1
        self.owners.append(owner)
        self.slugs.append(slug)
        self.errors.append(error)

    def count(self, owner: str, report: BrainReport, written: Container[str]) -> None:
        """Add what became of an owner's memories.

        One that is as it should be counts as saved if it was written since the load began: it was this load that wrote
        it, before it was cut off, and the totals do not tell how often a batch was done.
        """
        for outcome in report.outcomes:
            if outcome.outcome == "failed":
                self.fail(
                    owner, outcome.slug, outcome.error or ""
                )  # the name alone: a reason may quote
            elif outcome.outcome == "unchanged" and outcome.slug not in written:
                self.unchanged += 1
            else:
                self.saved += 1


@dataclass(frozen=True, slots=True)
class _Saved:
    """A profile whose memories were saved, but for those that the report tells of."""

    owner: str
    report: BrainReport
    named: set[str | None]
    """The slugs of all its entries."""
    forget: Callable[[str], Awaitable[bool]]
    """Forgets the memory of a slug."""


class LoadingBrain(Brain):
    """The brain, and the jobs that fill it from profiles.

    Every entry of a profile becomes the memory of a slug (`profiles.memories_of`), whatever that slug held before: its
    history keeps it. A memory that was made so is forgotten when its entry is gone; others are left alone.

    Args:
        access: the way to the database.
        embedder: the store's model and text search.
        normalisers: how ids become the ones that are kept, by kind of entity.
        source: where profiles are read; the database, unless given.
    """

    def __init__(
        self,
        access: Access,
        embedder: Embedder,
        normalisers: Mapping[Entity, EntityNormaliser] | None = None,
        source: BrainSource | None = None,
    ) -> None:
        super().__init__(access, embedder, normalisers)
        self._source = source or StoredProfiles(access)

    # Asking for loads -------------------------------------------------------------------------------------------------

    @on_home_loop
    async def load_user(self, user_id: str) -> UUID:
        """Queue the load of a user's profile, and return its id for `load`.

        Raises:
            InvalidEntityId: the id is not one of a user.
            AccessDenied: the principal is not this user and not the service.
        """
        owner = await self._user(user_id)
        return await self._queue(owner.principal, "user", owner.id)

    @on_home_loop
    async def load_company(self, company_id: str) -> UUID:
        """Queue the load of a company's profile, and return its id for `load`.

        Raises:
            InvalidEntityId: the id is not one of a company.
            AccessDenied: the principal is neither an administrator of this organisation nor the service.
        """
        owner = self._company(company_id)
        return await self._queue(owner.principal, "company", owner.id)

    @on_home_loop
    async def load_all_users(self) -> UUID:
        """Queue the load of every user's profile, and return its id for `load`.

        Raises:
            AccessDenied: the principal is not the service.
        """
        return await self._queue(self._access.principal(), "users", None)

    @on_home_loop
    async def load_all_companies(self) -> UUID:
        """Queue the load of every company's profile, and return its id for `load`.

        Raises:
            AccessDenied: the principal is not the service.
        """
        return await self._queue(self._access.principal(), "companies", None)

    async def _queue(self, principal: Principal, kind: str, owner: str | None) -> UUID:
        query: Query[UUID] = Query(
            _SQL["queue"], {"kind": kind, "owner": owner}, lambda rows: rows[0].id
        )
        load_id: UUID
        [load_id] = await self._access.run(principal, [query], current_provenance())
        return load_id

    # Looking, and stopping --------------------------------------------------------------------------------------------

    @on_home_loop
    async def loads(self, limit: int = 20) -> list[BrainLoad]:
        """Return loads, the latest first: one's own, those of companies one administers, all for the service.

        They are kept for 30 days.
        """
        return await self._loads(None, limit)

    @on_home_loop
    async def load(self, load_id: UUID | str) -> BrainLoad | None:
        """Return how far a load is, None if there is none of this id for whoever asks.

        Raises:
            InvalidInput: it is no UUID.
        """
        found = await self._loads(load_id, 1)
        return found[0] if found else None

    @on_home_loop
    async def cancel_load(self, load_id: UUID | str) -> bool:
        """Have a load stop after the batch it is at, and return whether it was not over yet.

        Whoever may ask for a load may cancel it.

        Raises:
            InvalidInput: it is no UUID.
        """
        if not await self._loads(load_id, 1):
            return False
        return bool(await self._ask("cancel", bool, id=str(load_id)))

    async def _loads(self, load_id: UUID | str | None, limit: int) -> list[BrainLoad]:
        given = {"id": load_id if load_id is None else str(load_id), "limit": limit}
        query = Query(
            _SQL["loads"],
            given,
            lambda rows: [BrainLoad.model_validate(row._asdict()) for row in rows],
        )
        found: list[BrainLoad]
        [found] = await self._access.run(self._access.principal(), [query], current_provenance())
        return found

    # The job ----------------------------------------------------------------------------------------------------------

    @on_home_loop
    async def carry_out(self, load_id: str, user_id: str | None = None) -> None:  # noqa: ARG002  names whom the job is about
        """Do a load, from where it stands to its end; what the job does.

        Raises:
            StoreUnavailable: the database could not do it; carried out again, it goes on after the last batch.
        """
        while state := await self._ask(
            "state", lambda rows: _State(*rows[0]) if rows else None, id=load_id
        ):
            if state.started_at is None:
                total = 1 if state.owner is not None else await self._source.total(state.entity)
                await self._ask("begin", no_answer, id=load_id, total=total)
            else:
                await self._step(load_id, state)

    async def _step(self, load_id: str, state: _State) -> None:
        """Do the next batch of a load, and note it. Where somebody else was first, nothing is noted."""
        profiles = [] if state.cancelled else await self._next(state)
        is_last = state.cancelled or state.owner is not None or len(profiles) < _BATCH
        tally = await self._batch(state, profiles)
        reached = profiles[-1].id if profiles else ""
        given = {name: getattr(tally, name) for name in _Tally.__slots__}
        await self._ask(
            "settle",
            no_answer,
            id=load_id,
            cursor=state.cursor,
            reached=reached,
            is_last=is_last,
            **given,
        )

    async def _next(self, state: _State) -> Sequence[Profile]:
        if state.owner is None:
            return await self._source.after(state.entity, state.cursor, _BATCH)
        profile = await self._source.one(state.entity, state.owner)
        return [profile or Profile(state.owner, problem="there is no profile")]

    async def _batch(self, state: _State, profiles: Sequence[Profile]) -> _Tally:
        """Make profiles memories. What fails is counted and stops nobody else, unless it would fail for all."""
        tally = _Tally(done=len(profiles))
        saved = [
            s
            for s in await _for_each(
                functools.partial(self._save_profile, state.entity, tally), profiles
            )
            if s
        ]
        made: dict[str, dict[str, datetime]] = {}
        for row in await self._ask(
            f"made_{state.entity}", lambda rows: rows, owners=[s.owner for s in saved]
        ):
            made.setdefault(row.owner, {})[row.slug] = row.updated_at
        for one in saved:
            since = {slug for slug, at in made.get(one.owner, {}).items() if state.began_before(at)}
            tally.count(one.owner, one.report, since)
        gone = [
            (one, slug)
            for one in saved
            for slug in sorted(made.get(one.owner, {}).keys() - one.named)
        ]
        await _for_each(functools.partial(_forget, tally), gone)
        return tally

    async def _save_profile(self, entity: Entity, tally: _Tally, profile: Profile) -> _Saved | None:
        """Save as a person would, so that row-level security holds it to what is theirs."""
        if profile.problem:
            tally.fail(profile.id, None, profile.problem)
            return None
        memories, problems = memories_of(entity, profile)
        for problem in problems:
            tally.fail(profile.id, problem.slug, problem.reason)
        slugs: list[str | None] = [memory.slug for memory in memories]
        principal = Principal.of_subject(profile.id) if entity == "user" else Principal.service()
        with acting_as(principal), _counted(tally, profile.id, slugs):
            owner = await self._user(profile.id) if entity == "user" else self._company(profile.id)
            if owner.id != profile.id:
                raise InvalidEntityId("id", f"is not spelled as it is kept, which is {owner.id!r}.")
            report = await self._saver.save(owner, memories)
            named = {*slugs, *(problem.slug for problem in problems)}
            return _Saved(owner.id, report, named, functools.partial(self._forget, owner))
        return None

    async def _ask(self, statement: str, read: Callable[[Any], Any], **given: Any) -> Any:
        return (
            await self._access.run(Principal.service(), [Query(_SQL[statement], given, read)], {})
        )[0]


async def _forget(tally: _Tally, entry: tuple[_Saved, str]) -> None:
    saved, slug = entry
    with _counted(tally, saved.owner, [slug]):
        await saved.forget(slug)


@contextmanager
def _counted(tally: _Tally, owner: str, slugs: Sequence[str | None]) -> Iterator[None]:
    """Count what fails for these slugs of an owner, and go on, unless it would fail for all."""
    try:
        yield
    except _OF_ALL:
        raise
    except GraphMemoryError as error:
        for slug in slugs or [None]:
            tally.fail(owner, slug, type(error).__name__)


async def _for_each(do: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """Do something with items, some at a time; what fails ends it, once those are over that have begun."""
    results: list[R] = []
    for n in range(0, len(items), _AT_ONCE):
        for result in await asyncio.gather(
            *map(do, items[n : n + _AT_ONCE]), return_exceptions=True
        ):
            if isinstance(result, BaseException):
                raise result
            results.append(result)
    return results
