"""A PgBouncer configuration for a deployment."""

from pydantic import BaseModel, ConfigDict, Field

from graphs.operations.connection import ConnectionInfo, Server

_CONFIGURATION = """\
; PgBouncer in transaction mode, for a server with max_connections = {max_connections} and
; {processes} processes of the deployment that open up to {pool_size} connections per event loop.
; Then set DATABASE_URL to postgresql://user:password@<this host>:6543/{database}. The deployment
; recognises port 6543 as a transaction pooler and prepares no statements there.

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
    """PgBouncer's pool sizes for one server."""

    model_config = ConfigDict(frozen=True)

    default_pool_size: int = Field(
        description="Connections to the server, for each pair of database and user."
    )
    reserve_pool_size: int = Field(
        description="Additional server connections when a client waits longer than five seconds."
    )
    max_client_conn: int = Field(description="Connections that clients may open to the pooler.")


def recommend_sizes(server: Server, processes: int, pool_size: int) -> PoolSizes:
    """Return the recommended sizes of PgBouncer's pools.

    The server keeps a tenth of its connections, three at least, for migrations, psql and
    monitoring. A tenth of the rest is the reserve pool; what remains is the default pool. A client
    costs PgBouncer a few kilobytes only, so there is room for twice as many as the processes open.
    Each process has two event loops: one for runs, one for the HTTP app.

    Args:
        server: the server whose connections are shared.
        processes: number of processes of the deployment, servers and workers.
        pool_size: most connections that one event loop opens (DATABASE_POOL_SIZE).
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


def configuration(access: ConnectionInfo, server: Server, processes: int, pool_size: int) -> str:
    """Return a `pgbouncer.ini` for this database. It contains no user and no password."""
    return _CONFIGURATION.format(
        max_connections=server.max_connections,
        processes=processes,
        pool_size=pool_size,
        host=access.host,
        port=access.port,
        database=access.database,
        **recommend_sizes(server, processes, pool_size).model_dump(),
    )
