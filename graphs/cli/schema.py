"""`graph-memory schema`: compare the database with the schema, and apply the schema."""

import asyncio
from collections.abc import Sequence
from difflib import unified_diff
from pathlib import Path
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
from graphs.memory.database.schema import Choice, UpgradePlan, read_scripts
from graphs.operations.catalogue import SchemaDifference
from graphs.operations.generating import generate as generate_sql
from graphs.operations.migration_files import migration_files
from graphs.operations.operations import Operations

app = typer.Typer(
    no_args_is_help=True, help="The database's schema: tables, policies, functions, grants."
)

Without = Annotated[
    list[SchemaPart] | None,
    typer.Option(help="Leave this part out of an empty database, and of later starts; repeatable."),
]
With = Annotated[
    list[SchemaPart] | None,
    typer.Option(
        "--with", help="Add this part to a database that was made without it; repeatable."
    ),
]


@app.command()
def diff(as_json: AsJson = False) -> None:
    """List the objects that the database lacks, or that differ from the schema. Changes nothing.

    Exit code 1 if there is a difference.
    """
    run(_diff(as_json))


async def _diff(as_json: bool) -> None:
    async with as_service_unprepared() as store:
        found = await Operations(store).checks.differences()
    _show(found, as_json)
    if found:
        raise typer.Exit(Exit.FAILED)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the step that the database is at, and what `schema apply` would do. Changes nothing.

    Exit code 1 if the database cannot be upgraded to this version: it is too old, or newer.
    """
    run(_status(as_json))


async def _status(as_json: bool) -> None:
    scripts = await asyncio.to_thread(read_scripts)
    async with as_service_unprepared() as store:
        plan = await Operations(store).checks.plan_upgrade()
    if as_json:
        print_json({"newest": scripts.newest, **_as_dict(plan)})
        return
    if plan.step is not None:
        print_table(
            ("Step", "Is"),
            [
                (step.name, "applied" if step.number <= plan.step else "to be applied")
                for step in scripts.steps
            ],
        )
    typer.echo(_next(plan, scripts.newest))


def _as_dict(plan: UpgradePlan) -> dict[str, object]:
    return {
        "step": plan.step,
        "lacking": [step.name for step in plan.lacking],
        "up_to_date": plan.up_to_date,
    }


def _next(plan: UpgradePlan, newest: int) -> str:
    """Say where a database is, and what applying the schema does."""
    if plan.step is None:
        return f"The database has no schema: it would get the whole, which is at step {newest}."
    there = f"The database is at step {plan.step} of {newest}"
    if plan.lacking:
        names = ", ".join(step.name for step in plan.lacking)
        return f"{there}: {names} would be applied, then functions, policies and business tables."
    if plan.up_to_date:
        return f"{there}: nothing is to be applied."
    return f"{there}: functions, policies and business tables would be applied."


@app.command()
def apply(
    dry_run: DryRun = False, as_json: AsJson = False, without: Without = None, adding: With = None
) -> None:
    """Bring the database to this version's schema, also to restore lost objects.

    Steps that it lacks come first, each in a transaction of its own. The whole schema follows in
    one more: it drops and changes no table or column. Exit code 1 if an object still differs from
    the schema. Objects that are not part of the schema do not count.

    Two parts are optional: the graph (relationships between memories) and the history (earlier
    versions of memories).
    """
    if both := {*(without or ())} & {*(adding or ())}:
        fail(f"Give either --with {min(both)} or --without {min(both)}.", Exit.USAGE)
    run(_apply(dry_run, as_json, Choice(without or (), adding or ())))


async def _apply(dry_run: bool, as_json: bool, choice: Choice) -> None:
    async with as_service_unprepared() as store:
        plan = await Operations(store).checks.plan_upgrade()
        before = await Operations(store).checks.differences(choice)
        if not dry_run:
            await Operations(store).checks.apply_schema(choice)
        left = before if dry_run else await Operations(store).checks.differences()
    if dry_run:
        note(_next(plan, (await asyncio.to_thread(read_scripts)).newest))
        note("Nothing was changed. These objects are missing or differ:")
    else:
        for step in plan.lacking:
            note(f"Step {step.name} was applied.")
        note(f"The schema was applied: {len(before)} differences before, {len(left)} are left.")
    _show(left, as_json, lacking=[step.name for step in plan.lacking] if dry_run else [])
    if not dry_run and any(each.problem != "extra" for each in left):
        fail(
            "Change the remaining objects by hand; repair invalid indexes with "
            "`graph-memory indexes create`."
        )


@app.command()
def migrations(
    to: Annotated[Path, typer.Option(help="The folder, such as supabase/migrations.")],
    without: Without = None,
) -> None:
    """Write the steps of the schema as files for `supabase db push`. Needs no database.

    Each file notes its step in the database, and fails there if the step before it is missing. The
    same version writes the same files; another one adds files, for new steps and changed tables.
    """
    run(_migrations(to, without or ()))


async def _migrations(to: Path, without: Sequence[SchemaPart]) -> None:
    scripts = await asyncio.to_thread(read_scripts)
    for name, text in migration_files(scripts, without).items():
        await asyncio.to_thread(_write, to / name, text)
        typer.echo(str(to / name))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@app.command()
def generate(
    plain: Annotated[
        bool,
        typer.Option(help="Begin with the SQL that makes a plain Postgres look like Supabase."),
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Register this embedding model, such as openai:…")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, max=4000, help="Dimensions of the model's vectors.")
    ] = None,
    without: Without = None,
) -> None:
    """Print the schema as SQL for an empty database, for your own migration tool.

    It needs no database. Only the vector index depends on an embedding model; without --model and
    --dimensions the first start creates it.
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


def _show(found: Sequence[SchemaDifference], as_json: bool, *, lacking: Sequence[str] = ()) -> None:
    if as_json:
        print_json({"differences": found, "steps": lacking})
    elif not found:
        typer.echo("The database matches the schema.")
    else:
        print_table(
            ("What", "Name", "Is"), [(each.kind, each.name, each.problem) for each in found]
        )
        for each in found:
            if each.problem == "different":
                typer.echo("\n".join(_definitions(each)))


def _definitions(difference: SchemaDifference) -> Sequence[str]:
    """Return the differences of an object's definition as a unified diff."""
    wanted, there = (difference.wanted or "").splitlines(), (difference.found or "").splitlines()
    name = f"{difference.kind} {difference.name}"
    return [*unified_diff(there, wanted, f"database: {name}", f"schema: {name}", lineterm="", n=1)]
