"""`graph-memory verify` and `validate`: is the deployment set up correctly, and does it work?"""

from collections.abc import Sequence
from uuid import uuid4

import typer

from graphs.cli.ending import Exit, as_service_unprepared, run
from graphs.cli.output import AsJson, print_json, print_table
from graphs.memory.errors import ConfigurationError, StoreUnavailable
from graphs.operations.borders import Attempt
from graphs.operations.operations import Operations
from graphs.operations.results import CheckResult, worst
from graphs.operations.trial import try_out


def verify(as_json: AsJson = False) -> None:
    """Check connection, server, pgvector, roles, schema, embeddings, jobs and clock.

    It compares the schema object by object, changes nothing, works if the schema is missing or old,
    and says for each part what to do. Exit code 1 if something is wrong, 3 if the database does not
    answer. Warnings do not count.
    """
    run(_verify(as_json))


async def _verify(as_json: bool) -> None:
    try:
        async with as_service_unprepared() as store:
            checks = await Operations(store).checks.verify()
    except ConfigurationError as error:  # a setting is wrong, or its database
        checks = [CheckResult(name="connection", status="wrong", detail="none", advice=str(error))]
        show_checks(
            checks,
            as_json,
            Exit.UNAVAILABLE if isinstance(error, StoreUnavailable) else Exit.FAILED,
        )
    show_checks(checks, as_json)


def validate(as_json: AsJson = False) -> None:
    """Do everything that `verify` does, then test row-level security and try the memory out.

    A made-up user writes, searches and deletes. Nothing is tried if a check has failed already. The
    made-up user is erased again. Like every erasure, it leaves a certificate and an audit record,
    which do not name the user. Exit code 1 if something is wrong.
    """
    run(_validate(as_json))


async def _validate(as_json: bool) -> None:
    async with as_service_unprepared() as store:
        checks = await Operations(store).checks.verify()
        if worst(checks) != "wrong":
            checks += [
                _borders(await Operations(store).checks.try_borders(str(uuid4()))),
                *await try_out(store),
            ]
    show_checks(checks, as_json)


def _borders(attempts: Sequence[Attempt]) -> CheckResult:
    open_ = [attempt.what for attempt in attempts if not attempt.holds]
    if not open_:
        return CheckResult(
            name="borders",
            status="ok",
            detail=f"all {len(attempts)} attempts had the right result",
        )
    advice = (
        "Run `graph-memory rls test --user-id …` with any user's id, and "
        "`graph-memory schema diff`."
    )
    return CheckResult(name="borders", status="wrong", detail="; ".join(open_), advice=advice)


def show_checks(checks: Sequence[CheckResult], as_json: bool, code: Exit = Exit.FAILED) -> None:
    """Print checks, and end the command with an exit code if one is wrong."""
    status = worst(checks)
    if as_json:
        print_json({"status": status, "checks": checks})
    else:
        print_table(
            ("Part", "", "Found", "What to do"),
            [(c.name, c.status, c.detail, c.advice) for c in checks],
        )
    if status == "wrong":
        raise typer.Exit(code)
