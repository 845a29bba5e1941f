"""A TCP proxy before Postgres that can go silent: queries arrive, and their answers do not."""

import asyncio
from pathlib import Path
from types import TracebackType

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_CHUNK = 65536


class SilentProxy:
    """A proxy on a port of 127.0.0.1, for the time of a block.

    Args:
        database: the connection string of a database, over a Unix socket.
    """

    def __init__(self, database: str) -> None:
        self._parts = conninfo_to_dict(database)
        self._servers: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "SilentProxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for writer in [*self._open]:
            writer.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving)

    @property
    def url(self) -> str:
        """The connection string of the database, through the proxy."""
        return make_conninfo(
            host="127.0.0.1",
            port=self.port,
            user=str(self._parts.get("user") or "postgres"),
            dbname=str(self._parts["dbname"]),
        )

    def go_silent(self) -> None:
        """Forward no more answers on the connections of now; new ones work."""
        self._silent |= self._open - self._servers

    def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, client))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        socket = Path(str(self._parts["host"])) / f".s.PGSQL.{self._parts.get('port') or 5432}"
        answers, server = await asyncio.open_unix_connection(str(socket))
        self._open |= {client, server}
        self._servers.add(server)
        try:
            await asyncio.gather(
                self._forward(reader, server),
                self._forward(answers, client),
                return_exceptions=True,
            )
        finally:
            for writer in (client, server):
                self._open.discard(writer)
                writer.transport.abort()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            if sink not in self._silent:
                sink.write(data)
                await sink.drain()
        sink.transport.abort()
