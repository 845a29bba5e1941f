"""A wrong setting prevents the start, with one sentence that says what to do."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphs.cli.main import app
from graphs.deployment.settings import load_settings
from tests.support.operator import Operator
from tests.support.server import Server, free_port

Refused = Callable[..., str]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Refused]:
    """Return a function that runs `graph-memory dev` with settings that it must refuse."""

    def serve(*_: object) -> None:
        raise AssertionError("the server started")

    def refused(code: int = 1, **settings: str) -> str:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        load_settings.cache_clear()
        ended = CliRunner().invoke(app, ["dev", "--port", str(free_port())])
        assert ended.exit_code == code, (ended.output, ended.exception)
        return the_sentence(ended.stderr)

    monkeypatch.chdir(project)
    monkeypatch.setattr(os, "execv", serve)
    yield refused
    load_settings.cache_clear()


def the_sentence(errors: str) -> str:
    """Return the line that says why the server does not start."""
    assert "Traceback" not in errors
    [spoken] = [line for line in errors.splitlines() if line.startswith("graph-memory: ")]
    return spoken


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DATABASE_URL": "postgresql://nobody:hunter2@127.0.0.1:9/none"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://me:hunter2@hunter2@127.0.0.1:9/x"}, "percent-encoded"),
        ({"DATABASE_URL": "postgresql://me:a:hunter2/@127.0.0.1:9/x"}, "percent-encoded"),
        ({"DATABASE_URL": "postgresql://me@127.0.0.1:9/x?poolmode=x"}, "parameter 'poolmode'"),
        ({"SUPABASE_DB_URL": "mysql://localhost/x"}, "DATABASE_URL: must start with postgresql://"),
        ({"DATABASE_URL": "mysql://localhost/x"}, "DATABASE_URL: must start with postgresql://"),
        ({"VECTOR_EMBEDDING_DIMENSIONS": "1536"}, "VECTOR_EMBEDDING_DIMENSIONS=1536 does not fit"),
        ({"VECTOR_EMBEDDING_DIMENSIONS": "0"}, "VECTOR_EMBEDDING_DIMENSIONS"),
        ({"VECTOR_EMBEDDING_MODEL": "text-embedding-3-large"}, "OPENAI_API_KEY"),
        ({"CHAT_MODEL": "openai:gpt-4.1"}, "OPENAI_API_KEY"),
        ({"SUPABASE_URL": "my-project"}, "SUPABASE_URL"),
        ({"LOCAL_USER_ID": "me"}, "LOCAL_USER_ID"),
    ],
)
def test_a_wrong_setting_is_named(refused: Refused, environment: dict[str, str], said: str) -> None:
    nobody_there = "127.0.0.1:9/none" in environment.get("DATABASE_URL", "")
    message = refused(3 if nobody_there else 1, **environment)
    assert said in message
    assert "hunter2" not in message, "a password is never shown"


def test_a_malformed_env_file_is_refused_with_its_line(refused: Refused, project: Path) -> None:
    (project / ".env").write_text("PORT=2024\nOPENAI_API_KEY='sk-secret\n")
    message = refused()
    assert ".env, line 2" in message
    assert "sk-secret" not in message


def test_a_port_in_use_is_refused(project: Path, taken_port: int) -> None:
    """Start in a process of its own, as all servers; its exit code must report the failure."""
    ended = Server(project, port=taken_port).fail_to_start()
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f"Port {taken_port}" in the_sentence(ended.stderr)


def test_another_embedding_model_than_the_databases_is_refused(
    operate: Operator, refused: Refused
) -> None:
    operate.done(
        "remember", "My budget is 80k.", "--user-id", "a0000000-0000-4000-8000-000000000001"
    )
    message = refused(VECTOR_EMBEDDING_DIMENSIONS="64")
    assert "offline:wordllama (256 dimensions)" in message
    assert "VECTOR_EMBEDDING_MODEL" in message
