"""Every command works behind a pooler in transaction and in session mode, as at Supabase.

The database has other formats of dates, bytes and numbers than ours.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner

from graphs.cli.main import app
from graphs.operations import benchmarking
from tests.support.command import environment
from tests.support.pooler import Pooler
from tests.support.sql import rows, set_unusual_formats

USER = "00000000-0000-4000-8000-000000000077"

ELSEWHERE = {
    "dev", "schema generate", "schema migrations", "worker",
    "migrate langgraph-store", "migrate mem0-oss", "migrate mem0-platform", "migrate switch",
}  # fmt: skip
"""Commands with tests of their own: servers, `schema generate` without a database, and migrations
that need a source."""

COMMANDS = """
setup | verify | doctor | validate | schema diff | schema status | schema apply | reembed | demo
rls test --user-id {user} | rls debug --user-id {user} {namespace} {key}
indexes status | indexes create | indexes migrate --to hnsw | pool check | pool config
remember Coffee --user-id {user} | recall tea --user-id {user} --explain
history {id} --user-id {user} | explain {id} --user-id {user}
runs list --user-id {user} | runs undo {run} --user-id {user} | runs redo {run} --user-id {user}
jobs list | jobs show {job} | jobs retry --all | jobs purge
outbox list | outbox health | outbox tell redis | outbox replay --adapter redis
audit report --output {folder}/audit.md | monitor --once | benchmark --memories 105
export-user --user-id {user} --output {folder}/user.jsonl
backup --output {folder}/backup.gz | backup verify {folder}/backup.gz | restore {folder}/backup.gz
migrate jsonl {folder}/user.jsonl | migrate list | migrate show {migration}
migrate rollback {migration} --yes
sweep | decay --days 90 --user-id {user} --yes
forget {id} --user-id {user} --yes | erase-user --user-id {user} --yes
"""

REDIS = {
    "MEMORY_HASH_KEY": "a key of the tests",
    "UPSTASH_REDIS_MODE": "on",
    "UPSTASH_REDIS_REST_URL": "http://127.0.0.1:1",
    "UPSTASH_REDIS_REST_TOKEN": "none",
}


def names(command: object, *above: str) -> Iterator[str]:
    """Yield the names of all commands, with those of their groups."""
    if above and not getattr(command, "no_args_is_help", False):
        yield " ".join(above)
    for name, below in getattr(command, "commands", {}).items():
        yield from names(below, *above, name)


def calls() -> list[list[str]]:
    return [call.split() for line in COMMANDS.strip().splitlines() for call in line.split(" | ")]


def test_no_command_is_left_out() -> None:
    tried = {" ".join(call[:length]) for call in calls() for length in (1, 2)}
    assert set(names(typer.main.get_command(app))) - tried == ELSEWHERE


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_every_command_works_behind_a_pooler(
    postgres: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(benchmarking, "CALLS", 8)
    monkeypatch.setattr(benchmarking, "CONVERSATIONS", 4)
    monkeypatch.setattr(benchmarking, "TARGETS", dict.fromkeys(benchmarking.TARGETS, 60_000.0))
    asyncio.run(set_unusual_formats(database))
    with Pooler(postgres, mode) as pooler:
        parts = conninfo_to_dict(pooler.url_for(database))
        url = f"postgresql://{parts['user']}@{parts['host']}:{parts['port']}/{parts['dbname']}"
        with environment(
            {"DATABASE_URL": url, "DATABASE_POOL_SIZE": "3", "DATA_DIR": str(tmp_path), **REDIS}
        ):
            memory = json.loads(done(["remember", "Tea", "--user-id", USER, "--json"]))
            [job, *_] = asyncio.run(
                rows(database, "SELECT id FROM procrastinate.procrastinate_jobs ORDER BY id")
            )
            begun = (
                "INSERT INTO memory.migrations (source, origin) "
                "VALUES ('jsonl', 'a file') RETURNING id"
            )
            [migration] = asyncio.run(rows(database, begun))
            began = "SELECT memory.begin_run(%s, 's', 'a', 'r', 't', NULL, false)"
            asyncio.run(rows(database, began, USER))
            namespace = ".".join(memory.pop("namespace"))
            given = {
                "user": USER,
                "folder": tmp_path,
                "job": job["id"],
                "run": "r",
                "migration": migration["id"],
                **memory,
            }
            given["namespace"] = namespace
            for call in calls():
                done([part.format(**given) for part in call])


def done(arguments: list[str]) -> str:
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, (arguments, ended.output, ended.exception)
    return ended.stdout
