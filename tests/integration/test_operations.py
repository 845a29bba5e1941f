"""`graph-memory verify` finds every kind of damage, and its advice repairs it."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import psycopg
import pytest
from langgraph.store.base import IndexConfig
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from graphs.cli.main import app
from graphs.deployment.pools import open_pool
from graphs.memory.errors import AccessDenied
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.operations.checks import check_clock
from graphs.operations.connection import look_at_access
from graphs.operations.operations import Operations
from graphs.operations.results import CheckResult, worst
from tests.conftest import create_database, drop_database
from tests.support.command import Command, command_on, environment
from tests.support.pooler import Pooler
from tests.support.sql import rows

DAMAGE = {
    "tables": ("DROP TABLE memory.cognitive_metrics", "memory.cognitive_metrics is missing"),
    "columns": (
        "ALTER TABLE memory.sessions DROP COLUMN title",
        "memory.sessions.title is missing",
    ),
    "constraints": (
        "ALTER TABLE memory.memory_relationships "
        "DROP CONSTRAINT memory_relationships_strength_check",
        "memory.memory_relationships.memory_relationships_strength_check is missing",
    ),
    "indexes": ("DROP INDEX memory.memories_document", "memory.memories_document is missing"),
    "functions": (
        "ALTER FUNCTION memory.log_reads(jsonb) SECURITY INVOKER",
        "memory.log_reads(reads jsonb) is different",
    ),
    "triggers": (
        "ALTER TABLE memory.memories DISABLE TRIGGER memories_recorded",
        "memory.memories.memories_recorded is different",
    ),
    "row-level security": (
        "ALTER TABLE memory.memories DISABLE ROW LEVEL SECURITY",
        "memory.memories is different",
    ),
    "policies": (
        "DROP POLICY own_agent ON memory.memories",
        "memory.memories.own_agent is missing",
    ),
    "grants": (
        "REVOKE SELECT ON memory.organisations FROM authenticated",
        "memory.organisations to authenticated is missing",
    ),
}


def by_name(checks: list[CheckResult]) -> dict[str, CheckResult]:
    return {check.name: check for check in checks}


@pytest.fixture
async def operated(database: str, index: IndexConfig) -> AsyncIterator[MemoryManager]:
    async with MemoryManager.from_conn_string(database, index=index) as store:
        yield store


@pytest.fixture(scope="module")
def untouched(postgres: str, template: str) -> Iterator[str]:
    """Yield a database with the schema, for tests that change nothing."""
    name = create_database(postgres, template)
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


@pytest.fixture
async def intact(untouched: str, index: IndexConfig) -> AsyncIterator[MemoryManager]:
    async with MemoryManager.from_conn_string(untouched, index=index) as store:
        yield store


async def test_a_deployment_that_is_set_up_lacks_nothing_but_a_worker(
    intact: MemoryManager,
) -> None:
    checks = by_name(await Operations(intact).checks.verify())
    assert {name for name, check in checks.items() if check.status != "ok"} == {"jobs"}
    assert checks["connection"].detail == "direct"
    assert checks["embeddings"].detail == "offline:wordllama, 256 dimensions"


async def test_every_kind_of_damage_is_found_and_told(
    database: str, operated: MemoryManager
) -> None:
    for damage, _ in DAMAGE.values():
        await rows(database, damage)
    checks = by_name(await Operations(operated).checks.verify())
    for name, (_, told) in DAMAGE.items():
        assert checks[name].status == "wrong"
        assert told in checks[name].detail
        assert f"graph-memory {'indexes create' if name == 'indexes' else 'schema'}" in (
            checks[name].advice or ""
        )

    await Operations(operated).checks.apply_schema()
    left = {each.name for each in await Operations(operated).checks.differences()}
    assert left <= {
        "memory.sessions.title",
        "memory.memory_relationships.memory_relationships_strength_check",
    }


async def test_what_lets_somebody_in_beside_the_schema_is_wrong_and_an_index_of_ones_own_is_not(
    database: str, operated: MemoryManager
) -> None:
    await rows(database, "CREATE INDEX of_our_own ON memory.memories (created_at)")
    await rows(database, "CREATE POLICY everything ON memory.memories TO anon USING (true)")
    await rows(database, "GRANT SELECT ON memory.memories TO anon")
    checks = by_name(await Operations(operated).checks.verify())
    assert {checks[name].status for name in ("policies", "grants")} == {"wrong"}
    assert checks["indexes"].status == "warn"
    assert "memory.of_our_own is extra" in checks["indexes"].detail


async def test_an_index_that_was_cut_off_and_a_damaged_business_table_are_told(
    database: str, operated: MemoryManager
) -> None:
    invalid = (
        "UPDATE pg_index SET indisvalid = false "
        "WHERE indexrelid = 'memory.embeddings_vectors_1'::regclass"
    )
    await rows(database, invalid)
    await rows(database, "DROP TRIGGER leads_recorded ON public.leads")
    checks = by_name(await Operations(operated).checks.verify())
    assert checks["indexes"].detail == "memory.embeddings_vectors_1 is invalid"
    assert "indexes create" in (checks["indexes"].advice or "")
    assert checks["triggers"].detail == "public.leads.leads_recorded is missing"


async def test_looking_changes_nothing_and_does_not_wait_for_who_uses_the_memory(
    untouched: str, intact: MemoryManager
) -> None:
    """Compare tables by their names only, with no stronger lock on them than a reader's."""
    count = (
        "SELECT count(*) AS n, max(oid::bigint) AS latest FROM pg_class "
        "WHERE relnamespace = 'memory'::regnamespace"
    )
    before = await rows(untouched, count)
    async with open_pool(untouched) as pool, pool.connection() as conn, conn.transaction():
        await conn.execute("LOCK TABLE memory.memories, memory.turns IN EXCLUSIVE MODE")
        assert await Operations(intact).checks.differences() == []
    assert await rows(untouched, count) == before


async def test_an_empty_database_and_an_old_schema_are_told_apart(
    empty_database: str, database: str
) -> None:
    async with MemoryManager.from_conn_string(empty_database) as store:
        checks = by_name(await Operations(store).checks.verify())
    assert (checks["schema"].status, checks["schema"].detail) == ("wrong", "missing")
    assert "grants" not in checks

    await rows(database, "INSERT INTO memory.schema_versions (digest) VALUES ('0123456789abcdef')")
    async with MemoryManager.from_conn_string(database) as store:
        schema = by_name(await Operations(store).checks.verify())["schema"]
    assert schema.status == "wrong"
    assert "version 0123456789ab" in schema.detail


async def test_a_role_that_does_not_own_the_schema_is_told_so(
    postgres: str, untouched: str
) -> None:
    await rows(postgres, "CREATE ROLE passer_by LOGIN")
    try:
        async with MemoryManager.from_conn_string(
            make_conninfo(untouched, user="passer_by")
        ) as store:
            checks = by_name(await Operations(store).checks.verify())
    finally:
        await rows(postgres, "DROP ROLE passer_by")
    assert checks["schema"].status == checks["roles"].status == "wrong"
    assert "owns the schema" in (checks["schema"].advice or "")
    assert "we may not act as authenticated" in checks["roles"].detail


async def test_a_transaction_pooler_is_told_from_a_direct_connection(
    postgres: str, untouched: str
) -> None:
    with Pooler(postgres) as pooler:
        async with MemoryManager.from_conn_string(pooler.url_for(untouched)) as store:
            checks = by_name(await Operations(store).checks.verify())
            assert checks["connection"].detail.startswith("transaction pooler")
            assert checks["grants"].status == "ok"
    with Pooler(postgres, mode="session") as pooler:
        async with open_pool(pooler.url_for(untouched)) as pool:
            assert (await look_at_access(pool)).route == "session pooler"
        async with open_pool(pooler.url_for(untouched), max_size=1) as pool:
            assert (await look_at_access(pool, patience=0.1)).route == "pooler"


async def test_a_clock_that_is_off_is_told_by_how_much(intact: MemoryManager) -> None:
    server = await Operations(intact).checks.server()
    for ahead, status in ((0, "ok"), (5, "warn"), (-5, "warn"), (40, "wrong")):
        check = check_clock(server.model_copy(update={"ahead": timedelta(seconds=ahead)}))
        assert check.status == status
        assert (
            status == "ok"
            or f"{abs(ahead)}.00 s {'behind' if ahead > 0 else 'ahead of'}" in check.detail
        )
    slow = server.model_copy(
        update={"ahead": timedelta(seconds=5), "uncertainty": timedelta(seconds=4)}
    )
    assert check_clock(slow).status == "ok"


async def test_persons_may_not_look(intact: MemoryManager) -> None:
    with acting_as(Principal.user("00000000-0000-4000-8000-000000000009")):
        checks = Operations(intact).checks
        for look in (checks.verify, checks.differences, checks.apply_schema):
            with pytest.raises(AccessDenied, match="Only the service"):
                await look()


@pytest.fixture
def command(database: str) -> Iterator[Command]:
    with command_on(database) as command:
        yield command


def test_the_command_ends_with_1_if_something_is_wrong(command: Command, database: str) -> None:
    fine = command("verify", "--json")
    assert fine.exit_code == 0, fine.output
    assert json.loads(fine.stdout)["status"] == "warn"
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("DROP POLICY own_agent ON memory.memories")
    broken = command("verify")
    assert broken.exit_code == 1
    assert "schema apply" in " ".join(broken.stdout.split())


def test_a_database_that_cannot_be_reached_is_a_line_too() -> None:
    with environment({"DATABASE_URL": "postgresql://somebody@127.0.0.1:1/nothing"}):
        ended = CliRunner().invoke(app, ["verify", "--json"])
    told = json.loads(ended.stdout)
    assert ended.exit_code == 3
    assert [check["status"] for check in told["checks"]] == ["wrong"]
    assert "127.0.0.1" in told["checks"][0]["advice"]


def test_the_whole_is_as_its_worst_part() -> None:
    ok, warn, wrong = (
        CheckResult(name="a", status=status, detail="") for status in ("ok", "warn", "wrong")
    )
    assert (worst([ok]), worst([ok, warn]), worst([wrong, warn])) == ("ok", "warn", "wrong")
