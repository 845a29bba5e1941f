"""`graph-memory migrate langgraph-store` and `migrate switch`: LangGraph's own store, while it is written to."""

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

Schema = Annotated[str, typer.Option("--source-schema", help="The schema that its tables lie in.")]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OLD=NEW",
        help="How a namespace begins there and here, as in memories.{user}=users.{user}.memories. May be repeated; the "
        "first that fits counts.",
    ),
]


def langgraph_store(
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what changes there, until it is switched.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="With --follow: end when nothing is left to carry out.")
    ] = False,
    source_schema: Schema = "public",
    map_: Map = None,
    keep_vectors: KeepVectors = False,
    rejected: RejectedFile = None,
    queries: Queries = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring the items of LangGraph's AsyncPostgresStore, while the application goes on writing to it.

    Its database is MIGRATE_FROM_URL, or the memory's own where that is not set. Namespaces, keys, times and TTL stay
    as they are. A namespace that does not begin with users, orgs or agents is nobody's: --map says what it becomes.

    With --follow a trigger on its table notes each change, and this command carries them out until `migrate switch`.
    Interrupted or killed, it goes on where it was when it is run again.
    """
    rules = map_ or []
    if once and not follow:
        fail("--once says how to --follow: give both.", Exit.USAGE)
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
        yield await store.operations.moving.open(
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
        moving = store.operations.moving
        source = await moving.open(
            pool, schema=schema, rules=rules, keep_vectors=keep_vectors, follow=True
        )
        with until_interrupted() as stopping:
            with progress("memories") as advance:
                migration = await moving.copy(
                    source, reject=reject, progress=advance, stopping=stopping
                )
            if not stopping():
                brought = f"{migration.brought:,} memories were brought."
                note(
                    f"{brought} What changes follows until `graph-memory migrate switch {migration.id}`."
                )
                with progress("changes") as advance:
                    follow = functools.partial(moving.follow, reject=reject, progress=advance)
                    migration = await follow(source, stopping=stopping, once=once)
        await store.wait_until_indexed()
    _show_followed(migration, as_json)
    if stopping():
        fail("Paused. The same command goes on; what changes meanwhile is noted.", Exit.INTERRUPTED)


def _show_followed(migration: Migration, as_json: bool) -> None:
    if as_json:
        print_json({"migration": migration})
        return
    rows = [("brought", migration.brought), ("were there, and stay as they are", migration.present)]
    rows += [("had expired", migration.expired), ("rejected", migration.rejected)]
    print_table(("", "records"), rows, title=f"Migration {migration.id}, {migration.status}")


def switch(
    migration: MigrationId,
    undo: Annotated[
        bool, typer.Option("--undo", help="Open the old store again, and go on following it.")
    ] = False,
    queries: Queries = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Stop writes to a store that is followed, once all of it is here, and send the application here.

    The last changes are carried out and both sides compared: counts, and a digest of all keys, values and times. The
    old store refuses writes meanwhile (cannot_connect_now: try again); how long is told. Then it says that it has moved
    (read_only_sql_transaction). If the sides differ, it is opened again and nothing has changed.
    """
    if dry_run:
        run(_rehearse(migration, queries, as_json))
    elif undo:
        confirm(
            "Have the application write to the old store again? What was written here since stays here.",
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
            done = await store.operations.moving.switch(
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
        note(
            "Recall was not compared: the old store's vectors are of another model, or there are none."
        )


async def _rehearse(migration_id: str, queries: Path | None, as_json: bool) -> None:
    questions = await questions_in(queries)
    async with as_service() as store, followed_store(store, migration_id) as source:
        found = await store.operations.moving.rehearse(source, questions)
    if as_json:
        print_json({"dry_run": True, **found.model_dump()})
    else:
        typer.echo(
            f"{found.obstacles.there:,} items in the old store, {found.waiting:,} changes wait."
        )
        _tell_parity(found.parity)
        for each in found.obstacles.differences:
            note(f"{each.item} {each.problem}")
    if found.obstacles.differing:
        fail(f"{found.obstacles.differing:,} items would keep it from being switched.")


async def _undo(migration_id: str, as_json: bool) -> None:
    async with as_service() as store, followed_store(store, migration_id) as source:
        migration = await store.operations.moving.undo(source)
    if as_json:
        print_json({"migration": migration})
    else:
        typer.echo(
            "The old store takes writes again. Go on following it with the command that began the migration."
        )
