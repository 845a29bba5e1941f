"""Limits of the role `authenticated` with plain SQL."""

import contextlib
import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors as pg

from graphs.memory.principal import Principal, acting_as
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
