"""`graph-memory`: run the deployment, and operate it.

Exit codes: 0 done, 1 failed or a check failed (the message says what to change), 2 wrong usage,
3 the database or a service cannot be reached, 130 interrupted.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from graphs.checkpointer import open_checkpointer
from graphs.cli import (
    audit,
    backup,
    indexes,
    jobs,
    memories,
    migrate,
    moving,
    outbox,
    pool,
    rights,
    rls,
    runs,
    schema,
)
from graphs.cli.benchmark import benchmark
from graphs.cli.checks import validate, verify
from graphs.cli.demo import demo
from graphs.cli.doctor import doctor
from graphs.cli.ending import as_service_unprepared, fail, run
from graphs.cli.monitor import monitor
from graphs.cli.output import (
    AsJson,
    DryRun,
    print_json,
    progress,
)
from graphs.composition import deployment_store
from graphs.deployment.models import chat_model
from graphs.deployment.settings import load_settings
from graphs.operations.operations import Operations

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help=__doc__)

SERVE, CHECK, WATCH = "Serve", "Set up and check", "Watch"
KEEP, EVERY_DAY = "Back up and restore", "Every day"

Port = Annotated[int, typer.Option(min=1, max=65535, envvar="PORT", help="Port to serve on.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]


@app.command(rich_help_panel=SERVE)
def dev(port: Port = 2024, host: Host = "127.0.0.1") -> None:
    """Check settings, database and port, then serve with `langgraph dev` until Ctrl-C."""
    if not Path("langgraph.json").is_file():
        fail("There is no langgraph.json here: change to the project's folder.")
    _check_port(host, port)
    run(_prepare())
    command = [sys.executable, "-m", "langgraph_cli", "dev"]
    options = [
        "--host",
        host,
        "--port",
        str(port),
        "--no-browser",
        "--no-reload",
        "--n-jobs-per-worker",
        "20",
    ]
    # LangChain's command reports its use to its maker, and the server asks for a newer version of
    # itself. Without these, neither sends anything.
    os.environ.setdefault("LANGGRAPH_CLI_NO_ANALYTICS", "1")
    os.environ.setdefault("LANGGRAPH_NO_VERSION_CHECK", "true")
    sys.stdout.flush()
    # The server replaces this process, so that Ctrl-C and signals reach it directly.
    os.execv(command[0], [*command, *options])  # noqa: S606  no shell, a fixed command


@app.command(rich_help_panel=SERVE)
def setup() -> None:
    """Apply the schema to the configured database, or to the embedded one."""
    run(_prepare())
    typer.echo("The database is ready.")


@app.command(rich_help_panel=CHECK)
def reembed(dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Embed all memories with the configured model and switch to it. May be interrupted.

    The new vectors are made beside those in use, which searches use until the switch.
    """
    made = run(_reembed(dry_run))
    if as_json:
        print_json({"dry_run": dry_run, "vectors": made})
    elif dry_run:
        typer.echo(f"{made:,} vectors would be made, and the configured embedding model used.")
    else:
        typer.echo(f"The configured embedding model is in use; {made:,} vectors were made.")


@app.command(rich_help_panel=SERVE)
def worker(
    concurrency: Annotated[int, typer.Option(min=1, max=100, help="Most jobs at once.")] = 4,
) -> None:
    """Run background jobs until Ctrl-C or SIGTERM. Any number of workers share a database's jobs.

    The server runs the jobs itself unless MEMORY_WORKER=false.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    run(_work(concurrency))


async def _work(concurrency: int) -> None:
    stopped = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    async with deployment_store() as store, store.jobs.working(concurrency=concurrency):
        typer.echo("Running background jobs. Ctrl-C ends this after the current jobs.")
        await stopped.wait()


async def _reembed(dry_run: bool) -> int:
    async with as_service_unprepared() as store:
        if dry_run:
            return await Operations(store).oversight.would_reembed()
        with progress("vectors") as advance:
            return await store.reembed(advance)


async def _prepare() -> None:
    """Open and close everything that the server needs, so that errors show before it starts."""
    settings = await asyncio.to_thread(load_settings)
    await asyncio.to_thread(chat_model, settings)
    async with deployment_store(), open_checkpointer():
        pass


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the server does it, so that a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            fail(
                f"Port {port} on {host} cannot be used ({error.strerror}): "
                f"choose another one, as in `make dev PORT={port + 1}`."
            )


app.command(rich_help_panel=SERVE)(demo)
for _command in (verify, doctor, validate):
    app.command(rich_help_panel=CHECK)(_command)
for _name, _group in (("schema", schema), ("indexes", indexes), ("rls", rls), ("pool", pool)):
    app.add_typer(_group.app, name=_name, rich_help_panel=CHECK)
for _name, _group in (("jobs", jobs), ("outbox", outbox), ("audit", audit)):
    app.add_typer(_group.app, name=_name, rich_help_panel=WATCH)
app.command(rich_help_panel=WATCH)(monitor)
app.command(rich_help_panel=WATCH)(benchmark)
app.add_typer(backup.app, name="backup", rich_help_panel=KEEP)
app.command(rich_help_panel=KEEP)(backup.restore)
for _everyday in (
    memories.recall,
    memories.remember,
    memories.history,
    memories.forget,
    memories.explain,
    rights.export_user,
    rights.erase_user,
    rights.sweep,
    rights.decay,
):
    app.command(rich_help_panel=EVERY_DAY)(_everyday)
app.add_typer(runs.app, name="runs", rich_help_panel=EVERY_DAY)
migrate.app.command()(moving.langgraph_store)
migrate.app.command()(moving.switch)
app.add_typer(migrate.app, name="migrate", rich_help_panel="Migrate")


if __name__ == "__main__":
    app()
