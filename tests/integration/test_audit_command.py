"""`graph-memory audit report`, called as by an operator: it finds every opened access."""

import asyncio
import stat
from pathlib import Path
from uuid import uuid4

import pytest

from graphs.memory.errors import AccessDenied
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.operations.operations import Operations
from tests.support.operator import Operator

OPENED = {
    "memory.sessions": "ALTER TABLE memory.sessions DISABLE ROW LEVEL SECURITY",
    "memory.turns": "GRANT SELECT, TRUNCATE ON memory.turns TO authenticated",
    "memory.users": "CREATE POLICY everybody ON memory.users TO authenticated USING (true)",
    "memory.deliveries": "DROP INDEX memory.deliveries_user",
    "memory.erasures": "GRANT USAGE ON SCHEMA memory TO anon; "
    "GRANT SELECT ON memory.erasures TO anon",
    "langgraph.checkpoints": "GRANT USAGE ON SCHEMA langgraph TO authenticated;"
    "GRANT SELECT ON langgraph.checkpoints TO authenticated",
    "memory.actor()": "ALTER FUNCTION memory.actor() SECURITY DEFINER; "
    "ALTER FUNCTION memory.actor() RESET search_path",
    "public.everything": "CREATE VIEW public.everything AS SELECT * FROM memory.memories;"
    "GRANT SELECT ON public.everything TO anon",
    "public.notes": "CREATE TABLE public.notes (n int); "
    "GRANT SELECT ON public.notes TO authenticated",
    "public.read_all()": "CREATE FUNCTION public.read_all() RETURNS bigint "
    "LANGUAGE sql SECURITY DEFINER "
    "SET search_path = '' AS 'SELECT count(*) FROM memory.memories'",
}  # fmt: skip
"""Unsafe changes of a database, by the object that the report must name."""


def falsify(operate: Operator, assignment: str) -> None:
    """Change records, as only the owner of the table can."""
    operate.sql("ALTER TABLE memory.audit_logs DISABLE TRIGGER USER")
    operate.sql(f"UPDATE memory.audit_logs SET {assignment}")
    operate.sql("ALTER TABLE memory.audit_logs ENABLE TRIGGER USER")


def test_a_database_as_it_is_set_up_gives_no_finding(operate: Operator, tmp_path: Path) -> None:
    output = tmp_path / "security-audit.md"
    assert "No problems were found." in operate.done("audit", "report", "--output", str(output))
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    written = output.read_text()
    assert "| memory.memories | table | yes | 5 | agent_id, org_id, user_id |  |" in written
    report = operate.json("audit", "report")
    assert report["findings"] == []
    assert all(relation["protected"] for relation in report["relations"])
    assert not [grant for grant in report["grants"] if grant["role"] == "anon"]
    assert "memory.erase_user(subject text, elsewhere jsonb)" in {
        f"{d['schema']}.{d['name']}" for d in report["definers"]
    }


def test_what_was_opened_is_found_and_told_what_to_do_about(operate: Operator) -> None:
    for statement in OPENED.values():
        operate.sql(statement)
    findings = operate.json("audit", "report", code=1)["findings"]
    assert {finding["subject"] for finding in findings} == OPENED.keys()
    assert operate("audit", "report").exit_code == 1


def test_who_was_refused_who_read_others_and_who_was_handed_out_is_told(operate: Operator) -> None:
    ada, eve = str(uuid4()), str(uuid4())

    async def live() -> None:
        async with MemoryManager.from_conn_string(operate.database) as store:
            await store.aput(("users", ada, "facts"), "k", {"content": "a"})
            with acting_as(Principal.user(eve)):
                for _ in range(2):
                    with pytest.raises(AccessDenied):
                        await store.memories.latest(ada)
                await store.log_event(eve, "access.denied", {"count": "of her own making"})
            await store.asearch(("users",))
            with acting_as(Principal.user(ada)):
                _ = [line async for line in store.export_user(ada)]
                await store.asearch(("users", ada))
            await store.erase_user(str(uuid4()))
            await store.aput(("users", bob := str(uuid4())), "k", {"content": "a"})
            await store.asearch(("users", bob))
            await store.access.finish()

    asyncio.run(live())
    report = operate.json("audit", "report")
    assert [(denied["actor"], denied["times"]) for denied in report["denials"]] == [(eve, 2)]
    assert [(export["actor"], export["user_id"]) for export in report["exports"]] == [(ada, ada)]
    assert [erasure["actor"] for erasure in report["erasures"]] == ["service_role"]
    assert [
        (reader["actor"], reader["people"], reader["everybody"]) for reader in report["readers"]
    ] == [("service_role", 1, 1)]
    falsify(operate, "at = at - interval '8 days'")
    assert operate.json("audit", "report")["denials"] == []
    assert len(operate.json("audit", "report", "--days", "9")["denials"]) == 1


def test_a_person_who_read_others_and_a_record_that_was_changed_are_findings(
    operate: Operator,
) -> None:
    eve = str(uuid4())

    async def seal() -> None:
        async with MemoryManager.from_conn_string(operate.database) as store:
            await store.log_event("u1", "hello", {})
            await store.seal_audit()

    asyncio.run(seal())
    falsify(operate, "actor = 'nobody'")
    operate.sql(
        """INSERT INTO memory.audit_logs (actor, action, user_id, namespace)
        VALUES (%s, 'memory.read', 'u', 'users.u.')""",
        eve,
    )
    findings = operate.json("audit", "report", code=1)["findings"]
    assert {finding["subject"] for finding in findings} == {f"user {eve}", "audit_logs {[1,2)}"}
    missing = operate.json("audit", "report", "--head", "0" * 64, code=1)["findings"]
    assert "audit_seals" in {finding["subject"] for finding in missing}
    assert operate("audit", "report", "--head", "no digest").exit_code == 1
    assert operate("audit", "report", "--days", "0").exit_code == 1


def test_names_in_the_report_neither_break_its_tables_nor_are_taken_for_html(
    operate: Operator, tmp_path: Path
) -> None:
    output = tmp_path / "audit.md"
    operate.sql("""CREATE TABLE public."a|b <img src=x>\x1b[2J\n" (n int)""")
    shown = operate.done("audit", "report", "--output", str(output))
    assert "\x1b" not in shown
    assert "| public.a\\|b &lt;img src=x&gt;\ufffd[2J  | table | no |" in output.read_text()


async def test_what_is_about_everybody_is_for_the_service_alone(store: MemoryManager) -> None:
    with acting_as(Principal.user(str(uuid4()))):
        for call in (
            Operations(store).oversight.security_report(),
            Operations(store).oversight.purge_jobs(0, failed=True),
        ):
            with pytest.raises(AccessDenied, match="Only the service"):
                await call
