"""`graph-memory schema`: what the database has of the schema, and bringing it there."""

import asyncio
from collections.abc import Sequence
from difflib import unified_diff
from typing import Annotated

import typer

from graphs.cli.ending import (
    Exit,
    as_service_unprepared,
    fail,
    run,
)
from graphs.cli.output import (
    AsJson,
    DryRun,
    note,
    print_json,
    print_table,
)
from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.schema import Choice, read_scripts
from graphs.operations.catalogue import SchemaDifference
from graphs.operations.generating import generate as generate_sql

app = typer.Typer(
    no_args_is_help=True, help="The database's schema: tables, policies, functions, grants."
)

Without = Annotated[
    list[SchemaPart] | None,
    typer.Option(
        help="Leave this part out, in an empty database; may be given twice. Later starts leave it out, too."
    ),
]
With = Annotated[
    list[SchemaPart] | None,
    typer.Option(
        "--with", help="Add this part to a database that was made without it; may be given twice."
    ),
]


@app.command()
def diff(as_json: AsJson = False) -> None:
    """Tell object by object what the database lacks of this version's schema, or has otherwise. Changes nothing.

    Exit code 1 if there is a difference.
    """
    run(_diff(as_json))


async def _diff(as_json: bool) -> None:
    async with as_service_unprepared() as store:
        found = await store.operations.checks.differences()
    _show(found, as_json)
    if found:
        raise typer.Exit(Exit.FAILED)


@app.command()
def apply(
    dry_run: DryRun = False, as_json: AsJson = False, without: Without = None, adding: With = None
) -> None:
    """Bring the database to this version of the schema, in one transaction; also where something of it was lost.

    What is there stays: no table or column is dropped or changed. Exit code 1 if something is left that is not as the
    schema wants it; what the schema does not make does not count.

    Two parts can be left out: the graph (relationships between memories) and the history (what memories were before).
    """
    if both := {*(without or ())} & {*(adding or ())}:
        fail(f"Give either --with {min(both)} or --without {min(both)}.", Exit.USAGE)
    run(_apply(dry_run, as_json, Choice(without or (), adding or ())))


async def _apply(dry_run: bool, as_json: bool, choice: Choice) -> None:
    async with as_service_unprepared() as store:
        before = await store.operations.checks.differences(choice)
        if not dry_run:
            await store.operations.checks.apply_schema(choice)
        left = before if dry_run else await store.operations.checks.differences()
    if dry_run:
        note("What is missing or different now; nothing was changed.")
    else:
        note(f"The schema was applied: {len(before)} differences before, {len(left)} are left.")
    _show(left, as_json)
    if not dry_run and any(each.problem != "extra" for each in left):
        fail(
            "What is left has to be changed by hand: invalid indexes by `graph-memory indexes create`."
        )


@app.command()
def generate(
    plain: Annotated[
        bool, typer.Option(help="Begin with what makes a plain Postgres look like Supabase.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Register this embedding model, such as openai:…")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, max=4000, help="Those of the model's vectors.")
    ] = None,
    without: Without = None,
) -> None:
    """Print the schema as SQL for an empty database, for a migration tool of your own. Needs no database.

    Only the vector index depends on an embedding model; without --model and --dimensions the first start makes it.
    """
    if (model is None) != (dimensions is None):
        fail("Give --model and --dimensions together: the vector index needs both.", Exit.USAGE)
    run(_generate(plain, model, dimensions or 0, without or ()))


async def _generate(
    plain: bool, model: str | None, dimensions: int, without: Sequence[SchemaPart]
) -> None:
    scripts = await asyncio.to_thread(read_scripts)
    typer.echo(
        generate_sql(scripts, plain=plain, model=model, dimensions=dimensions, without=without)
    )


def _show(found: Sequence[SchemaDifference], as_json: bool) -> None:
    if as_json:
        print_json({"differences": found})
    elif not found:
        typer.echo("The database is as the schema wants it.")
    else:
        print_table(
            ("What", "Name", "Is"), [(each.kind, each.name, each.problem) for each in found]
        )
        for each in found:
            if each.problem == "different":
                typer.echo("\n".join(_definitions(each)))


def _definitions(difference: SchemaDifference) -> Sequence[str]:
    """How an object is defined in the schema and in the database, as the lines in which they differ."""
    wanted, there = (difference.wanted or "").splitlines(), (difference.found or "").splitlines()
    name = f"{difference.kind} {difference.name}"
    return [*unified_diff(there, wanted, f"database: {name}", f"schema: {name}", lineterm="", n=1)]
