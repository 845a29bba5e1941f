"""A real server: `graph-memory dev` in a process of its own, on a free port of 127.0.0.1."""

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import jwt
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

JWT_SECRET = "a secret that only the tests of this project know and use"
START_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sign_in(user_id: str | None = None, **claims: object) -> str:
    """Return an access token of a user, as Supabase Auth issues them."""
    now = datetime.now(UTC)
    payload = {"sub": user_id or str(uuid4()), "aud": "authenticated", "role": "authenticated"}
    return jwt.encode(
        payload | {"iat": now, "exp": now + timedelta(hours=1)} | claims,
        JWT_SECRET,
        algorithm="HS256",
    )


class Server:
    """One server process. `start` returns when it answers; `stop` ends it, as Ctrl-C does."""

    def __init__(
        self, folder: Path, environment: dict[str, str] | None = None, port: int | None = None
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = environment or {}
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        return [sys.executable, "-m", "graphs.cli.main", "dev", "--port", str(self.port)]

    def env(self) -> dict[str, str]:
        quiet = {"LANGSMITH_TRACING": "false", "MEMORY_EXTRACT_AFTER": "0"}
        return {**os.environ, **quiet, **self.environment}

    def start(self) -> "Server":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.env(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"The server ended at its start:\n{self.log.read_text()[-4000:]}"
                )
            try:
                if httpx.get(f"{self.url}/ok", timeout=2).status_code == httpx.codes.OK:
                    return self
            except httpx.HTTPError:
                time.sleep(0.1)
        self.kill()
        raise AssertionError(
            f"The server did not answer in {START_SECONDS} s:\n{self.log.read_text()[-4000:]}"
        )

    def fail_to_start(self) -> subprocess.CompletedProcess[str]:
        """Start a server that is expected to refuse, and return its output."""
        return subprocess.run(
            self.command(),
            cwd=self.folder,
            env=self.env(),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def client(self, token: str | None = None) -> LangGraphClient:
        headers = {"Authorization": f"Bearer {token}"} if token else None
        return get_client(url=self.url, api_key=None, headers=headers)
