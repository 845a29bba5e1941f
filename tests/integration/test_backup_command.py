"""`graph-memory backup` and `graph-memory restore`, called as by an operator."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner, Result

from graphs.cli.main import app
from graphs.deployment.settings import load_settings
from graphs.memory_manager import MemoryManager
from tests.conftest import as_url
from tests.support.rows import all_rows

USER = str(uuid4())
PASSPHRASE = "correct horse battery staple"
Command = Callable[..., Result]


@pytest.fixture
def command(
    postgres: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """Yield a function that runs a command on a database with a memory, in an empty folder."""

    async def remember() -> None:
        async with MemoryManager.from_conn_string(database) as store:
            await store.aput(("users", USER, "notes"), "tea", {"text": "Likes tea."})

    asyncio.run(remember())
    monkeypatch.setenv("DATABASE_URL", as_url(postgres, str(conninfo_to_dict(database)["dbname"])))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, passphrase: str | None = None) -> Result:
        load_settings.cache_clear()
        return CliRunner().invoke(app, arguments, env={"MEMORY_BACKUP_PASSPHRASE": passphrase})

    yield run
    load_settings.cache_clear()


def forget(database: str) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("DELETE FROM memory.memories")


def test_an_operator_backs_up_looks_and_restores(command: Command, database: str) -> None:
    written = command("backup", "--output", "all", passphrase=PASSPHRASE)
    assert written.exit_code == 0, written.stderr
    assert "encrypted." in written.stdout
    before = all_rows(database)["memory.memories"]
    verified = command("backup", "verify", "all", "--json", passphrase=PASSPHRASE)
    assert json.loads(verified.stdout)["rows"]["memory.memories"] == 1
    forget(database)
    assert "key is wrong" in command("restore", "all", passphrase="another one of somebody").stderr
    planned = command("restore", "all", "--dry-run", "--json", passphrase=PASSPHRASE)
    assert json.loads(planned.stdout)["added"]["memory.memories"] == 1
    assert all_rows(database)["memory.memories"] == []
    restored = command("restore", "all", passphrase=PASSPHRASE)
    assert restored.exit_code == 0, restored.stderr
    assert "memory.memories" in restored.stdout
    assert all_rows(database)["memory.memories"] == before


def test_a_backup_without_encryption_needs_an_option_once_there_is_a_passphrase(
    command: Command, database: str
) -> None:
    assert command("backup", "--output", "old").exit_code == 0
    forget(database)
    for arguments in (("restore", "old"), ("backup", "verify", "old")):
        refused = command(*arguments, passphrase=PASSPHRASE)
        assert refused.exit_code == 1
        assert "--allow-unencrypted" in refused.stderr
        allowed = command(*arguments, "--allow-unencrypted", passphrase=PASSPHRASE)
        assert allowed.exit_code == 0, allowed.stderr
    assert "written as old" in allowed.stdout + command("restore", "old").stdout
    assert len(all_rows(database)["memory.memories"]) == 1


def test_a_key_lies_in_a_file_and_one_person_is_named(command: Command, database: str) -> None:
    Path("key").write_text("a key of thirty-two characters..\n")
    Path("short").write_text("1234\n")
    assert (
        command("backup", "--output", "one", "--user-id", USER, "--key-file", "key").exit_code == 0
    )
    forget(database)
    assert command("restore", "one", "--user-id", USER, "--key-file", "key").exit_code == 0
    assert len(all_rows(database)["memory.memories"]) == 1
    for key, problem in (("short", "has fewer than 16 bytes"), ("none", "cannot be read")):
        refused = command("restore", "one", "--key-file", key)
        assert refused.exit_code == 1
        assert problem in refused.stderr


def test_an_operator_follows_a_backup_and_archives_a_time(command: Command, database: str) -> None:
    assert command("backup", "--output", "2026-11-22").exit_code == 0
    forget(database)
    assert (
        "that changed since"
        in command("backup", "--output", "next", "--since", "2026-11-22").stdout
    )
    assert (
        json.loads(command("restore", "2026-11-22", "next", "--json").stdout)["added"][
            "memory.memories"
        ]
        == 0
    )
    assert (
        json.loads(command("restore", "2026-11-22", "--json").stdout)["added"]["memory.memories"]
        == 1
    )
    for options, kept in (
        (("--from", "2020-01-01"), 1),
        (("--until", "2020-01-01T00:00+01:00"), 0),
    ):
        archive = json.loads(command("backup", "--output", "archive", *options, "--json").stdout)
        assert archive["rows"]["memory.memories"] == kept
    assert "rows of erasures" in command("backup", "--output", "erasures", "--only-erasures").stdout
    assert command("restore", "next", "--erasures", "erasures").exit_code == 1
    assert command("restore", "2026-11-22", "--erasures", "erasures").exit_code == 0


def test_what_cannot_be_done_is_told_in_a_sentence_and_by_the_exit_code(command: Command) -> None:
    Path("other").write_text("no backup")
    assert "not encrypted" in command("backup", "--output", "plain").stderr
    for arguments, code, problem in (
        (("backup",), 2, "--output FILE"),
        (("backup", "--output", "nowhere/file"), 1, "cannot be written"),
        (
            ("backup", "--output", "a", "--until", "yesterday"),
            2,
            "--until 'yesterday' is not a time",
        ),
        (("backup", "--output", "a", "--since", "yesterday"), 1, "yesterday cannot be read"),
        (
            ("backup", "--output", "a", "--since", "2026-11-22", "--from", "2026-11-22"),
            1,
            "give one of these",
        ),
        (("backup", "verify", "other"), 1, "not a backup"),
        (("restore", "other"), 1, "Nothing was changed"),
        (("restore", "missing"), 1, "cannot be read"),
    ):
        refused = command(*arguments)
        assert refused.exit_code == code, refused.stderr
        assert refused.stderr.strip().startswith("graph-memory: ")
        assert problem in refused.stderr
        assert refused.stdout == ""
