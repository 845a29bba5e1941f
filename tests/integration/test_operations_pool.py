"""`graph-memory pool`: its report is true, and PgBouncer accepts the configuration it prints."""

import json

from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from graphs.operations.checks import check_access, check_connections
from graphs.operations.connection import ConnectionInfo, Server
from graphs.operations.pooling import recommend_sizes
from tests.support.command import command_on
from tests.support.pooler import Pooler

SERVER = Server(
    version="17.2",
    number=170002,
    vector="0.8.0",
    available_vector="0.8.0",
    roles={},
    max_connections=100,
    reserved_connections=3,
    connections={},
    ahead=0,
    uncertainty=0,
)
ACCESS = ConnectionInfo(
    route="direct",
    prepared_statements=True,
    tls=False,
    local=False,
    host="db",
    port=5432,
    database="memory",
)


def test_pgbouncer_takes_what_is_printed_and_the_check_tells_that_it_is_there(
    postgres: str, database: str
) -> None:
    name = str(conninfo_to_dict(database)["dbname"])
    with command_on(database) as command:
        printed = command("pool", "config", "--processes", "3")
        told = json.loads(command("pool", "check", "--json").stdout)
    assert printed.exit_code == 0
    assert [c["status"] for c in told["checks"]] == ["ok"] * 4
    assert told["checks"][0]["detail"] == "direct"
    assert "default_pool_size = 79\nreserve_pool_size = 8\n" in printed.stdout

    # The test has no password, one user, and a free port; the rest stays as printed.
    configuration = printed.stdout.replace("{", "{{").replace("}", "}}")
    for line, instead in (
        ("auth_type = scram-sha-256\n", "auth_type = any\nunix_socket_dir =\n"),
        ("auth_file = /etc/pgbouncer/userlist.txt\n", ""),
        ("listen_port = 6543\n", "listen_port = {port}\n"),
        (
            f"dbname={name}\n",
            f"dbname={name} user=postgres\npostgres = host={{host}} user=postgres\n",
        ),
    ):
        assert line in configuration
        configuration = configuration.replace(line, instead)
    with (
        Pooler(postgres, configuration=configuration) as pooler,
        command_on(pooler.url_for(database)) as command,
    ):
        pooled = json.loads(command("pool", "check", "--json").stdout)["checks"][0]
    assert pooled["detail"] == "transaction pooler, no TLS, prepares statements"
    assert "6543" in pooled["advice"]


@given(st.integers(1, 10_000), st.integers(1, 500), st.integers(1, 500))
def test_the_pools_leave_the_server_some_connections(
    most: int, processes: int, pool_size: int
) -> None:
    server = SERVER.model_copy(update={"max_connections": most})
    sizes = recommend_sizes(server, processes, pool_size)
    assert min(sizes.default_pool_size, sizes.reserve_pool_size) >= 1
    assert sizes.default_pool_size + sizes.reserve_pool_size <= max(
        2, most - server.reserved_connections - 3
    )
    assert sizes.max_client_conn >= 2 * processes * pool_size


def test_a_server_that_is_nearly_full_and_plain_text_over_the_network_are_warned_of() -> None:
    assert check_connections(SERVER.model_copy(update={"connections": {"idle": 77}})).status == "ok"
    full = check_connections(SERVER.model_copy(update={"connections": {"idle": 70, "active": 8}}))
    assert (full.status, full.detail) == ("warn", "78 of 97 open (8 active, 70 idle)")
    assert check_access(ACCESS).status == "warn"
    assert "sslmode=require" in (check_access(ACCESS).advice or "")
    for secure in ({"tls": True}, {"local": True}):
        assert check_access(ACCESS.model_copy(update=secure)).status == "ok"
