"""Limits of the role `authenticated` with plain SQL."""

import contextlib
import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors as pg

from graphs.memory.principal import Principal, acting_as
from graphs.memory.search.recalled import Found, recalled
from graphs.memory_manager import MemoryManager
from tests.support.sql import rows

ALICE, BOB = str(uuid4()), str(uuid4())


BECOME = (
    "SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)"
)


async def as_user(
    database: str,
    user_id: str,
    statement: str,
    parameters: dict[str, Any] | None = None,
    **claims: str,
) -> list[Any]:
    """Run a statement as PostgREST would for a signed-in user, and return its rows."""
    told = json.dumps(json.loads(Principal.user(user_id).claims) | claims)
    async with await psycopg.AsyncConnection.connect(database) as conn:
        await conn.execute(BECOME, (told,))
        cursor = await conn.execute(statement, parameters)
        return await cursor.fetchall() if cursor.description else []


@pytest.fixture
async def alices(store: MemoryManager, database: str) -> dict[str, Any]:
    """Return the row of a memory of Alice; Bob has a session of his own."""
    await store.aput(
        ("users", ALICE, "facts"), "k", {"content": "My secret is swordfish."}, index=False
    )
    await rows(database, "INSERT INTO memory.sessions (user_id, id) VALUES (%s, 's1')", BOB)
    return (await rows(database, "SELECT * FROM memory.memories"))[0]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO memory.user_brain (user_id, slug, memory_id) "
        "VALUES (%(bob)s, 's', %(memory)s)",
        "INSERT INTO memory.goal_assessments (user_id, memory_id) VALUES (%(bob)s, %(memory)s)",
        "INSERT INTO memory.belief_graphs (user_id, memory_id) VALUES (%(bob)s, %(memory)s)",
        """INSERT INTO memory.memory_relationships (user_id, source_id, target_id, type)
        VALUES (%(bob)s, %(memory)s, %(memory)s, 't')""",
        """INSERT INTO memory.turns (user_id, session_id, exchange, role, namespace, key)
        VALUES (%(bob)s, 's1', 'm', 'user', %(namespace)s, 'k')""",
    ],
)
async def test_no_row_can_point_at_anothers_memory_or_tell_whether_it_exists(
    database: str, alices: dict[str, Any], statement: str
) -> None:
    for memory, namespace in ((alices["id"], alices["namespace"]), (10**9, "users.nobody.")):
        with pytest.raises(pg.InsufficientPrivilege, match="row-level security"):
            await as_user(
                database, BOB, statement, {"bob": BOB, "memory": memory, "namespace": namespace}
            )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE memory.memories SET key = 'other'",
        "UPDATE memory.memories SET namespace = 'users.x.'",
        "UPDATE memory.memories SET updated_at = '2001-01-01'",
        "UPDATE memory.memories SET run_id = 'forged'",
        "INSERT INTO memory.memories (namespace, key, value, run_id) "
        "VALUES ('users.x.', 'k', '{}', 'forged')",
        "INSERT INTO memory.audit_logs (actor, action) VALUES ('me', 'memory.insert')",
        "UPDATE memory.audit_logs SET action = 'x'",
        "DELETE FROM memory.audit_logs",
        "DELETE FROM memory.memory_history",
        "UPDATE memory.memory_logs SET agent = 'x'",
        "UPDATE public.applications SET status = 'approved'",
        "INSERT INTO public.applications (user_id, amount, term_months, score) "
        "VALUES ('x', 1, 1, 99)",
        "SELECT * FROM langgraph.checkpoints",
        "SELECT memory.log_event(NULL, 'memory.delete', '{}', NULL)",
    ],
)
async def test_provenance_audit_and_decisions_are_not_for_the_user_to_write(
    database: str, alices: dict[str, Any], statement: str
) -> None:
    with pytest.raises(pg.InsufficientPrivilege):
        await as_user(database, ALICE, statement)


async def test_a_rewritten_value_is_stamped_by_the_database(
    database: str, alices: dict[str, Any]
) -> None:
    await as_user(database, ALICE, "UPDATE memory.memories SET value = '{}'")
    changed = (await rows(database, "SELECT * FROM memory.memories"))[0]
    assert changed["updated_at"] > alices["updated_at"]
    assert changed["created_at"] == alices["created_at"]
    actions = await rows(database, "SELECT action, actor FROM memory.audit_logs ORDER BY id")
    assert [(a["action"], a["actor"]) for a in actions][-1] == ("memory.update", ALICE)


# Organisations ------------------------------------------------------------------------------------

BOSS, MEMBER, GUEST = str(uuid4()), str(uuid4()), str(uuid4())
NOTES = ("orgs", "acme", "notes")
_PUT = "INSERT INTO memory.memories (namespace, key, value) VALUES ('orgs.acme.notes.', %s, '{}')"
INVITE = f"""INSERT INTO memory.organisation_members (organisation_id, user_id)
  VALUES ('acme', '{GUEST}')"""
MINE = "SELECT organisation_id, name, role, accepted_at IS NOT NULL FROM memory.memberships()"


@pytest.fixture
async def acme(store: MemoryManager, database: str) -> MemoryManager:
    """Return a store with an organisation: Boss administers it, Member belongs to it."""
    await rows(
        database,
        f"""INSERT INTO memory.organisations (id, name) VALUES ('acme', 'Acme');
        INSERT INTO memory.organisation_members (organisation_id, user_id, role)
        VALUES ('acme', '{BOSS}', 'admin'), ('acme', '{MEMBER}', 'member')""",
    )
    await store.aput(NOTES, "plan", {"content": "Build robots."}, index=False)
    return store


async def test_an_invitation_gives_nothing_until_the_person_accepts_it(
    acme: MemoryManager, database: str
) -> None:
    await as_user(database, BOSS, INVITE)
    assert await as_user(database, GUEST, MINE) == [("acme", "Acme", "member", False)]
    assert await as_user(database, GUEST, "SELECT memory.my_organisations()") == []
    for table in ("memories", "organisations", "memory_history", "audit_logs"):
        assert await as_user(database, GUEST, f"SELECT 1 FROM memory.{table}") == []
    with pytest.raises(pg.InsufficientPrivilege):
        await as_user(database, GUEST, _PUT.replace("%s", "'planted'"))
    with acting_as(Principal.service()):
        assert await acme.brain.companies_of(GUEST) == []

    assert await as_user(database, GUEST, "SELECT memory.accept_membership('acme')") == [(True,)]
    assert await as_user(database, GUEST, MINE) == [("acme", "Acme", "member", True)]
    with acting_as(Principal.user(GUEST)):
        assert await acme.aget(NOTES, "plan")
        assert await acme.brain.companies_of(GUEST) == ["acme"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE memory.organisation_members SET accepted_at = now()",
        "UPDATE memory.organisation_members SET role = 'admin', accepted_at = now() "
        f"WHERE user_id = '{GUEST}'",
        "INSERT INTO memory.organisation_members (organisation_id, user_id, accepted_at) "
        f"VALUES ('acme', '{GUEST}', now()) ON CONFLICT (organisation_id, user_id) "
        "DO UPDATE SET accepted_at = EXCLUDED.accepted_at",
        f"SELECT memory.accept_membership('acme', '{GUEST}')",
        f"UPDATE memory.organisation_members SET user_id = '{GUEST}' WHERE user_id = '{MEMBER}'",
    ],
    ids=["all", "one", "upsert", "call", "another person"],
)
async def test_no_administrator_accepts_for_another(
    acme: MemoryManager, database: str, statement: str
) -> None:
    await as_user(database, BOSS, INVITE)
    with contextlib.suppress(pg.InsufficientPrivilege):
        await as_user(database, BOSS, statement)
    assert await as_user(database, GUEST, "SELECT memory.my_organisations()") == []
    assert await as_user(database, MEMBER, MINE) == [("acme", "Acme", "member", True)], (
        "who has accepted stays what they are"
    )


async def test_everybody_may_leave_or_decline_and_removes_nobody_else(
    acme: MemoryManager, database: str
) -> None:
    await as_user(database, BOSS, INVITE)
    leave = "SELECT memory.leave_organisation('acme')"
    assert await as_user(database, GUEST, leave) == [(True,)]
    assert await as_user(database, GUEST, leave) == [(False,)]
    await as_user(database, MEMBER, "DELETE FROM memory.organisation_members")
    left = await rows(database, "SELECT user_id FROM memory.organisation_members")
    assert [row["user_id"] for row in left] == [BOSS]
    assert await as_user(database, BOSS, leave) == [(True,)], "an administrator, too"
    assert await as_user(database, MEMBER, "SELECT 1 FROM memory.memories") == []


async def test_an_agent_accepts_nothing_for_its_person(acme: MemoryManager, database: str) -> None:
    await as_user(database, BOSS, INVITE)
    with pytest.raises(pg.InsufficientPrivilege, match="one of their agents"):
        await as_user(database, GUEST, "SELECT memory.accept_membership('acme')", agent="sales")


SOON = "now() + interval '1 millisecond'"
ITEM = "namespace = 'orgs.acme.notes.' AND key = 'plan'"


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE memory.memories SET expires_at = {SOON}",
        "UPDATE memory.memories SET expires_at = '-infinity', ttl_minutes = 0.001",
        f"UPDATE memory.memories SET value = '{{}}', expires_at = {SOON}",
        "INSERT INTO memory.memories (namespace, key, value, expires_at) "
        f"VALUES ('orgs.acme.notes.', 'plan', '{{}}', {SOON}) ON CONFLICT (namespace, key) "
        "DO UPDATE SET value = EXCLUDED.value, expires_at = EXCLUDED.expires_at",
        "DELETE FROM memory.memories",
        "DELETE FROM memory.company_brain",
    ],
)
@pytest.mark.parametrize("lives", [None, 60.0])
async def test_no_member_ends_the_life_of_an_organisations_memory(
    acme: MemoryManager, database: str, statement: str, lives: float | None
) -> None:
    """Their own writes of other values stay allowed, and so does a longer life."""
    await acme.brain.save_company_memories("acme", {"plan": "Build robots."})
    await acme.aput(NOTES, "plan", {"content": "Build."}, index=False, ttl=lives)
    before = await rows(database, f"SELECT expires_at FROM memory.memories WHERE {ITEM}")
    with contextlib.suppress(pg.InsufficientPrivilege):
        await as_user(database, MEMBER, statement)
    assert await rows(database, f"SELECT expires_at FROM memory.memories WHERE {ITEM}") == before
    with acting_as(Principal.user(BOSS)):
        assert await acme.brain.get_company_memory("acme", "plan")
    await as_user(database, MEMBER, "UPDATE memory.memories SET expires_at = NULL")
    with acting_as(Principal.user(MEMBER)):
        await acme.aput(NOTES, "plan", {"content": "Stop."}, index=False, ttl=0.00001)
    with acting_as(Principal.user(BOSS)):
        item = await acme.aget(NOTES, "plan")
        assert item
        assert item.value == {"content": "Stop."}


async def test_a_reader_never_shortens_a_life_by_refreshing_it(
    acme: MemoryManager, database: str
) -> None:
    await acme.aput(NOTES, "plan", {"content": "Build."}, index=False, ttl=0.1)
    life = "UPDATE memory.memories SET expires_at = now() + interval '1 second' * %s"
    await rows(database, life, 5)
    with acting_as(Principal.user(MEMBER)):
        await acme.aget(NOTES, "plan")
    left = "SELECT expires_at - now() > interval '5 seconds' AS longer FROM memory.memories"
    assert await rows(database, left) == [{"longer": True}], "what is near its end is prolonged"
    await as_user(database, BOSS, "UPDATE memory.memories SET ttl_minutes = 0.00001")
    with acting_as(Principal.user(MEMBER)):
        await acme.aget(NOTES, "plan")
    assert await rows(database, left) == [{"longer": True}]


async def test_the_audit_log_names_who_let_a_memory_expire(
    acme: MemoryManager, database: str
) -> None:
    with acting_as(Principal.user(BOSS)):
        await acme.aput(NOTES, "put", {"content": "Build."}, index=False, ttl=0.00001)
    await as_user(
        database, BOSS, f"UPDATE memory.memories SET expires_at = {SOON} WHERE key = 'plan'"
    )
    while await acme.sweep_ttl() + len(await rows(database, "SELECT FROM memory.memories")):
        pass
    records = await rows(
        database,
        "SELECT actor, key, array_agg(k) AS told FROM memory.audit_logs, "
        "jsonb_object_keys(data) AS k WHERE starts_with(action, 'memory.') GROUP BY id ORDER BY id",
    )
    told = [(r["actor"], r["key"], *r["told"]) for r in records]
    assert sorted(told) == sorted(
        [
            (BOSS, "put", "expires_at"),
            (BOSS, "plan", "expires_at"),
            ("service_role", "put", "expired_at"),
            ("service_role", "plan", "expired_at"),
        ]
    )


# JSON that Postgres holds and a reader cannot -----------------------------------------------------

UNREADABLE = {
    "many digits": '{"n": 1e5000}',
    "many digits below zero": '{"a": [{"n": -1e5000}]}',
    "deep objects": '{"a": ' * 1500 + "1" + "}" * 1500,
    "deep lists": '{"a": ' + "[" * 5000 + "]" * 5000 + "}",
}


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
async def test_json_that_no_reader_can_hold_is_refused_wherever_people_write_it(
    acme: MemoryManager, database: str, value: str
) -> None:
    given = {"value": value, "me": MEMBER}
    for statement in (
        "INSERT INTO memory.memories (namespace, key, value) "
        "VALUES ('orgs.acme.notes.', 'bad', %(value)s)",
        "UPDATE memory.memories SET value = %(value)s",
        "INSERT INTO memory.users (id, profile) VALUES (%(me)s, %(value)s)",
        "INSERT INTO memory.sessions (user_id, id, metadata) VALUES (%(me)s, 's', %(value)s)",
        "SELECT memory.log_event(%(me)s, 'noted', %(value)s, NULL)",
        "INSERT INTO memory.memory_relationships (org_id, source_id, target_id, type, metadata) "
        "SELECT 'acme', id, id, 't', %(value)s FROM memory.memories",
    ):
        with pytest.raises((pg.CheckViolation, pg.InvalidParameterValue)):
            await as_user(database, MEMBER, statement, given)


async def test_what_is_unreadable_from_before_ends_no_ones_reading(
    acme: MemoryManager, database: str
) -> None:
    await rows(database, "ALTER TABLE memory.memories DROP CONSTRAINT value_readable")
    for name, value in UNREADABLE.items():
        put = "INSERT INTO memory.memories (namespace, key, value) VALUES (%s, %s, %s)"
        await rows(database, put, "orgs.acme.notes.", name, value)
    with acting_as(Principal.user(BOSS)):
        found = {item.key: item.value for item in await acme.asearch(NOTES)}
        assert found["plan"] == {"content": "Build robots."}
        assert found["many digits"] == {"n": None}
        assert found["many digits below zero"] == {"a": [{"n": None}]}
        assert found["deep lists"] == found["deep objects"] == {}
        for name in UNREADABLE:
            assert await acme.aget(NOTES, name)
            await acme.adelete(NOTES, name)
        assert len(await acme.asearch(NOTES)) == 1


@pytest.mark.parametrize("life", ["NaN", "Infinity", "1e300", "-1"])
async def test_a_life_that_cannot_be_computed_is_refused(
    acme: MemoryManager, database: str, life: str
) -> None:
    with pytest.raises(pg.CheckViolation):
        await as_user(
            database,
            MEMBER,
            "INSERT INTO memory.memories (namespace, key, value, ttl_minutes, expires_at) VALUES "
            f"('orgs.acme.notes.', 'k', '{{}}', '{life}', now() + interval '1 day')",
        )


ODD = (
    {"type": 5, "content": 5, "tags": 5, "metadata": 5, "importance": "x", "timestamp": 5},
    {"type": "fact", "content": None, "tags": [[], 5], "metadata": [], "timestamp": "yesterday"},
    {"type": "fact", "content": {"a": 1}, "session_id": [], "agent": {}, "pinned": "x"},
    {"type": "fact", "content": "x", "importance": 1e300, "timestamp": "9999-99-99T00:00:00Z"},
)


async def test_odd_values_and_addresses_of_a_member_end_no_ones_reading(
    acme: MemoryManager, database: str
) -> None:
    places = ("notes.", "brain.", "", ".", "%.", "%ff.", "a\\b\n.")
    for n, value in enumerate(ODD):
        for place in places:
            await as_user(
                database,
                MEMBER,
                "INSERT INTO memory.memories (namespace, key, value, expires_at) "
                "VALUES (%(namespace)s, %(key)s, %(value)s, 'infinity')",
                {"namespace": f"orgs.acme.{place}", "key": f"k{n}", "value": json.dumps(value)},
            )
    await as_user(
        database,
        MEMBER,
        "INSERT INTO memory.company_brain (org_id, slug, memory_id) "
        "SELECT org_id, key, id FROM memory.memories WHERE namespace = 'orgs.acme.brain.'",
    )
    with acting_as(Principal.user(BOSS)):
        found = await acme.asearch(("orgs", "acme"), limit=100)
        assert len(found) == 1 + len(places) * len(ODD)
        assert len(recalled(Found(found))) == len(found)
        await acme.asearch(("orgs", "acme"), query="robots")
        assert len(await acme.alist_namespaces(prefix=("orgs", "acme"))) == len(places)
        assert await acme.aget(NOTES, "k0")
        assert len([m async for m in acme.brain.company_memories("acme")]) == len(ODD)


# Upserts ------------------------------------------------------------------------------------------


def upsert(**row: Any) -> tuple[str, dict[str, Any]]:
    """Return what PostgREST makes of `upsert(row)`: it sets every column that it is sent."""
    names, sent = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    sets = ", ".join(f"{name} = EXCLUDED.{name}" for name in row)
    return (
        f"INSERT INTO memory.memories ({names}) VALUES ({sent}) "
        f"ON CONFLICT (namespace, key) DO UPDATE SET {sets} RETURNING value, position",
        row,
    )


async def test_an_upsert_of_ones_own_memory_makes_it_and_then_changes_it(
    store: MemoryManager, database: str
) -> None:
    address = {"namespace": f"users.{ALICE}.facts.", "key": "tea"}
    for content in ("Likes tea.", "Likes coffee."):
        value = json.dumps({"content": content})
        sent = {"value": value, "position": 7 if content == "Likes tea." else 9}
        stored = await as_user(database, ALICE, *upsert(**address, **sent, ttl_minutes=60))
        assert stored == [({"content": content}, 7)], "its place stays"
    [record] = await rows(database, "SELECT value ->> 'content' AS was FROM memory.memory_history")
    assert record == {"was": "Likes tea."}
    with acting_as(Principal.user(ALICE)):
        item = await store.aget(("users", ALICE, "facts"), "tea")
        assert item is not None
        assert item.value == {"content": "Likes coffee."}


async def test_an_upsert_of_an_organisations_memory_is_its_members_alone(
    acme: MemoryManager, database: str
) -> None:
    sent = upsert(namespace="orgs.acme.notes.", key="plan", value='{"content": "Stop."}')
    assert len(await as_user(database, MEMBER, *sent)) == 1
    with pytest.raises(pg.InsufficientPrivilege):
        await as_user(database, ALICE, *sent)


@pytest.mark.parametrize(
    "change",
    [
        "namespace = 'users.%(alice)s.other.'",
        "namespace = 'orgs.acme.plans.'",
        "namespace = 'agents.sales.'",
        "key = 'other'",
        "namespace = namespace || 'a.', key = 'other', value = '{}'",
    ],
)
async def test_no_update_moves_a_memory(
    acme: MemoryManager, database: str, alices: dict[str, Any], change: str
) -> None:
    """Nor could a member hide an organisation's memory, or give away a memory of their own."""
    statement = f"UPDATE memory.memories SET {change}".replace("%(alice)s", ALICE)
    for user_id in (ALICE, MEMBER):
        with pytest.raises(pg.InsufficientPrivilege):
            await as_user(database, user_id, statement)
