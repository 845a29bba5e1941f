"""`graph-memory validate` works with an invented user, and leaves no data of them behind."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from langgraph.store.base import IndexConfig

from graphs.memory_manager import MemoryManager
from graphs.operations.trial import try_out
from tests.support.command import Command, command_on
from tests.support.sql import rows

STEPS = ["write and read", "search", "change", "stay hidden", "delete", "erase"]
PERSONAL = "SELECT name, columns FROM memory.personal_tables()"


@pytest.fixture
def command(database: str) -> Iterator[Command]:
    with command_on(database) as command:
        yield command


def test_a_deployment_that_works_is_tried_out_and_nothing_stays_of_it(
    command: Command, database: str
) -> None:
    ended = command("validate", "--json")
    assert ended.exit_code == 0, ended.output
    checks = json.loads(ended.stdout)["checks"]
    assert [c["name"] for c in checks if c["status"] != "ok"] == ["jobs"]
    assert [c["name"] for c in checks[-7:]] == ["borders", *STEPS]
    with psycopg.connect(database) as conn:
        for name, columns in conn.execute(PERSONAL).fetchall():
            whose = (
                " OR ".join(f"{column} IS NOT NULL" for column in columns if column != "actor")
                or "false"
            )
            assert conn.execute(f"SELECT count(*) FROM {name} WHERE {whose}").fetchone() == (0,), (
                name
            )


def test_where_something_is_wrong_already_nothing_is_tried(command: Command, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("DROP POLICY own ON memory.sessions")
    ended = command("validate", "--json")
    assert ended.exit_code == 1
    assert not {c["name"] for c in json.loads(ended.stdout)["checks"]} & {"borders", *STEPS}


async def test_each_step_that_fails_is_told_and_the_rest_is_erased(
    database: str, index: IndexConfig
) -> None:
    damage: dict[str, tuple[str, str]] = {
        "write and read": (
            "REVOKE INSERT (value) ON memory.memories FROM authenticated",
            "Access denied",
        ),
        "stay hidden": (
            "ALTER TABLE memory.memories DISABLE ROW LEVEL SECURITY",
            "another user could read it",
        ),
    }
    async with MemoryManager.from_conn_string(database, index=index) as store:
        for step, (statement, told) in reversed(damage.items()):
            await rows(database, statement)
            *_, failed, erased = await try_out(store)
            assert (failed.name, failed.status, erased.status) == (step, "wrong", "ok")
            assert told in failed.detail
    assert (await rows(database, "SELECT count(*) AS n FROM memory.memories"))[0]["n"] == 0


async def test_a_store_that_loses_what_it_was_given_is_found_out(
    store: MemoryManager, monkeypatch: Any
) -> None:
    async def finds_nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    monkeypatch.setattr(store, "asearch", finds_nothing)
    checks = {check.name: check for check in await try_out(store)}
    assert checks["search"].detail == "the search did not find the item that was written"
    assert checks["erase"].status == "ok"
    assert "change" not in checks
