"""`graph-memory migrate langgraph-store` and `switch`: LangGraph's own store, while in use."""

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from graphs.cli.asking import Yes, confirm
from graphs.cli.ending import (
    Exit,
    as_service,
    fail,
    run,
)
from graphs.cli.migrate import (
    KeepVectors,
    MigrationId,
    Queries,
    RejectedFile,
)
from graphs.cli.migrate_from import followed_store, source_pool
from graphs.cli.migrating import (
    How,
    carry_out,
    questions_in,
    rejects,
    until_interrupted,
)
from graphs.cli.output import (
    AsJson,
    DryRun,
    note,
    print_json,
    print_table,
    progress,
)
from graphs.operations.migration.comparing import Parity
from graphs.operations.migration.ledger import Migration
from graphs.operations.migration.source import Source
from graphs.operations.migration.switching import SwitchResult
from graphs.operations.operations import Operations

Schema = Annotated[str, typer.Option("--source-schema", help="The schema of its tables.")]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OLD=NEW",
        help="Rename the beginning of namespaces, as in memories.{user}=users.{user}.memories. "
        "Repeatable; the first match counts.",
    ),
]


def langgraph_store(
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Keep applying the changes there, until `migrate switch`."),
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="With --follow: end when all changes are applied.")
    ] = False,
    source_schema: Schema = "public",
    map_: Map = None,
    keep_vectors: KeepVectors = False,
    rejected: RejectedFile = None,
    queries: Queries = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Import the items of LangGraph's AsyncPostgresStore, while the application writes to it.

    Its database is MIGRATE_FROM_URL, or the memory's own if that is not set. Namespaces, keys,
    times and TTL are kept. A namespace that does not begin with users, orgs or agents belongs to
    nobody: --map renames it.

    With --follow a trigger on its table records each change, and this command applies the changes
    until `migrate switch`. If it is interrupted or killed, run it again: it continues.
    """
    rules = map_ or []
    if once and not follow:
        fail("--once needs --follow: give both.", Exit.USAGE)
    if follow and not dry_run:
        run(_follow(source_schema, rules, keep_vectors, rejected, once, as_json))
        return
    opening = _opened(source_schema, rules, keep_vectors, follow)
    run(carry_out(opening, How(rejected, queries, dry_run, as_json)))


@asynccontextmanager
async def _opened(
    schema: str, rules: list[str], keep_vectors: bool, follow: bool
) -> AsyncIterator[Source]:
    async with as_service() as store, source_pool() as pool:
        yield await Operations(store).moving.open(
            pool, schema=schema, rules=rules, keep_vectors=keep_vectors, follow=follow
        )


async def _follow(
    schema: str,
    rules: list[str],
    keep_vectors: bool,
    rejected: Path | None,
    once: bool,
    as_json: bool,
) -> None:
    async with as_service() as store, source_pool() as pool, rejects(rejected) as reject:
        moving = Operations(store).moving
        source = await moving.open(
            pool, schema=schema, rules=rules, keep_vectors=keep_vectors, follow=True
        )
        with until_interrupted() as stopping:
            with progress("memories") as advance:
                migration = await moving.copy(
                    source, reject=reject, progress=advance, stopping=stopping
                )
            if not stopping():
                brought = f"{migration.brought:,} memories were imported."
                note(
                    f"{brought} Changes follow until `graph-memory migrate switch {migration.id}`."
                )
                with progress("changes") as advance:
                    follow = functools.partial(moving.follow, reject=reject, progress=advance)
                    migration = await follow(source, stopping=stopping, once=once)
        await store.wait_until_indexed()
    _show_followed(migration, as_json)
    if stopping():
        fail(
            "Paused, changes are recorded. Run the same command again to continue.",
            Exit.INTERRUPTED,
        )


def _show_followed(migration: Migration, as_json: bool) -> None:
    if as_json:
        print_json({"migration": migration})
        return
    rows = [("imported", migration.brought), ("existed, and stay as they are", migration.present)]
    rows += [("had expired", migration.expired), ("rejected", migration.rejected)]
    print_table(("", "records"), rows, title=f"Migration {migration.id}, {migration.status}")


def switch(
    migration: MigrationId,
    undo: Annotated[
        bool,
        typer.Option("--undo", help="Open the old store for writes again, and keep following it."),
    ] = False,
    queries: Queries = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Stop writes to a followed store once everything is imported, and let the application switch.

    The last changes are applied, and both sides are compared: counts, and a digest of all keys,
    values and times. Meanwhile the old store refuses writes (cannot_connect_now: try again); the
    duration is printed. Afterwards it answers that it has moved (read_only_sql_transaction). If the
    sides differ, the old store is opened again and nothing has changed.
    """
    if dry_run:
        run(_rehearse(migration, queries, as_json))
    elif undo:
        confirm(
            "Open the old store for writes again? Memories written here since then stay here.",
            yes,
        )
        run(_undo(migration, as_json))
    else:
        confirm("Stop writes to the old store?", yes)
        run(_switch(migration, queries, as_json))


async def _switch(migration_id: str, queries: Path | None, as_json: bool) -> None:
    questions = await questions_in(queries)
    async with as_service() as store, followed_store(store, migration_id) as source:
        with progress("changes") as advance:
            done = await Operations(store).moving.switch(
                source, questions=questions, progress=advance
            )
        await store.wait_until_indexed()
    if as_json:
        print_json(done)
    else:
        _show_switched(done)


def _show_switched(done: SwitchResult) -> None:
    if done.agreement is None:
        typer.echo("It was switched before. The application may write here.")
        return
    rows = [("in the old store", done.agreement.there), ("here", done.agreement.here)]
    print_table(("", "items"), [*rows, ("that differ", done.agreement.differing)])
    _tell_parity(done.parity)
    typer.echo(
        f"Writes were refused for {done.refused_seconds:.2f} s. The application may write here now."
    )


def _tell_parity(parity: Parity | None) -> None:
    if parity and parity.overlap is not None:
        asked = f"{len(parity.questions):,} questions were asked on both sides"
        typer.echo(f"{asked}: overlap@{parity.limit} is {parity.overlap:.2f}.")
    else:
        note("Recall was not compared: the old store has no vectors, or vectors of another model.")


async def _rehearse(migration_id: str, queries: Path | None, as_json: bool) -> None:
    questions = await questions_in(queries)
    async with as_service() as store, followed_store(store, migration_id) as source:
        found = await Operations(store).moving.rehearse(source, questions)
    if as_json:
        print_json({"dry_run": True, **found.model_dump()})
    else:
        typer.echo(
            f"{found.obstacles.there:,} items in the old store, {found.waiting:,} waiting changes."
        )
        _tell_parity(found.parity)
        for each in found.obstacles.differences:
            note(f"{each.item} {each.problem}")
    if found.obstacles.differing:
        fail(f"{found.obstacles.differing:,} items prevent the switch.")


async def _undo(migration_id: str, as_json: bool) -> None:
    async with as_service() as store, followed_store(store, migration_id) as source:
        migration = await Operations(store).moving.undo(source)
    if as_json:
        print_json({"migration": migration})
    else:
        typer.echo(
            "The old store takes writes again. To keep following it, run the command that "
            "began the migration."
        )
