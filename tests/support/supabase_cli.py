"""Supabase's own command, run on a database of the embedded Postgres."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict


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
        yield f"postgresql://{parts['user']}:unused@127.0.0.1:{port}/{parts['dbname']}?sslmode=disable"


async def supabase(cli: Path, folder: Path, database: str, *arguments: str) -> tuple[int, str]:
    """Run a command of the CLI in a folder; return its exit code, and what it says."""
    async with over_tcp(database) as url:
        asked = await asyncio.create_subprocess_exec(
            cli,
            *arguments,
            f"--remote={url}",
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "HOME": str(folder), "DO_NOT_TRACK": "1"},
        )
        said, _ = await asyncio.wait_for(asked.communicate(), 60)
    return asked.returncode or 0, said.decode()
