"""`graph-memory schema`: what it tells is so, what it applies is whole, what it prints makes the same."""

import asyncio
import json
from collections.abc import Iterator

import psycopg
import pytest
from typer.testing import CliRunner

from graphs.cli.main import app
from graphs.memory_manager import MemoryManager
from tests.support.command import Command, command_on


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
                for each in await store.operations.checks.differences()
            ]

    return asyncio.run(look())


def test_a_diff_tells_each_object_and_how_it_differs(command: Command, database: str) -> None:
    fine = command("schema", "diff")
    assert (fine.exit_code, fine.stdout) == (0, "The database is as the schema wants it.\n")

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


def test_applying_makes_what_is_missing_and_tells_what_is_left(
    command: Command, database: str
) -> None:
    execute(
        database,
        "DROP POLICY own ON memory.sessions",
        "ALTER TABLE memory.turns ALTER COLUMN agent SET NOT NULL",
    )
    for _ in range(2):  # the first changes nothing
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
