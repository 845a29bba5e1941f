"""`graph-memory rls`: row-level security as one user meets it."""

from typing import Annotated
from uuid import UUID

import typer

from graphs.cli.ending import Exit, as_service, run
from graphs.cli.output import AsJson, print_json, print_table
from graphs.memory.values.namespaces import from_text
from graphs.operations.operations import Operations

app = typer.Typer(
    no_args_is_help=True,
    help="Row-level security: why a row is hidden, and whether users are separated.",
)

Person = Annotated[UUID, typer.Option(help="The user's id, as in Supabase Auth.")]

_KINDS = {True: "permissive", False: "restrictive"}
_SAYS = {True: "yes", False: "no", None: None}


@app.command()
def debug(
    namespace: Annotated[
        str, typer.Argument(help="The namespace, as in its column: users.ID.facts")
    ],
    key: Annotated[str, typer.Argument(help="The item's key in the namespace.")],
    user_id: Person,
    as_: Annotated[
        str | None, typer.Option("--as", help="The agent that acts for the user.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show why a user can or cannot read an item: what each policy decides, and by which claim.

    Exit code 1 if the item is hidden.
    """
    run(_debug(namespace, key, str(user_id), as_, as_json))


async def _debug(namespace: str, key: str, user_id: str, agent: str | None, as_json: bool) -> None:
    labels = from_text(namespace.removesuffix(".") + ".")
    async with as_service() as store:
        told = await Operations(store).checks.explain_access(user_id, labels, key, agent=agent)
    if as_json:
        print_json(told)
    else:
        typer.echo(f"{'Visible' if told.visible else 'Hidden'}. {told.because}")
        claims = [f"{name} {value}" for name, value in told.claims.items() if value]
        typer.echo(
            f"Claims: {', '.join(claims)}. "
            f"Organisations: {', '.join(told.organisations) or 'none'}."
        )
        rows = [
            (p.name, "permissive" if p.permissive else "restrictive", _SAYS[p.holds], p.condition)
            for p in told.policies
        ]
        print_table(("Policy", "Kind", "Holds", "Condition"), rows)
    if not told.visible:
        raise typer.Exit(Exit.FAILED)


@app.command("test")
def try_out(user_id: Person, as_json: AsJson = False) -> None:
    """Test what a user may and may not do, on temporary rows in a transaction that is rolled back.

    Exit code 1 if a result is not as it should be.
    """
    run(_test(str(user_id), as_json))


async def _test(user_id: str, as_json: bool) -> None:
    async with as_service() as store:
        attempts = await Operations(store).checks.try_borders(user_id)
    holds = all(attempt.holds for attempt in attempts)
    if as_json:
        print_json({"holds": holds, "attempts": attempts})
    else:
        rows = [(a.what, a.expected, a.found, "ok" if a.holds else "WRONG") for a in attempts]
        print_table(("Tried", "Expected", "Found", ""), rows)
    if not holds:
        raise typer.Exit(Exit.FAILED)
