"""`graph-memory rls`: why a row is hidden, and whether row-level security holds."""

import json
from uuid import uuid4

import pytest

from graphs.memory.errors import AccessDenied
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.operations.operations import Operations
from tests.support.command import command_on
from tests.support.sql import rows

ADA, BOB = str(uuid4()), str(uuid4())


async def test_each_reason_for_which_a_row_is_hidden_is_told(database: str) -> None:
    await rows(
        database,
        "INSERT INTO memory.organisations (id, name) VALUES ('acme', 'Acme'), ('other', 'Other')",
    )
    await rows(
        database,
        "INSERT INTO memory.organisation_members (organisation_id, user_id) VALUES ('acme', %s)",
        ADA,
    )
    hers, kept = ("users", ADA, "facts"), ("users", ADA, "agent:sales")
    async with MemoryManager.from_conn_string(database) as store:
        for owner in (
            hers,
            kept,
            ("orgs", "acme"),
            ("orgs", "other"),
            ("agents", "sales"),
            ("system", "all"),
        ):
            await store.aput(owner, "k", {"n": 1}, index=False)
        cases: list[tuple[str, tuple[str, ...], str | None, bool, str]] = [
            (ADA, hers, None, True, "policy readable"),
            (BOB, hers, None, False, f"belongs to the user {ADA}, and the claim `sub` is {BOB}"),
            (ADA, kept, None, True, "policy readable"),
            (ADA, kept, "sales", True, "policy readable"),
            (ADA, kept, "financing", False, "policy own_agent denies access"),
            (ADA, ("orgs", "acme"), None, True, "policy readable"),
            (
                ADA,
                ("orgs", "other"),
                None,
                False,
                "belongs to the organisation other, and the user's are acme",
            ),
            (BOB, ("agents", "sales"), None, True, "policy readable"),
            (ADA, ("system", "all"), None, False, "only the service reads it"),
            (ADA, (*hers, "gone"), None, False, "There is no such item"),
        ]
        for user, at, agent, visible, because in cases:
            told = await Operations(store).checks.explain_access(user, at, "k", agent=agent)
            assert (told.visible, because in told.because) == (visible, True), told.because
            with acting_as(Principal.user(user).through(agent)):
                assert (await store.aget(at, "k") is not None) == visible
        assert "value" not in (told.item or {})
        assert {p.name: p.holds for p in told.policies} == {"readable": None, "own_agent": None}

        await rows(
            database,
            "UPDATE memory.memories SET expires_at = now() WHERE namespace = %s",
            f"users.{ADA}.facts.",
        )
        assert (
            "has expired" in (await Operations(store).checks.explain_access(ADA, hers, "k")).because
        )
        await rows(database, "ALTER TABLE memory.memories DISABLE ROW LEVEL SECURITY")
        assert (
            "Row-level security is off"
            in (await Operations(store).checks.explain_access(BOB, hers, "k")).because
        )
        await rows(database, "REVOKE SELECT ON memory.memories FROM authenticated")
        assert (
            "may not read memory.memories"
            in (await Operations(store).checks.explain_access(ADA, hers, "k")).because
        )
        with acting_as(Principal.user(BOB)), pytest.raises(AccessDenied):
            await Operations(store).checks.explain_access(ADA, hers, "k")
        with acting_as(Principal.user(BOB)), pytest.raises(AccessDenied):
            await Operations(store).checks.try_borders(ADA)


async def test_the_borders_hold_and_trying_them_leaves_nothing(database: str) -> None:
    everything = (
        "SELECT (SELECT count(*) FROM memory.memories) "
        "+ (SELECT count(*) FROM memory.audit_logs) AS n"
    )
    async with MemoryManager.from_conn_string(database) as store:
        attempts = await Operations(store).checks.try_borders(ADA)
    assert [a for a in attempts if not a.holds] == []
    assert {a.found for a in attempts} == {"done", "nothing", "refused"}
    assert (await rows(database, everything))[0]["n"] == 0


async def test_a_border_that_is_open_is_found(database: str) -> None:
    for damage in (
        "CREATE POLICY open ON memory.memories FOR SELECT TO authenticated USING (true)",
        "GRANT INSERT ON memory.audit_logs TO authenticated",
        "ALTER TABLE memory.audit_logs DISABLE ROW LEVEL SECURITY",
        "DROP POLICY own_agent ON memory.memories",
    ):
        await rows(database, damage)
    async with MemoryManager.from_conn_string(database) as store:
        broken = {
            a.what: a.found for a in await Operations(store).checks.try_borders(ADA) if not a.holds
        }
    assert broken == {
        "read another user's memory": "done",
        "read another agent's memory of them, through an agent": "done",
        "read a memory of another organisation": "done",
        "forge an audit record": "done",
    }


def test_the_commands_end_with_1_where_something_is_hidden_or_open(database: str) -> None:
    with command_on(database) as command:
        hidden = command("rls", "debug", "--user-id", ADA, f"users.{BOB}.facts", "k", "--json")
        assert (hidden.exit_code, json.loads(hidden.stdout)["visible"]) == (1, False)
        tried = command("rls", "test", "--user-id", ADA)
        assert tried.exit_code == 0, tried.output
        assert "forge an audit record" in tried.stdout
        assert command("rls", "test", "--user-id", "nobody").exit_code == 2
