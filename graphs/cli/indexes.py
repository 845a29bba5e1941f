"""`graph-memory indexes`: how the indexes are, and those that are missing made."""

import typer

from graphs.cli.ending import as_service_unprepared, run
from graphs.cli.output import AsJson, DryRun, note, print_json, print_table, progress
from graphs.memory.operations.indexes import IndexStatus, Vectors

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
        (i.name, i.on_table, i.method, i.bytes, i.scans, "building" if i.building else "yes" if i.valid else "NO")
        for i in told.indexes
    ]
    print_table(("Index", "On", "Method", "Bytes", "Scans", "Valid"), rows)
    built = {index.name: index for index in told.indexes}
    vectors = [(*_vectors(each), *_hnsw(built.get(each.index))) for each in told.vectors]
    print_table(("Model", "Dimensions", "Active", "Vector index", "Pending", "m", "ef_construction"), vectors)


def _vectors(told: Vectors) -> tuple[object, ...]:
    return told.model, told.dimensions, "yes" if told.active else "no", told.index, told.pending


def _hnsw(index: IndexStatus | None) -> tuple[int | None, int | None]:
    return (index.m, index.ef_construction) if index else (None, None)


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
