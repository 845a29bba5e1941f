"""Limits of the role `authenticated` with plain SQL."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors as pg

from graphs.memory.principal import Principal
from graphs.memory_manager import MemoryManager
from tests.support.sql import rows

ALICE, BOB = str(uuid4()), str(uuid4())


BECOME = (
    "SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)"
)


async def as_user(
    database: str, user_id: str, statement: str, parameters: dict[str, Any] | None = None
) -> None:
    """Run a statement as PostgREST would for a signed-in user."""
    async with await psycopg.AsyncConnection.connect(database) as conn:
        await conn.execute(BECOME, (Principal.user(user_id).claims,))
        await conn.execute(statement, parameters)


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
