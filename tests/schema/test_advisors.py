"""Supabase's advisors find no problems, and its CLI applies the steps that are written as files."""

from dataclasses import replace
from pathlib import Path

from langgraph.store.base import IndexConfig

from graphs.memory.database.schema import read_scripts
from graphs.memory_manager import MemoryManager
from graphs.operations.migration_files import migration_files
from graphs.operations.operations import Operations
from tests.support.sql import rows
from tests.support.supabase_cli import supabase

ADVISE = ("db", "advisors", "--level", "warn", "--fail-on", "warn")


async def test_supabases_advisors_find_nothing(
    supabase_cli: Path, empty_database: str, index: IndexConfig, tmp_path: Path
) -> None:
    async with MemoryManager.from_conn_string(empty_database, index=index) as store:
        await store.setup()
    code, said = await supabase(supabase_cli, tmp_path, empty_database, *ADVISE)
    assert (code, "No issues found" in said) == (0, True), said

    await rows(empty_database, "ALTER TABLE memory.memories DISABLE ROW LEVEL SECURITY")
    code, said = await supabase(supabase_cli, tmp_path, empty_database, *ADVISE)
    assert code != 0, "the advisors must find a planted problem"
    assert "memories" in said


async def test_supabase_pushes_the_steps_and_setting_up_finds_nothing_to_do(
    supabase_cli: Path, empty_database: str, tmp_path: Path
) -> None:
    scripts = read_scripts()
    await rows(empty_database, scripts.local_supabase)
    folder = tmp_path / "supabase" / "migrations"
    folder.mkdir(parents=True)
    for name, text in migration_files(scripts).items():
        (folder / name).write_text(text)

    code, said = await supabase(supabase_cli, tmp_path, empty_database, "db", "push", "--yes")
    assert code == 0, said
    async with MemoryManager.from_conn_string(empty_database) as store:
        plan = await Operations(store).checks.plan_upgrade()
        assert (plan.step, plan.lacking, plan.up_to_date) == (scripts.newest, [], True)
        assert await Operations(store).checks.differences() == []
        await store.setup()
    noted = "SELECT step FROM memory.schema_versions ORDER BY id"
    before = [None, *range(2, scripts.newest + 1), scripts.newest]
    assert [row["step"] for row in await rows(empty_database, noted)] == before

    code, said = await supabase(supabase_cli, tmp_path, empty_database, "db", "push", "--yes")
    assert (code, "up to date" in said) == (0, True), said

    order = "CREATE TABLE IF NOT EXISTS public.orders (id int PRIMARY KEY);"
    changed = replace(scripts, business_tables={**scripts.business_tables, "orders.sql": order})
    for name, text in migration_files(changed).items():
        (folder / name).write_text(text)
    push = ("db", "push", "--yes", "--include-all")
    code, said = await supabase(supabase_cli, tmp_path, empty_database, *push)
    assert code == 0, said
    assert await rows(empty_database, "SELECT count(*) AS n FROM public.orders") == [{"n": 0}]
