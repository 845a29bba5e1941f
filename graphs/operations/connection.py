"""The route to the database, and facts about the server."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database import statements
from graphs.memory.database.database import Database, Pool, to_the_end
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.query import Query
from graphs.memory.database.transaction import Connection
from graphs.memory.principal import Principal

_SQL = statements.load("checks", __package__)
_ROUNDS = 3

ConnectionRoute = Literal["direct", "session pooler", "transaction pooler", "pooler"]
"""Kinds of routes to the database.

`pooler` alone means that the mode is unknown, because the pool lends only one connection.
"""


class ConnectionInfo(BaseModel):
    """The route from this process to the database."""

    model_config = ConfigDict(frozen=True)

    route: ConnectionRoute
    prepared_statements: bool = Field(
        description="Whether connections of this process prepare statements."
    )
    tls: bool
    local: bool = Field(
        description="Whether the connection stays on this machine (socket or loopback address)."
    )
    host: str
    port: int
    database: str


class Server(BaseModel):
    """Facts that the server reports about itself."""

    model_config = ConfigDict(frozen=True)

    version: str
    number: int
    vector: str | None = Field(
        description="Version of pgvector in this database; None if it is not installed."
    )
    available_vector: str | None = Field(description="The version that can be installed.")
    roles: dict[str, dict[str, bool]] = Field(
        description="By name: may we act as the role (`mine`), and does it bypass "
        "row-level security (`unbound`)?"
    )
    max_connections: int
    reserved_connections: int = Field(description="Connections that are reserved for superusers.")
    connections: dict[str, int] = Field(description="Number of other open connections, by state.")
    ahead: timedelta = Field(description="How far its clock is ahead of this machine's.")
    uncertainty: timedelta = Field(description="Possible error of `ahead`: half of the round trip.")


async def look_at_server(database: Database) -> Server:
    """Return facts about the server. The database needs no schema.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    before = datetime.now(UTC)
    query: Query[Any] = Query(_SQL["facts"], {}, lambda rows: rows[0]._asdict())
    [told] = await to_the_end(database.run(Principal.owner(), [query]))
    half = (datetime.now(UTC) - before) / 2
    # The server read its clock somewhere within the round trip: assume the middle.
    return Server(**told, ahead=told["now"] - (before + half), uncertainty=half)


async def look_at_access(pool: Pool, patience: float = 5.0) -> ConnectionInfo:
    """Detect a direct connection, a session pooler or a transaction pooler.

    A pooler reports another process id at connection time than the server does later. In
    transaction mode it gives a server process to the next client that asks: two connections then
    meet the same process, or one connection meets several.

    Args:
        pool: the pool whose connections are examined.
        patience: seconds to wait for a second connection.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with driver_errors():
        async with pool.connection() as first:
            access = ConnectionInfo(
                route="direct" if first.info.backend_pid == await _process(first) else "pooler",
                prepared_statements=first.prepare_threshold is not None,
                tls=bool(first.pgconn.ssl_in_use),
                host=first.info.host,
                port=first.info.port,
                database=first.info.dbname,
                local=first.info.host.startswith("/")
                or first.info.hostaddr in ("127.0.0.1", "::1"),
            )
            if access.route == "direct":
                return access
            return access.model_copy(update={"route": await _mode(pool, first, patience)})


async def _mode(pool: Pool, first: Connection, patience: float) -> ConnectionRoute:
    try:
        async with asyncio.timeout(patience), pool.connection() as second:
            met = [(await _process(first), await _process(second)) for _ in range(_ROUNDS)]
    except TimeoutError:
        return "pooler"
    ours, theirs = {pid for pid, _ in met}, {pid for _, pid in met}
    return (
        "transaction pooler"
        if ours & theirs or len(ours) > 1 or len(theirs) > 1
        else "session pooler"
    )


async def _process(conn: Connection) -> int:
    """Return the id of the server process that answers, in a transaction of its own."""
    row = await (await conn.execute(_SQL["server_process"].source, prepare=False)).fetchone()
    return int(row["pid"]) if row else 0
