"""`graph-memory pool`: the route of DATABASE_URL, and a pooler for the database."""

import asyncio
from typing import Annotated

import typer

from graphs.cli.checks import show_checks
from graphs.cli.ending import as_service_unprepared, run
from graphs.cli.output import AsJson, note
from graphs.deployment.settings import load_settings
from graphs.operations.checks import check_access, check_connections
from graphs.operations.connection import ConnectionInfo
from graphs.operations.operations import Operations
from graphs.operations.pooling import configuration
from graphs.operations.results import CheckResult

app = typer.Typer(no_args_is_help=True, help="Connections: direct, or through a pooler.")


@app.command()
def check(as_json: AsJson = False) -> None:
    """Show the route of DATABASE_URL, if statements are prepared, and the open connections."""
    run(_check(as_json))


async def _check(as_json: bool) -> None:
    size = (await asyncio.to_thread(load_settings)).database_pool_size
    async with as_service_unprepared() as store:
        access, server = (
            await Operations(store).checks.access(),
            await Operations(store).checks.server(),
        )
    checks = [check_access(access), _prepared(access), check_connections(server)]
    most = (
        f"{size} for each event loop of a process (DATABASE_POOL_SIZE), "
        f"of the server's {server.max_connections}"
    )
    show_checks([*checks, CheckResult(name="pool", status="ok", detail=most)], as_json)


def _prepared(access: ConnectionInfo) -> CheckResult:
    told = (
        "prepared by each connection"
        if access.prepared_statements
        else "not prepared: the port is 6543"
    )
    return CheckResult(name="statements", status="ok", detail=told)


@app.command()
def config(
    processes: Annotated[
        int, typer.Option(min=1, help="Processes of the deployment: servers and workers.")
    ] = 1,
) -> None:
    """Print a pgbouncer.ini for transaction mode, sized for the server's max_connections."""
    run(_config(processes))


async def _config(processes: int) -> None:
    size = (await asyncio.to_thread(load_settings)).database_pool_size
    async with as_service_unprepared() as store:
        access, server = (
            await Operations(store).checks.access(),
            await Operations(store).checks.server(),
        )
    if access.route != "direct":
        note(
            "DATABASE_URL already goes through a pooler: "
            "put the server's own host and port in [databases]."
        )
    typer.echo(configuration(access, server, processes, size), nl=False)
