"""`graph-memory schema`: a true report, atomic changes, and a script that makes the same schema."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from graphs.cli.main import app
from graphs.memory.database.schema import read_scripts
from graphs.memory_manager import MemoryManager
from graphs.operations.migration_files import RELEASE_DAYS
from graphs.operations.operations import Operations
from tests.support.command import Command, command_on
from tests.support.past import make_baseline


def execute(database: str, *statements: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement)


@pytest.fixture
def command(database: str) -> Iterator[Command]:
    with command_on(database) as command:
        yield command


def differences(database: str) -> list[tuple[str, str, str]]:
    async def look() -> list[tuple[str, str, str]]:
        async with MemoryManager.from_conn_string(database) as store:
            return [
                (each.kind, each.name, each.problem)
                for each in await Operations(store).checks.differences()
            ]

    return asyncio.run(look())


def test_a_diff_tells_each_object_and_how_it_differs(command: Command, database: str) -> None:
    fine = command("schema", "diff")
    assert (fine.exit_code, fine.stdout) == (0, "The database matches the schema.\n")

    execute(
        database,
        "ALTER POLICY own ON memory.sessions USING (true)",
        "DROP INDEX memory.turns_age",
        "ALTER TABLE memory.users ADD COLUMN nickname text",
    )
    told = command("schema", "diff", "--json")
    assert told.exit_code == 1
    assert {
        (d["kind"], d["name"], d["problem"]) for d in json.loads(told.stdout)["differences"]
    } == {
        ("policy", "memory.sessions.own", "different"),
        ("index", "memory.turns_age", "missing"),
        ("column", "memory.users.nickname", "extra"),
    }
    shown = command("schema", "diff").stdout
    assert "-PERMISSIVE * authenticated USING true" in shown
    assert "+PERMISSIVE * authenticated USING (user_id = " in shown


def test_a_comment_of_ones_own_is_no_difference(command: Command, database: str) -> None:
    execute(database, "COMMENT ON TABLE memory.users IS 'Whoever has signed in once'")
    assert command("schema", "diff").exit_code == 0


def test_applying_makes_what_is_missing_and_tells_what_is_left(
    command: Command, database: str
) -> None:
    execute(
        database,
        "DROP POLICY own ON memory.sessions",
        "ALTER TABLE memory.turns ALTER COLUMN agent SET NOT NULL",
    )
    for _ in range(2):  # the second call finds nothing to change
        dry = command("schema", "apply", "--dry-run")
        assert dry.exit_code == 0
        assert "memory.sessions.own" in dry.stdout

    applied = command("schema", "apply", "--json")
    assert applied.exit_code == 1
    [left] = json.loads(applied.stdout)["differences"]
    assert (left["name"], left["problem"]) == ("memory.turns.agent", "different")


def test_an_empty_database_gets_the_schema(empty_database: str) -> None:
    with command_on(empty_database) as command:
        assert command("schema", "apply").exit_code == 0
    assert differences(empty_database) == []


def test_what_is_generated_makes_the_same_as_setting_up(empty_database: str) -> None:
    model = ["--model", "it's:one", "--dimensions", "3"]
    generated = CliRunner().invoke(app, ["schema", "generate", "--plain", *model])
    assert generated.exit_code == 0
    execute(empty_database, generated.stdout)
    assert differences(empty_database) == []
    with command_on(empty_database) as command:
        checks = {c["name"]: c for c in json.loads(command("verify", "--json").stdout)["checks"]}
    assert checks["schema"]["status"] == "ok"
    with psycopg.connect(empty_database) as conn:
        models = conn.execute(
            "SELECT name, dimensions FROM memory.embedding_models WHERE active"
        ).fetchall()
    assert models == [("it's:one", 3)]


def test_dimensions_without_a_model_are_wrong_usage() -> None:
    refused = CliRunner().invoke(app, ["schema", "generate", "--dimensions", "3"])
    assert refused.exit_code == 2
    assert "--model and --dimensions together" in refused.stderr


def test_the_status_is_what_applying_does(empty_database: str) -> None:
    [_, *lacking] = [step.name for step in read_scripts().steps]
    with command_on(empty_database) as command:
        assert "no schema: it would get the whole" in command("schema", "status").stdout
        asyncio.run(make_baseline(empty_database))
        there = json.loads(command("schema", "status", "--json").stdout)
        assert (there["step"], there["lacking"], there["up_to_date"]) == (1, lacking, False)
        shown = command("schema", "status").stdout
        assert f"at step 1 of {len(lacking) + 1}: {', '.join(lacking)} would be applied" in shown
        dry = command("schema", "apply", "--dry-run", "--json")
        assert json.loads(dry.stdout)["steps"] == lacking
        assert json.loads(command("schema", "status", "--json").stdout) == there, "nothing changed"

        applied = command("schema", "apply")
        assert all(f"Step {name} was applied." in applied.stderr for name in lacking)
        assert "nothing is to be applied" in command("schema", "status").stdout
        assert json.loads(command("schema", "apply", "--dry-run", "--json").stdout) == {
            "differences": [],
            "steps": [],
        }


def test_where_the_way_is_closed_the_commands_say_so(command: Command, database: str) -> None:
    execute(database, "INSERT INTO memory.schema_versions (digest, step) VALUES ('newer', 99)")
    for words in (
        ["setup"],
        ["schema", "status"],
        ["schema", "apply"],
        ["schema", "apply", "--dry-run"],
    ):
        refused = command(*words)
        assert refused.exit_code == 1
        assert "Update the code" in refused.stderr
    checks = {c["name"]: c for c in json.loads(command("verify", "--json").stdout)["checks"]}
    assert checks["schema"]["detail"].startswith("at step 99")
    execute(database, "ALTER TABLE memory.schema_versions DROP COLUMN step")
    execute(database, "DROP TABLE memory.shadow_comparisons")
    for words in (["schema", "status"], ["schema", "apply", "--dry-run"], ["schema", "apply"]):
        refused = command(*words)
        assert refused.exit_code == 1
        assert "graph-memory backup" in refused.stderr


@pytest.mark.parametrize("without", [[], ["graph"], ["graph", "history"]], ids=" ".join)
def test_steps_as_files_make_the_same_as_setting_up(
    empty_database: str, tmp_path: Path, without: list[str]
) -> None:
    options = [word for part in without for word in ("--without", part)]
    written = CliRunner().invoke(app, ["schema", "migrations", "--to", str(tmp_path), *options])
    assert written.exit_code == 0
    files = {path: path.read_text() for path in sorted(tmp_path.iterdir())}
    assert [str(path) for path in files] == written.stdout.split()
    CliRunner().invoke(app, ["schema", "migrations", "--to", str(tmp_path), *options])
    assert {path: path.read_text() for path in sorted(tmp_path.iterdir())} == files

    execute(empty_database, read_scripts().local_supabase)
    for text in files.values():
        in_one_transaction(empty_database, text)
    with command_on(empty_database) as command:
        there = json.loads(command("schema", "status", "--json").stdout)
        checks = {c["name"]: c for c in json.loads(command("verify", "--json").stdout)["checks"]}
    unwell = {name for name, check in checks.items() if check["status"] != "ok"}
    assert unwell <= {"jobs", "connection"}, "before a first start, only a worker may be missing"
    assert there == {
        "newest": len(files) - 1,
        "step": len(files) - 1,
        "lacking": [],
        "up_to_date": True,
    }
    assert differences(empty_database) == []

    *steps, beside = files.values()
    for text in steps:
        with pytest.raises(psycopg.errors.RaiseException, match="already"):
            in_one_transaction(empty_database, text)
    in_one_transaction(empty_database, beside)
    assert differences(empty_database) == []


def test_a_step_as_a_file_wants_the_step_before_it(empty_database: str, tmp_path: Path) -> None:
    CliRunner().invoke(app, ["schema", "migrations", "--to", str(tmp_path)])
    execute(empty_database, read_scripts().local_supabase)
    _, second, *_ = [path.read_text() for path in sorted(tmp_path.iterdir())]
    with pytest.raises(
        psycopg.errors.RaiseException, match="step 2 of the schema is to follow step 1"
    ):
        in_one_transaction(empty_database, second)
    asyncio.run(make_baseline(empty_database))
    in_one_transaction(empty_database, second)
    with command_on(empty_database) as command:
        assert json.loads(command("schema", "status", "--json").stdout)["step"] == 2


def in_one_transaction(database: str, script: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute(script.encode())


def test_every_released_step_has_its_day() -> None:
    assert {step.number for step in read_scripts().steps} == {*RELEASE_DAYS}
    assert [*RELEASE_DAYS.values()] == sorted(RELEASE_DAYS.values())
