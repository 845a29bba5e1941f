"""Supabase's own advisors find no problems."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from langgraph.store.base import IndexConfig
from psycopg.conninfo import conninfo_to_dict

from graphs.memory_manager import MemoryManager
from tests.support.sql import rows

PACKAGE = "supabase@3"


@pytest.fixture(scope="module")
def supabase_cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install Supabase's CLI from npm, or skip the test."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, and the Supabase CLI comes from there")
    folder = tmp_path_factory.mktemp("supabase_cli")
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    binary = folder / "node_modules" / ".bin" / "supabase"
    if done.returncode or not binary.exists():
        pytest.skip(f"npm could not install {PACKAGE}: {done.stderr.strip()[-200:]}")
    return binary


@asynccontextmanager
async def over_tcp(database: str) -> AsyncIterator[str]:
    """Serve the embedded Postgres, which listens on a Unix socket, over TCP for the CLI."""
    parts = conninfo_to_dict(database)
    path = Path(str(parts["host"])) / f".s.PGSQL.{parts.get('port') or 5432}"

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(path)
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    async with await asyncio.start_server(connected, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        address = f"127.0.0.1:{port}/{parts['dbname']}"
        yield f"postgresql://{parts['user']}:unused@{address}?sslmode=disable"


async def advise(cli: Path, database: str, folder: Path) -> tuple[int, str]:
    """Return the exit code and the output of the advisors."""
    async with over_tcp(database) as url:
        command = ["db", "advisors", f"--remote={url}", "--level", "warn", "--fail-on", "warn"]
        asked = await asyncio.create_subprocess_exec(
            cli,
            *command,
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "HOME": str(folder), "DO_NOT_TRACK": "1"},
        )
        said, _ = await asyncio.wait_for(asked.communicate(), 60)
    return asked.returncode or 0, said.decode()


async def test_supabases_advisors_find_nothing(
    supabase_cli: Path, empty_database: str, index: IndexConfig, tmp_path: Path
) -> None:
    async with MemoryManager.from_conn_string(empty_database, index=index) as store:
        await store.setup()
    code, said = await advise(supabase_cli, empty_database, tmp_path)
    assert (code, "No issues found" in said) == (0, True), said

    await rows(empty_database, "ALTER TABLE memory.memories DISABLE ROW LEVEL SECURITY")
    code, said = await advise(supabase_cli, empty_database, tmp_path)
    assert code != 0, "the advisors must find a planted problem"
    assert "memories" in said
