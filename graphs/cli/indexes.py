"""`graph-memory indexes`: how the indexes are, those that are missing made, and the vector index made another."""

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
from graphs.operations.sizing import MOST_LISTS, IndexChoice, Method
from graphs.operations.vector_index import StepProgress

app = typer.Typer(no_args_is_help=True, help="The memory's indexes, the vector index among them.")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show each index: its size and use, whether it is valid, and how many vectors wait for the vector index."""
    run(_status(as_json))


async def _status(as_json: bool) -> None:
    async with as_service_unprepared() as store:
        told = await store.operations.indexes.status()
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
    """Make the indexes that are missing, and anew those that are invalid, while everybody goes on reading and writing.

    May be interrupted and repeated. Large ones take long: where the role has a statement_timeout, connect directly
    and raise it first (ALTER ROLE … SET statement_timeout = 0).
    """
    run(_create(dry_run, as_json))


async def _create(dry_run: bool, as_json: bool) -> None:
    async with as_service_unprepared() as store:
        if dry_run:
            names = [*await store.operations.indexes.lacking()]
        else:
            with progress("indexes") as advance:
                names = await store.operations.indexes.create(advance)
    if as_json:
        print_json({"indexes": names})
        return
    note(f"{len(names)} indexes {'would be made' if dry_run else 'were made'}.")
    for name in names:
        typer.echo(name)


@app.command()
def migrate(
    to: Annotated[Method, typer.Option(help="The kind of index to have.")],
    m: Annotated[
        int | None, typer.Option(help="HNSW: neighbours kept for each vector.", min=2, max=100)
    ] = None,
    ef_construction: Annotated[
        int | None,
        typer.Option(
            help="HNSW: candidates from which they are chosen, at least twice m.", min=4, max=1000
        ),
    ] = None,
    lists: Annotated[
        int | None,
        typer.Option(
            help="IVFFlat: parts that the vectors are divided into.", min=1, max=MOST_LISTS
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make the vector index another one: HNSW, IVFFlat, or the same with other parameters, while everybody goes on.

    What is not given is chosen by the number of vectors; docs/guides/sizing.md says how. The new index is built beside
    the old one (CREATE INDEX CONCURRENTLY), which searches use until the new one takes its name; then it is dropped.
    Needs the disk space of both. The choice is kept for this model: later starts, rebuilds and `schema apply` go by it.

    Interrupted or killed anywhere, it goes on when it is run again. Where the role has a statement_timeout, connect
    directly and raise it first (ALTER ROLE … SET statement_timeout = 0); a larger maintenance_work_mem makes it faster.
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
            told = await store.operations.indexes.plan_migration(wish)
        else:
            with _phases() as phases:
                told = await store.operations.indexes.migrate(wish, phases)
    if as_json:
        print_json(told)
        return
    if not told.steps:
        typer.echo(f"{told.index} is {told.after}, over {told.vectors:,} vectors: as it should be.")
        return
    before, became = told.before or "none that is whole", "would become" if dry_run else "became"
    typer.echo(f"{told.index}, over {told.vectors:,} vectors: {before} {became} {told.after}.")
    for step in told.steps if dry_run else []:
        typer.echo(f"- {step}")


@contextmanager
def _phases() -> Iterator[StepProgress]:
    """Show each phase of a work with a bar of its own: they do not count the same."""
    with ExitStack() as stack:
        shown: tuple[str, Advance] | None = None

        def tell(phase: str, done: int, of: int | None) -> None:
            nonlocal shown
            if shown is None or shown[0] != phase:
                stack.close()
                shown = phase, stack.enter_context(progress(phase))
            shown[1](done, of)

        yield tell
