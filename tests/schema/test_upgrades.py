"""Databases get the steps that they lack, despite kills and races, and keep their data."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.store.base import IndexConfig
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.pools import open_pool
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.database import objects, schema
from graphs.memory.database.objects import Objects
from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.schema import AS_IT_IS, Choice, Scripts, read_scripts
from graphs.memory.errors import ConfigurationError, SchemaNotApplied, SchemaTooNew, SchemaTooOld
from graphs.memory_manager import MemoryManager
from graphs.operations.operations import Operations
from tests.conftest import create_database, drop_database
from tests.integration.test_memory import turn
from tests.support.dying_setup import begin, ended
from tests.support.past import make_baseline, use_offline_model, with_steps
from tests.support.sql import rows

NEWEST = read_scripts().newest
USER = "a0000000-0000-4000-8000-00000000000a"
FACTS = ("users", USER, "facts")
SAID: Any = {"session_id": "s1", "agent": "assistant"}

THIRD = "CREATE TABLE memory.third (); ALTER TABLE memory.users ADD COLUMN third int"
FOURTH = "CREATE TABLE memory.fourth (); ALTER TABLE memory.users ADD COLUMN fourth int"
NAMES = {NEWEST + 1: "third", NEWEST + 2: "fourth"}


@pytest.fixture(scope="module")
def baseline_template(postgres: str) -> Iterator[str]:
    """Name of a database as the last version without steps made it, to be cloned."""
    name = create_database(postgres, "template0")
    asyncio.run(make_baseline(make_conninfo(postgres, dbname=name)))
    yield name
    drop_database(postgres, name)


@pytest.fixture
def baseline(postgres: str, baseline_template: str) -> Iterator[str]:
    name = create_database(postgres, baseline_template)
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


@asynccontextmanager
async def connected(database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(
        database, autocommit=True, row_factory=dict_row
    ) as conn:
        yield conn


async def apply(
    database: str, scripts: Scripts, *, again: bool = False, choice: Choice = AS_IT_IS
) -> bool:
    async with connected(database) as conn:
        return await schema.apply(conn, scripts, again=again, choice=choice)


async def noted(database: str) -> list[int | None]:
    found = await rows(
        database,
        "SELECT (to_jsonb(v) ->> 'step')::int AS step FROM memory.schema_versions AS v ORDER BY id",
    )
    return [row["step"] for row in found]


async def objects_of(database: str) -> Objects:
    async with connected(database) as conn, conn.transaction(force_rollback=True):
        return await objects.read(conn)


async def made_by_steps(database: str) -> set[str]:
    """Which of this module's steps left something, and that each did so as a whole."""
    there = {name for _, name in await objects_of(database)}
    for name in NAMES.values():
        assert (f"memory.{name}" in there) == (f"memory.users.{name}" in there)
    return {name for name in NAMES.values() if f"memory.{name}" in there}


# Where a database is ------------------------------------------------------------------------------


async def test_a_new_database_is_at_the_newest_step(empty_database: str) -> None:
    assert await apply(empty_database, read_scripts())
    assert await noted(empty_database) == [NEWEST]
    assert not await apply(empty_database, read_scripts())


async def test_a_database_from_before_there_were_steps_becomes_as_a_new_one(
    baseline: str, empty_database: str
) -> None:
    assert await apply(baseline, read_scripts())
    assert await noted(baseline) == [None, *range(2, NEWEST + 1), NEWEST]
    assert not await apply(baseline, read_scripts())
    await apply(empty_database, read_scripts())
    assert await objects_of(baseline) == await objects_of(empty_database)


async def test_steps_alone_bring_the_functions_and_policies_of_the_newest(
    baseline: str, empty_database: str
) -> None:
    scripts = read_scripts()
    async with connected(baseline) as conn, conn.transaction():
        for step in scripts.steps[1:]:
            await schema.take_step(conn, step, [])
    await apply(empty_database, scripts)
    assert await objects_of(baseline) == await objects_of(empty_database)


async def test_business_tables_do_not_tell_how_old_a_database_is(baseline: str) -> None:
    await rows(baseline, "DROP TABLE public.leads; CREATE TABLE public.orders (id int)")
    await rows(baseline, "CREATE INDEX of_our_own ON memory.memories (created_at)")
    assert await apply(baseline, read_scripts())
    assert await rows(baseline, "SELECT 1 FROM public.leads") == []


OLDER = {
    "DROP TABLE memory.shadow_comparisons": "table memory.shadow_comparisons",
    "ALTER TABLE memory.turns DROP COLUMN extracted_at": "column memory.turns.extracted_at",
    "DROP FUNCTION memory.log_reads(jsonb)": "function memory.log_reads(reads jsonb)",
    "DROP POLICY own ON memory.files": "policy memory.files.own",
    "DROP TABLE memory.schema_versions": "table memory.schema_versions",
}


@pytest.mark.parametrize("difference", OLDER)
async def test_an_older_database_is_refused_with_the_way_out(
    baseline: str, index: IndexConfig, difference: str
) -> None:
    await rows(baseline, difference)
    before = await objects_of(baseline)
    async with MemoryManager.from_conn_string(baseline, index=index) as store:
        for act in (store.setup, Operations(store).checks.apply_schema):
            with pytest.raises(SchemaTooOld) as refused:
                await act()
    assert OLDER[difference] in refused.value.missing
    assert isinstance(refused.value, ConfigurationError)
    for word in ("graph-memory backup", "export-user", "new database", "graph-memory restore"):
        assert word in str(refused.value)
    assert "setup" not in str(refused.value)
    assert await objects_of(baseline) == before


async def test_code_that_is_older_than_the_database_refuses_before_it_changes_anything(
    database: str,
) -> None:
    await rows(database, "INSERT INTO memory.schema_versions (digest, step) VALUES ('newer', 99)")
    await rows(database, "DROP INDEX memory.turns_age")
    before, versions = await objects_of(database), await noted(database)
    async with MemoryManager.from_conn_string(database) as store, open_pool(database) as pool:
        refusing = (
            store.setup,
            PostgresCheckpointer(pool).setup,
            Operations(store).checks.apply_schema,
        )
        for act in refusing:
            with pytest.raises(SchemaTooNew, match="Update the code") as refused:
                await act()
            assert (refused.value.step, refused.value.known) == (99, NEWEST)
    assert (await objects_of(database), await noted(database)) == (before, versions)


async def test_what_a_version_without_steps_puts_back_does_not_last(
    database: str, empty_database: str
) -> None:
    """It knows no steps: it applies its own file, and notes that without a step."""
    await rows(
        database,
        "CREATE OR REPLACE FUNCTION memory.actor() RETURNS text LANGUAGE sql STABLE "
        "SET search_path = '' AS $$ SELECT '' $$",
    )
    await rows(database, "INSERT INTO memory.schema_versions (digest) VALUES ('of before')")
    assert await apply(database, read_scripts())
    assert await noted(database) == [NEWEST, None, NEWEST]
    await apply(empty_database, read_scripts())
    actor: Any = ("function", "memory.actor()")
    assert (await objects_of(database))[actor] == (await objects_of(empty_database))[actor]


# Steps --------------------------------------------------------------------------------------------


async def test_a_database_gets_the_steps_that_it_lacks_and_each_once(database: str) -> None:
    assert await apply(database, with_steps(THIRD))
    assert await apply(database, with_steps(THIRD, FOURTH))
    assert not await apply(database, with_steps(THIRD, FOURTH))
    third, fourth = NAMES
    assert await noted(database) == [NEWEST, third, third, fourth, fourth]


async def test_a_step_that_fails_leaves_nothing_and_the_next_start_goes_on(database: str) -> None:
    wrong = with_steps(THIRD, f"{FOURTH}; SELECT 1 / 0")
    with pytest.raises(SchemaNotApplied, match=r"_of_a_test .*division by zero") as refused:
        await apply(database, wrong)
    assert refused.value.what.endswith(f"{NEWEST + 2:04}_of_a_test")
    assert await made_by_steps(database) == {"third"}
    assert (await noted(database))[-1] == NEWEST + 1

    await apply(database, with_steps(THIRD, FOURTH))
    assert await made_by_steps(database) == {"third", "fourth"}


async def test_a_step_that_lacks_a_table_does_not_ask_for_setup(database: str) -> None:
    with pytest.raises(SchemaNotApplied, match="schema diff") as refused:
        await apply(database, with_steps("ALTER TABLE memory.nothing ADD COLUMN x int"))
    assert "setup" not in str(refused.value)


async def test_what_is_left_out_is_left_out_of_steps_too(empty_database: str) -> None:
    await make_baseline(empty_database, [*SchemaPart])
    of_graph = "ALTER TABLE memory.memory_relationships ADD COLUMN third int;"
    scripts = with_steps(f"-- part: graph\n{of_graph}\n-- end of part\n{THIRD}")
    assert await apply(empty_database, scripts)
    assert await made_by_steps(empty_database) == {"third"}
    there = {name for _, name in await objects_of(empty_database)}
    assert not {"memory.memory_relationships", "memory.memory_history"} & there

    await apply(empty_database, scripts, choice=Choice(adding=[SchemaPart.HISTORY]), again=True)
    there = {name for _, name in await objects_of(empty_database)}
    assert {"memory.memory_relationships", "memory.memory_history"} & there == {
        "memory.memory_history"
    }


# Whatever happens meanwhile -----------------------------------------------------------------------


async def test_setting_up_is_killed_before_each_statement_and_goes_on(
    postgres: str, baseline_template: str
) -> None:
    scripts = with_steps(THIRD, FOURTH)
    seen, dies_at, code = set(), 1, -9
    while code == -9:
        name = create_database(postgres, baseline_template)
        database = make_conninfo(postgres, dbname=name)
        code = await ended(begin(database, scripts, dies_at)) or 0
        assert code in (0, -9)
        at = max((step for step in await noted(database) if step), default=1)
        seen.add(at)
        assert await made_by_steps(database) == {NAMES[step] for step in NAMES if step <= at}
        await apply(database, scripts)
        assert await made_by_steps(database) == {*NAMES.values()}
        assert sorted({step for step in await noted(database) if step}) == [*range(2, NEWEST + 3)]
        drop_database(postgres, name)
        dies_at += 3
    assert seen == {*range(1, NEWEST + 3)}


async def test_a_process_killed_in_the_middle_of_a_step_leaves_nothing_of_it(database: str) -> None:
    slow = with_steps(f"CREATE TABLE memory.third (); SELECT pg_sleep(2); {FOURTH}")
    process = begin(database, slow)
    waiting = """SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'"""
    while not await rows(database, waiting):
        assert process.is_alive()
        await asyncio.sleep(0.02)
    process.kill()
    assert await ended(process) == -9
    assert await apply(database, with_steps(THIRD)), "it waits until the server has noticed"
    assert await made_by_steps(database) == {"third"}
    assert await noted(database) == [NEWEST, NEWEST + 1, NEWEST + 1]


async def test_processes_that_set_up_at_once_share_the_steps(baseline: str) -> None:
    scripts = with_steps(THIRD, FOURTH)
    processes = [begin(baseline, scripts) for _ in range(3)]
    assert [await ended(process) for process in processes] == [0, 0, 0]
    assert await noted(baseline) == [None, *range(2, NEWEST + 3), NEWEST + 2]


# With data in it ----------------------------------------------------------------------------------


@asynccontextmanager
async def opened(database: str, index: IndexConfig, folder: Path) -> AsyncIterator[MemoryManager]:
    async with MemoryManager.from_conn_string(
        database, index=index, extractor=Mem0Extractor(None, folder), extract_after=0
    ) as store:
        yield store


async def test_what_was_stored_before_an_upgrade_is_there_after_it(
    baseline: str, index: IndexConfig, tmp_path: Path
) -> None:
    await use_offline_model(baseline)
    async with opened(baseline, index, tmp_path) as store:
        await store.aput(FACTS, "tea", {"content": "Likes green tea.", "type": "fact"})
        await store.aput(FACTS, "tea", {"content": "Likes black tea.", "type": "fact"})
        await store.write_memory(USER, "s1", turn(USER, "My dog is called Rex.", "Nice.", "m1"))
        await store.jobs.run_pending()
        await store.brain.save_user_memories(USER, {"home": "Lives in Lyon."})
        held = await store.beliefs.hold(USER, "Prefers mornings.", about=[(FACTS, "tea")], **SAID)
        await store.wait_until_indexed()
        await store.log_event(USER, "signed_in", {"from": "Lyon"})
        await store.seal_audit()
        await store.write_memory(USER, "s1", turn(USER, "My cat is called Tom.", "Nice.", "m2"))
    before = await contents(baseline)
    assert min(len(found) for found in before.values()) > 0

    async with opened(baseline, index, tmp_path) as store:
        await store.setup()
        assert await contents(baseline) == before
        assert await Operations(store).checks.differences() == []
        assert await store.verify_audit() == []
        found = {
            memory.content for memory in await store.recall_memory(USER, "the name of the dog")
        }
        assert "My dog is called Rex." in found
        [old] = (await store.memories.history(USER, (FACTS, "tea"))).items
        assert old.value["content"] == "Likes green tea."
        [belief] = await store.beliefs.of(USER)
        assert belief.key == held.key
        [edge] = await store.relationships.of(USER, held.address)
        assert edge.target == (FACTS, "tea")
        home = await store.brain.get_user_memory(USER, "home")
        assert home is not None
        assert home.content == "Lives in Lyon."
        await store.jobs.run_pending()
        assert (
            await rows(
                baseline, "SELECT 1 FROM memory.turns WHERE extracted_at IS NULL AND role = 'user'"
            )
            == []
        ), "what was queued before is done"
        await store.aput(FACTS, "tea", {"content": "Likes no tea.", "type": "fact"})
        await store.seal_audit()
        await store.erase_user(USER)
        assert await store.verify_audit() == []


ADDED = (
    "expired written_at head_run document position session_id thread_id checkpoint_id ttl_minutes "
    "forgotten settled run_id"
).split()
"""Columns that steps added to some of the tables."""


async def contents(database: str) -> dict[str, list[Any]]:
    """All rows of the tables that were filled, without the columns that steps add."""
    filled = (
        "memories memory_embeddings memory_history memory_relationships sessions turns "
        "memory_logs user_brain belief_graphs audit_logs audit_seals embedding_models"
    )
    names = [f"memory.{name}" for name in filled.split()] + ["procrastinate.procrastinate_jobs"]
    return {
        name: sorted(
            row["r"]
            for row in await rows(
                database, f"SELECT (to_jsonb(t) - %s::text[])::text AS r FROM {name} AS t", ADDED
            )
        )
        for name in names
    }
