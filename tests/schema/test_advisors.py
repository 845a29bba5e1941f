"""Supabase's own advisors find nothing to warn of."""

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
    """Supabase's command from npm; skips the test where there is none to be had."""
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
    """A database of the embedded Postgres, which listens on a socket in the file system, where the CLI finds it."""
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
        yield f"postgresql://{parts['user']}:unused@127.0.0.1:{port}/{parts['dbname']}?sslmode=disable"


async def advise(cli: Path, database: str, folder: Path) -> tuple[int, str]:
    """The exit code of the advisors, and what they say."""
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
    assert code != 0, "they would have found something"
    assert "memories" in said
