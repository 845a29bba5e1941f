"""A setting that is wrong stops the start with one sentence that says what to do."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chat import talk
from tests.support.server import Server


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def refusal(server: Server) -> str:
    """What a server says that does not start: one line on stderr, and exit code 1."""
    ended = server.fail_to_start()
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    spoken = [line for line in ended.stderr.splitlines() if line.startswith("graph-memory: ")]
    assert len(spoken) == 1, ended.stderr
    return spoken[0]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"DATABASE_URL": "postgresql://nobody:hunter2@127.0.0.1:9/none"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://me:hunter2@hunter2@127.0.0.1:9/x"}, "percent-encoded"),
        ({"DATABASE_URL": "postgresql://me:a:hunter2/@127.0.0.1:9/x"}, "percent-encoded"),
        ({"DATABASE_URL": "mysql://localhost/x"}, "DATABASE_URL: must start with postgresql://"),
        ({"VECTOR_EMBEDDING_DIMENSIONS": "1536"}, "VECTOR_EMBEDDING_DIMENSIONS=1536 does not fit"),
        ({"VECTOR_EMBEDDING_DIMENSIONS": "0"}, "VECTOR_EMBEDDING_DIMENSIONS"),
        ({"VECTOR_EMBEDDING_MODEL": "text-embedding-3-large"}, "OPENAI_API_KEY"),
        ({"CHAT_MODEL": "openai:gpt-4.1"}, "OPENAI_API_KEY"),
        ({"SUPABASE_URL": "my-project"}, "SUPABASE_URL"),
        ({"LOCAL_USER_ID": "me"}, "LOCAL_USER_ID"),
    ],
)
def test_a_wrong_setting_is_named(project: Path, environment: dict[str, str], said: str) -> None:
    message = refusal(Server(project, environment))
    assert said in message
    assert "hunter2" not in message, "a password is never shown"


def test_a_malformed_env_file_is_refused_with_its_line(project: Path) -> None:
    (project / ".env").write_text("PORT=2024\nOPENAI_API_KEY='sk-secret\n")
    message = refusal(Server(project))
    assert ".env, line 2" in message
    assert "sk-secret" not in message


def test_a_port_in_use_is_refused(project: Path, taken_port: int) -> None:
    assert f"Port {taken_port}" in refusal(Server(project, port=taken_port))


async def test_another_embedding_model_than_the_databases_is_refused(project: Path) -> None:
    server = Server(project).start()
    await talk(server.client(), "My budget is 80k.")
    server.stop()

    message = refusal(Server(project, {"VECTOR_EMBEDDING_DIMENSIONS": "64"}))
    assert "offline:wordllama (256 dimensions)" in message
    assert "VECTOR_EMBEDDING_MODEL" in message
