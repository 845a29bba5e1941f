"""`graph-memory verify`: is the deployment set up as it should be?"""

from collections.abc import Sequence

import typer

from graphs.cli.ending import Exit, as_service_unprepared, run
from graphs.cli.output import AsJson, print_json, print_table
from graphs.memory.errors import ConfigurationError
from graphs.memory.operations.checks import Check, worst


def verify(as_json: AsJson = False) -> None:
    """Look at connection, server, pgvector, roles, every object of the schema, embeddings, jobs and clock.

    It changes nothing, works where the schema is missing or old, and says of each part what to do. Exit code 1 if
    something is wrong; what is only to be warned of does not count.
    """
    run(_verify(as_json))


async def _verify(as_json: bool) -> None:
    try:
        async with as_service_unprepared() as store:
            checks = await store.checks.verify()
    except ConfigurationError as error:  # a setting, or the database that it points at
        checks = [Check(name="connection", status="wrong", detail="none", advice=str(error))]
    show_checks(checks, as_json)


def show_checks(checks: Sequence[Check], as_json: bool) -> None:
    """Print checks, and end with exit code 1 if one is wrong."""
    status = worst(checks)
    if as_json:
        print_json({"status": status, "checks": checks})
    else:
        print_table(("Part", "", "Found", "What to do"), [(c.name, c.status, c.detail, c.advice) for c in checks])
    if status == "wrong":
        raise typer.Exit(Exit.FAILED)
