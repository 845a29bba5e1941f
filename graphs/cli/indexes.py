"""`graph-memory indexes`: state of the indexes, missing ones, and the kind of the vector index."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer

from graphs.cli.ending import (
    Exit,
    as_service_unprepared,
    fail,
    run,
)
from graphs.cli.output import (
    Advance,
    AsJson,
    DryRun,
    note,
    print_json,
    print_table,
    progress,
)
from graphs.memory.errors import InvalidInput
from graphs.operations.indexes import IndexStatus, Vectors
from graphs.operations.operations import Operations
from graphs.operations.sizing import MOST_LISTS, IndexChoice, Method
from graphs.operations.vector_index import StepProgress

app = typer.Typer(no_args_is_help=True, help="The memory's indexes, including the vector index.")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show each index: its size and use, its validity, and the vectors that are not indexed yet."""
    run(_status(as_json))


async def _status(as_json: bool) -> None:
    async with as_service_unprepared() as store:
        told = await Operations(store).indexes.status()
    if as_json:
        print_json(told)
        return
    rows = [
        (
            i.name,
            i.on_table,
            i.method,
            i.bytes,
            i.scans,
            "building" if i.building else "yes" if i.valid else "NO",
        )
        for i in told.indexes
    ]
    print_table(("Index", "On", "Method", "Bytes", "Scans", "Valid"), rows)
    built = {index.name: index for index in told.indexes}
    vectors = [(*_vectors(each), *_parameters(built.get(each.index))) for each in told.vectors]
    columns = (
        "Model",
        "Dimensions",
        "Active",
        "Vector index",
        "Vectors",
        "Pending",
        "m",
        "ef_construction",
        "lists",
    )
    print_table(columns, vectors)
    for each in told.vectors:
        if each.advice:
            typer.echo(each.advice)


def _vectors(told: Vectors) -> tuple[object, ...]:
    return (
        told.model,
        told.dimensions,
        "yes" if told.active else "no",
        told.index,
        told.vectors,
        told.pending,
    )


def _parameters(index: IndexStatus | None) -> tuple[int | None, ...]:
    return (index.m, index.ef_construction, index.lists) if index else (None, None, None)


@app.command()
def create(dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Create missing indexes and rebuild invalid ones. Reads and writes continue meanwhile.

    May be interrupted and repeated. Large indexes take long: if the role has a statement_timeout,
    connect directly and raise it first (ALTER ROLE … SET statement_timeout = 0).
    """
    run(_create(dry_run, as_json))


async def _create(dry_run: bool, as_json: bool) -> None:
    async with as_service_unprepared() as store:
        if dry_run:
            names = [*await Operations(store).indexes.lacking()]
        else:
            with progress("indexes") as advance:
                names = await Operations(store).indexes.create(advance)
    if as_json:
        print_json({"indexes": names})
        return
    note(f"{len(names)} indexes {'would be made' if dry_run else 'were made'}.")
    for name in names:
        typer.echo(name)


@app.command()
def migrate(
    to: Annotated[Method, typer.Option(help="The kind of index.")],
    m: Annotated[
        int | None, typer.Option(help="HNSW: neighbours kept for each vector.", min=2, max=100)
    ] = None,
    ef_construction: Annotated[
        int | None,
        typer.Option(
            help="HNSW: candidates that neighbours are chosen from, at least twice m.",
            min=4,
            max=1000,
        ),
    ] = None,
    lists: Annotated[
        int | None,
        typer.Option(
            help="IVFFlat: lists that the vectors are divided into.", min=1, max=MOST_LISTS
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild the vector index as HNSW or IVFFlat, or with other parameters, while in use.

    Parameters that are not given are chosen by the number of vectors; docs/guides/sizing.md says
    how. The new index is built beside the old one (CREATE INDEX CONCURRENTLY). Searches use the old
    one until the new one takes its name; then the old one is dropped. This needs the disk space of
    both. The choice is stored for this model: later starts, rebuilds and `schema apply` use it.

    If it is interrupted or killed, run it again: it continues. If the role has a statement_timeout,
    connect directly and raise it first (ALTER ROLE … SET statement_timeout = 0). A larger
    maintenance_work_mem makes it faster.
    """
    wish = IndexChoice(method=to, m=m, ef_construction=ef_construction, lists=lists)
    try:
        wish.check()
    except InvalidInput as error:
        fail(str(error), Exit.USAGE)
    run(_migrate(wish, dry_run, as_json))


async def _migrate(wish: IndexChoice, dry_run: bool, as_json: bool) -> None:
    async with as_service_unprepared() as store:
        if dry_run:
            told = await Operations(store).indexes.plan_migration(wish)
        else:
            with _phases() as phases:
                told = await Operations(store).indexes.migrate(wish, phases)
    if as_json:
        print_json(told)
        return
    if not told.steps:
        typer.echo(f"{told.index} is {told.after} already, over {told.vectors:,} vectors.")
        return
    before, became = told.before or "no complete index", "would become" if dry_run else "became"
    typer.echo(f"{told.index}, over {told.vectors:,} vectors: {before} {became} {told.after}.")
    for step in told.steps if dry_run else []:
        typer.echo(f"- {step}")


@contextmanager
def _phases() -> Iterator[StepProgress]:
    """Show a progress bar per phase, since phases count different things."""
    with ExitStack() as stack:
        shown: tuple[str, Advance] | None = None

        def tell(phase: str, done: int, of: int | None) -> None:
            nonlocal shown
            if shown is None or shown[0] != phase:
                stack.close()
                shown = phase, stack.enter_context(progress(phase))
            shown[1](done, of)

        yield tell
