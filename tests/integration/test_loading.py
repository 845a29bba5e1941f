"""Loads: every profile becomes memories of the brain exactly once, whatever fails on the way."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from langgraph.store.base import IndexConfig

from graphs.deployment.pools import open_pool
from graphs.memory.brain.entities import cl_rut
from graphs.memory.brain.loading import LoadingBrain
from graphs.memory.brain.models import BrainLoad
from graphs.memory.brain.owners import Entity
from graphs.memory.brain.profiles import Profile
from graphs.memory.errors import AccessDenied, InvalidInput, StoreUnavailable
from graphs.memory.jobs.tasks import Timing
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.support import dying_loader
from tests.support.sql import rows

ANN, BOB, MEMBER, ADMINISTRATOR = (str(uuid4()) for _ in range(4))
COMPANY = "761920839"
FAST = Timing(poll=0.05, heartbeat=0.2, stalled=1.0, backoff=0, attempts=3)

MANY = """
INSERT INTO memory.users (id, display_name, profile)
SELECT gen_random_uuid()::text, 'Person ' || n,
  jsonb_build_object('city', 'City ' || n, 'address', jsonb_build_object('street', n))
FROM generate_series(1, {n}) AS n
"""


class Profiles:
    """Profiles in memory, as a CRM might return them, with a hook before each page."""

    def __init__(
        self, profiles: Sequence[Profile], before: Callable[[str], Any] = lambda _: None
    ) -> None:
        self.profiles = {profile.id: profile for profile in profiles}
        self.before = before

    async def one(self, entity: Entity, entity_id: str) -> Profile | None:
        return self.profiles.get(entity_id)

    async def after(self, entity: Entity, cursor: str, most: int) -> Sequence[Profile]:
        if awaited := self.before(cursor):
            await awaited
        return [self.profiles[id_] for id_ in sorted(self.profiles) if id_ > cursor][:most]

    async def total(self, entity: Entity) -> int:
        return len(self.profiles)


Opened = Callable[..., MemoryManager]


@pytest.fixture
async def opened(database: str, index: IndexConfig) -> AsyncIterator[Opened]:
    """Yield a function that opens service stores; companies have RUTs, and one has two members."""
    await rows(
        database,
        f"""INSERT INTO memory.organisations (id, name, profile)
        VALUES ('{COMPANY}', 'Acme', '{{"taxRegime": "14D"}}');
        INSERT INTO memory.organisation_members VALUES ('{COMPANY}', '{MEMBER}', 'member'),
        ('{COMPANY}', '{ADMINISTRATOR}', 'admin')""",
    )
    async with open_pool(database) as pool:

        def make(profiles: Any = None, timing: Timing = FAST) -> MemoryManager:
            options: Any = {
                "principal": Principal.service(),
                "entities": {"company": cl_rut},
                "timing": timing,
            }
            return MemoryManager(pool, index=index, profiles=profiles, **options)

        yield make


@pytest.fixture
async def store(opened: Opened) -> MemoryManager:
    return opened()


async def write_profile(
    database: str, user_id: str, name: str | None, profile: Mapping[str, Any]
) -> None:
    await rows(
        database,
        """INSERT INTO memory.users (id, display_name, profile) VALUES (%s, %s, %s)
        ON CONFLICT (id) DO UPDATE
        SET display_name = EXCLUDED.display_name, profile = EXCLUDED.profile""",
        user_id,
        name,
        json.dumps(profile),
    )


async def done(store: MemoryManager, load_id: UUID) -> BrainLoad:
    """Run the due jobs, and return a load."""
    await store.jobs.run_pending()
    load = await store.brain.load(load_id)
    assert load is not None
    return load


def totals(load: BrainLoad) -> tuple[int | None, int, int, int, int]:
    return load.total, load.done, load.saved, load.unchanged, load.failed


def slugs(load: BrainLoad) -> list[str | None]:
    return sorted((error.slug for error in load.errors), key=str)


async def memories(store: MemoryManager, user_id: str) -> dict[str, str]:
    return {memory.slug: memory.content async for memory in store.brain.user_memories(user_id)}


async def versions(database: str) -> tuple[int, int, int]:
    """Return the numbers of memories, old versions, and records of changes."""
    [counted] = await rows(
        database,
        """SELECT (SELECT count(*) FROM memory.memories) AS m,
          (SELECT count(*) FROM memory.memory_history) AS h,
          (SELECT count(*) FROM memory.audit_logs
           WHERE action IN ('memory.insert', 'memory.update')) AS a""",
    )
    return counted["m"], counted["h"], counted["a"]


# One, all, and again ------------------------------------------------------------------------------


async def test_the_profile_of_a_user_becomes_their_memories(
    store: MemoryManager, database: str
) -> None:
    await write_profile(
        database, ANN, "Ann Lee", {"city": "Santiago", "likes": ["tea", "robots"], "fax": None}
    )
    await write_profile(database, BOB, "Bob Ray", {"city": "Lima"})
    load_id = await store.brain.load_user(ANN)
    waiting = await store.brain.load(load_id)
    assert waiting is not None
    assert (waiting.status, waiting.done, waiting.started_at) == ("waiting", 0, None)

    load = await done(store, load_id)
    assert (load.kind, load.status, totals(load), load.errors) == (
        "user",
        "done",
        (1, 1, 3, 0, 0),
        [],
    )
    assert load.started_at is not None
    assert load.finished_at is not None
    assert load.finished_at >= load.started_at >= load.queued_at
    assert load.rate is not None
    assert await memories(store, ANN) == {
        "user_city": "Santiago",
        "user_full_name": "Ann Lee",
        "user_likes": "tea, robots",
    }
    assert await memories(store, BOB) == {}


async def test_the_profile_of_a_company_becomes_its_memories(store: MemoryManager) -> None:
    load = await done(store, await store.brain.load_company("76.192.083-9"))
    assert (load.status, totals(load)) == ("done", (1, 1, 2, 0, 0))
    found = {memory.slug: memory.content async for memory in store.brain.company_memories(COMPANY)}
    assert found == {"company_name": "Acme", "company_tax_regime": "14D"}


async def test_all_users_and_all_companies_are_loaded_in_batches(
    store: MemoryManager, database: str, record_property: Callable[[str, object], None]
) -> None:
    await rows(database, MANY.format(n=1000))
    await rows(
        database, "INSERT INTO memory.organisations (id, name) VALUES ('123456785', 'Robots')"
    )
    users = await done(store, await store.brain.load_all_users())
    assert (users.status, totals(users)) == ("done", (1000, 1000, 3000, 0, 0))
    companies = await done(store, await store.brain.load_all_companies())
    assert (companies.status, totals(companies)) == ("done", (2, 2, 3, 0, 0))
    [brain] = await rows(
        database, "SELECT count(*) AS n, count(DISTINCT user_id) AS of FROM memory.user_brain"
    )
    assert (brain["n"], brain["of"]) == (3000, 1000)

    before = await versions(database)
    again = await done(store, await store.brain.load_all_users())
    assert (again.status, totals(again)) == ("done", (1000, 1000, 0, 3000, 0))
    assert await versions(database) == before
    record_property(
        "loads", f"1,000 users: {users.rate:.0f} a second, again: {again.rate:.0f} a second"
    )


async def test_a_load_of_nobody_is_done(store: MemoryManager) -> None:
    assert totals(await done(store, await store.brain.load_all_users())) == (0, 0, 0, 0, 0)


async def test_an_entry_that_is_gone_is_forgotten_if_a_load_made_it(
    store: MemoryManager, database: str
) -> None:
    await write_profile(database, ANN, "Ann Lee", {"city": "Santiago", "dog": "Rex", "car": "none"})
    await done(store, await store.brain.load_user(ANN))
    await store.brain.save_user_memories(ANN, {"user_hobby": "Chess.", "user_car": "A red one."})
    await write_profile(database, ANN, None, {"city": "Lima", "dog": ""})
    load = await done(store, await store.brain.load_user(ANN))
    assert totals(load) == (1, 1, 1, 0, 0)
    assert await memories(store, ANN) == {
        "user_city": "Lima",
        "user_hobby": "Chess.",
        "user_car": "A red one.",
    }


# What fails ---------------------------------------------------------------------------------------


async def test_what_fails_is_told_and_stops_nobody_else(
    store: MemoryManager, database: str
) -> None:
    await write_profile(
        database, ANN, "Ann Lee", {"日本": "Kyoto", "city": "Santiago", "City": "Lima"}
    )
    await write_profile(database, ANN.upper(), "Not as Supabase writes ids", {})
    await write_profile(database, " Bob ", "Bob, twice spelled", {"dog": "Rex"})
    await write_profile(database, BOB, "Bob Ray", {"essay": "x" * 70_000})
    deep = str(uuid4())
    await write_profile(database, deep, "Deep", {})
    nested = "[" * 3000 + "]" * 3000  # in a row from before this was refused
    await rows(database, "ALTER TABLE memory.users DROP CONSTRAINT profile_readable")
    await rows(
        database,
        "UPDATE memory.users SET profile = jsonb_build_object('a', %s::jsonb) WHERE id = %s",
        nested,
        deep,
    )
    await write_profile(database, MEMBER, "Mary Kay", {"city": "Lima"})

    load = await done(store, await store.brain.load_all_users())
    assert (load.status, totals(load)) == ("done", (6, 6, 4, 0, 7))
    errors = {(error.owner, error.slug, error.error) for error in load.errors}
    assert {(owner, slug) for owner, slug, _ in errors} == {
        (ANN, "日本"),
        (ANN, "user_city"),
        (ANN.upper(), "user_full_name"),
        (" Bob ", "user_full_name"),
        (" Bob ", "user_dog"),
        (BOB, None),
        (deep, None),
    }
    assert {
        (ANN.upper(), "user_full_name", "AccessDenied"),
        (" Bob ", "user_dog", "InvalidEntityId"),
    } <= errors
    assert {
        (BOB, None, "the profile is larger than 64 KB"),
        (deep, None, "the profile is nested too deep"),
    } <= errors
    assert not [error for error in load.errors if "Kyoto" in error.error]
    assert await memories(store, MEMBER) == {"user_full_name": "Mary Kay", "user_city": "Lima"}
    assert await memories(store, "Bob") == {}


async def test_the_first_errors_are_kept_and_all_are_counted(
    store: MemoryManager, database: str
) -> None:
    await write_profile(database, ANN, None, {f"{n} 日本": "Kyoto" for n in range(50)})
    load = await done(store, await store.brain.load_user(ANN))
    assert (load.failed, len(load.errors)) == (50, 20)


async def test_a_profile_that_is_not_there_is_told_and_nothing_forgotten(
    store: MemoryManager, database: str
) -> None:
    await write_profile(database, ANN, "Ann Lee", {})
    await done(store, await store.brain.load_user(ANN))
    await rows(database, "DELETE FROM memory.users")
    load = await done(store, await store.brain.load_user(ANN))
    assert (load.status, totals(load)) == ("done", (1, 1, 0, 0, 1))
    assert [(error.owner, error.error) for error in load.errors] == [(ANN, "there is no profile")]
    assert await memories(store, ANN) == {"user_full_name": "Ann Lee"}


async def test_trouble_of_the_source_or_the_database_has_the_load_tried_again_where_it_stopped(
    opened: Opened,
) -> None:
    cursors: list[str] = []

    def before(cursor: str) -> None:
        cursors.append(cursor)
        if cursor and len(cursors) < 4:
            raise StoreUnavailable("The database is not available.")

    people = [Profile(str(uuid4()), f"Person {n}") for n in range(130)]
    store = opened(Profiles(people, before))
    load = await done(store, await store.brain.load_all_users())
    assert (load.status, totals(load)) == ("done", (130, 130, 130, 0, 0))
    assert len(cursors) == 4
    assert cursors[0] == ""
    assert set(cursors[1:]) == {sorted(person.id for person in people)[99]}


async def test_a_load_that_goes_on_failing_says_so_and_can_be_replayed(opened: Opened) -> None:
    mended = False

    def before(cursor: str) -> None:
        if not mended:
            raise StoreUnavailable("The database is not available.")

    store = opened(Profiles([Profile(ANN, "Ann Lee")], before))
    load = await done(store, await store.brain.load_all_users())
    assert (load.status, load.done) == ("failed", 0)
    mended = True
    await store.jobs.retry(load.job_id)
    load = await done(store, load.id)
    assert (load.status, totals(load)) == ("done", (1, 1, 1, 0, 0))


async def test_trouble_that_everybody_would_meet_is_counted_for_nobody(
    store: MemoryManager, database: str
) -> None:
    await write_profile(database, ANN, "Ann Lee", {})
    await rows(database, "ALTER TABLE memory.memory_embeddings RENAME TO elsewhere")
    load = await done(store, await store.brain.load_all_users())
    assert (load.status, totals(load), load.errors) == ("failed", (1, 0, 0, 0, 0), [])
    await rows(database, "ALTER TABLE memory.elsewhere RENAME TO memory_embeddings")
    await store.jobs.retry(load.job_id)
    load = await done(store, load.id)
    assert (load.status, totals(load)) == ("done", (1, 1, 1, 0, 0))


@pytest.mark.parametrize("point", dying_loader.POINTS)
async def test_a_load_killed_at_any_point_goes_on_where_it_was_and_counts_nothing_twice(
    opened: Opened, database: str, point: str
) -> None:
    store = opened()
    await rows(database, MANY.format(n=230))
    await write_profile(database, ANN, "Ann Lee", {"日本": "Kyoto"})
    load_id = await store.brain.load_all_users()
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.dying_loader", database, point
    )
    assert await asyncio.wait_for(worker.wait(), 60) == -9
    killed = await store.brain.load(load_id)
    assert killed is not None
    assert (killed.status, killed.total) == ("running", 231)
    assert killed.done == {dying_loader.POINTS[0]: 0, dying_loader.POINTS[3]: 200}.get(point, 100)

    await asyncio.sleep(FAST.stalled + 0.2)
    await store.jobs.rescue()
    load = await done(store, load_id)
    assert (load.status, totals(load), slugs(load)) == ("done", (231, 231, 691, 0, 1), ["日本"])
    assert await versions(database) == (691, 0, 691)


async def test_two_workers_that_do_the_same_load_count_it_once(opened: Opened) -> None:
    together = asyncio.Barrier(2)
    people = [Profile(str(uuid4()), f"Person {n}") for n in range(130)]
    store, other = (
        opened(Profiles(people, lambda _: asyncio.wait_for(together.wait(), 20))) for _ in range(2)
    )
    load_id = await store.brain.load_all_users()
    await asyncio.gather(*(s.brain.carry_out(str(load_id)) for s in (store, other)))
    load = await store.brain.load(load_id)
    assert load is not None
    assert totals(load) == (130, 130, 130, 0, 0)


# Stopping, and who may ----------------------------------------------------------------------------


async def test_a_cancelled_load_stops_after_its_batch(opened: Opened) -> None:
    people = [Profile(str(uuid4()), f"Person {n}") for n in range(250)]
    store: MemoryManager
    load_id: UUID

    def before(cursor: str) -> Any:
        return store.brain.cancel_load(load_id) if not cursor else None

    store = opened(Profiles(people, before))
    load_id = await store.brain.load_all_users()
    load = await done(store, load_id)
    assert (load.status, totals(load)) == ("cancelled", (250, 100, 100, 0, 0))
    assert not await store.brain.cancel_load(load_id)


async def test_a_load_that_waits_can_be_cancelled(store: MemoryManager, database: str) -> None:
    await write_profile(database, ANN, "Ann Lee", {})
    load_id = await store.brain.load_user(ANN)
    assert await store.brain.cancel_load(load_id)
    load = await store.brain.load(load_id)
    assert load is not None
    assert load.status == "cancelled"
    load = await done(store, load_id)
    assert (load.status, totals(load)) == ("cancelled", (1, 0, 0, 0, 0))
    assert await memories(store, ANN) == {}


async def test_people_load_themselves_administrators_their_company_and_the_service_everybody(
    store: MemoryManager, database: str
) -> None:
    await write_profile(database, ANN, "Ann Lee", {"日本": "Kyoto"})
    own: dict[str, Callable[[LoadingBrain], Any]] = {
        ANN: lambda brain: brain.load_user(ANN),
        ADMINISTRATOR: lambda brain: brain.load_company(COMPANY),
    }
    loads = {}
    for who, load in own.items():
        with acting_as(Principal.user(who)):
            loads[who] = await load(store.brain)
    await store.jobs.run_pending()
    everybody = await store.brain.load_all_users()
    for who in (ANN, BOB, MEMBER, ADMINISTRATOR):
        with acting_as(Principal.user(who)):
            for load in (own[ANN], own[ADMINISTRATOR], *_LOADS_OF_ALL):
                if load is not own.get(who):
                    with pytest.raises(AccessDenied):
                        await load(store.brain)
            assert [load.id for load in await store.brain.loads()] == (
                [loads[who]] if who in own else []
            )
            for load_id in {everybody, *loads.values()} - {loads.get(who)}:
                assert await store.brain.load(load_id) is None
                assert not await store.brain.cancel_load(load_id)
    with acting_as(Principal.user(ANN)):
        seen = await store.brain.load(loads[ANN])
        assert seen is not None
        assert (seen.status, slugs(seen)) == ("done", ["日本"])
    assert [load.id for load in await store.brain.loads(limit=2)] == [
        everybody,
        loads[ADMINISTRATOR],
    ]
    with pytest.raises(InvalidInput):
        await store.brain.load("no id")


_LOADS_OF_ALL: tuple[Callable[[LoadingBrain], Any], ...] = (
    lambda brain: brain.load_all_users(),
    lambda brain: brain.load_all_companies(),
)


async def test_jobs_say_whom_a_load_is_about_and_nothing_else(
    store: MemoryManager, database: str
) -> None:
    await write_profile(database, ANN, "Ann Lee", {"city": "Santiago"})
    loads = [
        await store.brain.load_user(ANN),
        await store.brain.load_company(COMPANY),
        await store.brain.load_all_users(),
    ]
    args = [job.args for job in await store.jobs.list(task="load_brain")]
    assert args[::-1] == [
        {"load_id": str(loads[0]), "user_id": ANN},
        *({"load_id": str(id_)} for id_ in loads[1:]),
    ]


async def test_a_person_who_is_erased_amid_a_load_is_nowhere_in_it(
    opened: Opened, database: str
) -> None:
    people = sorted(
        (Profile(str(uuid4()), "Ann Lee", {"日本": "Kyoto"}) for _ in range(130)),
        key=lambda p: p.id,
    )
    erased = people[99]
    left: list[Any] = []

    async def erase(cursor: str) -> None:
        if cursor == erased.id:
            del source.profiles[erased.id]
            await store.erase_user(erased.id)
            for table in ("brain_loads", "brain_load_errors"):
                left.extend(
                    await rows(
                        database,
                        f"SELECT 1 FROM memory.{table} AS t WHERE t::text LIKE %s",
                        f"%{erased.id}%",
                    )
                )

    source = Profiles(people, erase)
    store = opened(source)
    load = await done(store, await store.brain.load_all_users())
    assert (load.status, totals(load)) == ("done", (129, 129, 129, 0, 129))
    assert left == []
    assert len(load.errors) == 20
    assert erased.id not in {error.owner for error in load.errors}


async def test_the_totals_of_a_load_that_is_done_outlast_everybody_in_it(
    store: MemoryManager, database: str
) -> None:
    await write_profile(database, ANN, "Ann Lee", {})
    load = await done(store, await store.brain.load_all_users())
    assert (
        await rows(
            database, "SELECT 1 FROM memory.brain_loads AS l WHERE strpos(l::text, %s) > 0", ANN
        )
        == []
    )
    await store.erase_user(ANN)
    kept = await store.brain.load(load.id)
    assert kept is not None
    assert totals(kept) == totals(load) == (1, 1, 1, 0, 0)


async def test_old_loads_go_when_new_ones_are_queued(store: MemoryManager, database: str) -> None:
    old = await store.brain.load_user(ANN)
    await rows(database, "UPDATE memory.brain_loads SET queued_at = now() - interval '31 days'")
    new = await store.brain.load_user(ANN)
    assert [load.id for load in await store.brain.loads()] == [new]
    assert (await done(store, new)).done == 1
    assert await store.brain.load(old) is None
