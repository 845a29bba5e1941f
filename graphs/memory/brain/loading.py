"""Loads: background jobs that save profiles of one or all users or companies to the brain.

A load processes profiles in batches. Saving is an upsert by slug, so repeating a batch writes
nothing twice. One statement then records the totals of the batch and the cursor of the next one. A
load that is interrupted anywhere therefore continues after the last recorded batch, and its totals
are the same as without the interruption.
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
from graphs.memory.rights.erasure import MemoryEraser
from graphs.memory.store.embedder import Embedder

_SQL = statements.load("loading", __package__)

T = TypeVar("T")
R = TypeVar("R")

_BATCH = 100
"""Profiles in a batch."""

_AT_ONCE = 8
"""Owners whose memories are saved concurrently."""

# Errors that would be the same for every owner: they end the job, which is retried.
_OF_ALL = (ConfigurationError, SetupRequired, StoreUnavailable)

_ENTITIES: Mapping[str, Entity] = {
    "user": "user",
    "users": "user",
    "company": "company",
    "companies": "company",
}


class _State(NamedTuple):
    """An unfinished load, and the cursor of its next batch."""

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
    """The totals and failures of a batch."""

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
        """Add the outcomes of an owner's memories.

        Args:
            owner: the id of the owner.
            report: the outcomes.
            written: the slugs of memories that were written since the load began.
        """
        for outcome in report.outcomes:
            if outcome.outcome == "failed":
                # The name of the error alone: a reason may quote content.
                self.fail(owner, outcome.slug, outcome.error or "")
            # Unchanged, but written since the load began: an interrupted attempt of this load wrote
            # it. It counts as saved, so that totals do not depend on the number of attempts.
            elif outcome.outcome == "unchanged" and outcome.slug not in written:
                self.unchanged += 1
            else:
                self.saved += 1


@dataclass(frozen=True, slots=True)
class _Saved:
    """A profile whose memories were saved, except for the failures in the report."""

    owner: str
    report: BrainReport
    named: set[str | None]
    """The slugs of all entries of the profile, failures included."""
    forget: Callable[[str], Awaitable[bool]]
    """Deletes the memory under a slug."""


class LoadingBrain(Brain):
    """The brain, and the jobs that fill it from profiles.

    Each entry of a profile becomes the memory under a slug (`profiles.memories_of`). It replaces
    any memory under that slug, whose earlier version stays in the history. When an entry is gone,
    the next load deletes its memory. Memories that no load made are left alone.

    Args:
        access: runs the queries.
        embedder: the store's embedding model and text search.
        normalisers: normalisers of ids, by kind of entity.
        source: the source of profiles; None for the database.
    """

    def __init__(
        self,
        access: Access,
        embedder: Embedder,
        eraser: MemoryEraser,
        normalisers: Mapping[Entity, EntityNormaliser] | None = None,
        source: BrainSource | None = None,
    ) -> None:
        super().__init__(access, embedder, eraser, normalisers)
        self._source = source or StoredProfiles(access)

    # Starting loads ---------------------------------------------------------------------------

    @on_home_loop
    async def load_user(self, user_id: str) -> UUID:
        """Queue a load of a user's profile, and return its id for `load`.

        Raises:
            InvalidEntityId: it is not an id of a user.
            AccessDenied: the principal is neither this user nor the service.
        """
        owner = await self._user(user_id)
        return await self._queue(owner.principal, "user", owner.id)

    @on_home_loop
    async def load_company(self, company_id: str) -> UUID:
        """Queue a load of a company's profile, and return its id for `load`.

        Raises:
            InvalidEntityId: it is not an id of a company.
            AccessDenied: the principal is neither an administrator of this organisation nor the
                service.
        """
        owner = self._company(company_id)
        return await self._queue(owner.principal, "company", owner.id)

    @on_home_loop
    async def load_all_users(self) -> UUID:
        """Queue a load of every user's profile, and return its id for `load`.

        Raises:
            AccessDenied: the principal is not the service.
        """
        return await self._queue(self._access.principal(), "users", None)

    @on_home_loop
    async def load_all_companies(self) -> UUID:
        """Queue a load of every company's profile, and return its id for `load`.

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

    # Progress and cancellation ----------------------------------------------------------------

    @on_home_loop
    async def loads(self, limit: int = 20) -> list[BrainLoad]:
        """Return loads, the latest first. They are kept for 30 days.

        A user sees their own loads, and those of companies that they administer. The service sees
        all loads.
        """
        return await self._loads(None, limit)

    @on_home_loop
    async def load(self, load_id: UUID | str) -> BrainLoad | None:
        """Return a load with its progress, None if the principal can see no load with this id.

        Raises:
            InvalidInput: it is not a UUID.
        """
        found = await self._loads(load_id, 1)
        return found[0] if found else None

    @on_home_loop
    async def cancel_load(self, load_id: UUID | str) -> bool:
        """Cancel a load after its current batch, and return True if it was unfinished.

        Everyone who can see a load may cancel it.

        Raises:
            InvalidInput: it is not a UUID.
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

    # The job ----------------------------------------------------------------------------------

    @on_home_loop
    async def carry_out(self, load_id: str, user_id: str | None = None) -> None:  # noqa: ARG002  by it an erasure finds the job
        """Run a load from its cursor to the end. This is the job.

        Raises:
            StoreUnavailable: the database is unavailable; the retry continues after the last
                recorded batch.
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
        """Process and record the next batch, unless another worker recorded it first."""
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
        """Save the memories of profiles, delete those of removed entries, and return totals.

        A failure is counted and does not stop the others, unless all of them would fail.
        """
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
        """Save the memories of a profile; None if all of it failed."""
        if profile.problem:
            tally.fail(profile.id, None, profile.problem)
            return None
        memories, problems = memories_of(entity, profile)
        for problem in problems:
            tally.fail(profile.id, problem.slug, problem.reason)
        slugs: list[str | None] = [memory.slug for memory in memories]
        # Acting as the user, the job can only write where row-level security lets this user write.
        principal = Principal.of_subject(profile.id) if entity == "user" else Principal.service()
        with acting_as(principal), _counted(tally, profile.id, slugs):
            owner = await self._user(profile.id) if entity == "user" else self._company(profile.id)
            if owner.id != profile.id:
                raise InvalidEntityId("id", f"is not normalised; store it as {owner.id!r}.")
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
    """Count a failure in the block for these slugs, unless all owners would fail alike."""
    try:
        yield
    except _OF_ALL:
        raise
    except GraphMemoryError as error:
        for slug in slugs or [None]:
            tally.fail(owner, slug, type(error).__name__)


async def _for_each(do: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """Return the results of calls on items, `_AT_ONCE` at a time.

    After an exception, it waits for the calls of the same group to end, and raises the first one.
    """
    results: list[R] = []
    for n in range(0, len(items), _AT_ONCE):
        for result in await asyncio.gather(
            *map(do, items[n : n + _AT_ONCE]), return_exceptions=True
        ):
            if isinstance(result, BaseException):
                raise result
            results.append(result)
    return results
