"""How PgBouncer is set up before the database."""

from pydantic import BaseModel, ConfigDict, Field

from graphs.operations.connection import Access, Server

_CONFIGURATION = """\
; PgBouncer in transaction mode, for a server with max_connections = {max_connections} and {processes} processes of the
; deployment that open up to {pool_size} connections for each event loop.
; Then set DATABASE_URL to postgresql://user:password@<this host>:6543/{database}. Port 6543 tells the deployment that
; it goes through a transaction pooler, where nothing is prepared.

[databases]
{database} = host={host} port={port} dbname={database}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = 6543
pool_mode = transaction
auth_type = scram-sha-256
auth_file = /etc/pgbouncer/userlist.txt
default_pool_size = {default_pool_size}
reserve_pool_size = {reserve_pool_size}
reserve_pool_timeout = 5
max_client_conn = {max_client_conn}
ignore_startup_parameters = extra_float_digits,options
"""


class PoolSizes(BaseModel):
    """Sizes for PgBouncer before one server."""

    model_config = ConfigDict(frozen=True)

    default_pool_size: int = Field(
        description="Connections to the server, for each pair of database and user."
    )
    reserve_pool_size: int = Field(
        description="More of them, while somebody waits for longer than five seconds."
    )
    max_client_conn: int = Field(description="Connections that processes may open to the pooler.")


def recommend_sizes(server: Server, processes: int, pool_size: int) -> PoolSizes:
    """Return how large PgBouncer's pools should be.

    The server keeps a tenth of its connections, three at least, for migrations, psql and monitoring. Of what is left a
    tenth is the reserve, and the rest the pool. A client costs PgBouncer a few kilobytes only, so that there is room
    for twice as many as the processes open: each has two event loops, that of runs and that of the HTTP app.

    Args:
        server: whose connections are to be shared.
        processes: how many processes of the deployment there are, servers and workers.
        pool_size: how many connections each of their event loops opens at most (DATABASE_POOL_SIZE).
    """
    usable = max(
        2,
        server.max_connections - server.reserved_connections - max(3, server.max_connections // 10),
    )
    reserve = max(1, usable // 10)
    return PoolSizes(
        default_pool_size=usable - reserve,
        reserve_pool_size=reserve,
        max_client_conn=max(100, 2 * 2 * processes * pool_size),
    )


def configuration(access: Access, server: Server, processes: int, pool_size: int) -> str:
    """Return a `pgbouncer.ini` for the database that this process reaches; it holds no password and no user."""
    return _CONFIGURATION.format(
        max_connections=server.max_connections,
        processes=processes,
        pool_size=pool_size,
        host=access.host,
        port=access.port,
        database=access.database,
        **recommend_sizes(server, processes, pool_size).model_dump(),
    )
