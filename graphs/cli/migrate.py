"""`graph-memory migrate`: import of memories with their ids and times, and its rollback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from langgraph.store.base import ensure_embeddings

from graphs.cli.asking import Yes, confirm
from graphs.cli.ending import as_service, run
from graphs.cli.migrate_from import roll_back
from graphs.cli.migrating import How, carry_out, export
from graphs.cli.output import (
    AsJson,
    DryRun,
    note,
    print_json,
    print_table,
)
from graphs.deployment.models import index_config
from graphs.deployment.pools import source_pool
from graphs.deployment.settings import load_settings
from graphs.memory.errors import ConfigurationError
from graphs.operations.migration import mem0_cloud
from graphs.operations.migration.jsonl import open_jsonl
from graphs.operations.migration.ledger import Migration
from graphs.operations.migration.mem0_oss import open_collection
from graphs.operations.migration.rollback import RolledBack
from graphs.operations.migration.source import Source
from graphs.operations.operations import Operations

app = typer.Typer(
    no_args_is_help=True,
    help="Import memories with their ids and times; continue an import; roll it back.",
)

RejectedFile = Annotated[
    Path | None,
    typer.Option(
        "--rejected",
        dir_okay=False,
        help="A file to append rejected records to, as JSON lines.",
    ),
]
Queries = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help='Questions to ask on both sides, as JSON lines: {"user_id": …, "query": …}.',
    ),
]
KeepVectors = Annotated[
    bool,
    typer.Option(
        "--keep-vectors",
        help="Keep the source's vectors: they are of the configured embedding model.",
    ),
]
MigrationId = Annotated[
    str, typer.Argument(metavar="MIGRATION", help="A migration's id, as `migrate list` shows it.")
]

_KEPT_SHOWN = 20


@app.command()
def jsonl(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="JSON lines, in UTF-8.")
    ],
    keep_vectors: KeepVectors = False,
    allow_changed: Annotated[
        bool,
        typer.Option(
            "--allow-changed",
            help="Take an export that was changed, truncated or rewritten since it was written.",
        ),
    ] = False,
    rejected: RejectedFile = None,
    queries: Queries = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Import memories from a file: {"user_id": …, "content": …} per line, or from `export-user`.

    An export that does not fit its own checksum is refused: it was truncated, changed, or rewritten
    by another tool.

    If it is interrupted or killed, run it again: it continues. Existing memories stay as they are.
    """
    source = _jsonl(file, keep_vectors, allow_changed)
    run(carry_out(source, How(rejected, queries, dry_run, as_json)))


@asynccontextmanager
async def _jsonl(file: Path, keep_vectors: bool, allow_changed: bool) -> AsyncIterator[Source]:
    yield await open_jsonl(file, keep_vectors=keep_vectors, allow_changed=allow_changed)


@app.command()
def mem0_platform(
    history: Annotated[
        bool,
        typer.Option(
            "--history/--no-history", help="Import earlier versions: one request per memory."
        ),
    ] = True,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", dir_okay=False, help="Write to this file instead, for `migrate jsonl`."
        ),
    ] = None,
    rejected: RejectedFile = None,
    queries: Queries = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Import the memories of a Mem0 Platform account, given by MEM0_API_KEY. It is only read.

    Ids, categories, metadata, agents, runs and times are kept; vectors are made. It waits when the
    service asks for it, and continues where it was when it is run again. MEM0_HOST is the service's
    address, if it is not Mem0's own.
    """
    how = How(rejected, queries, dry_run, as_json)
    run(export(_mem0_platform(history), to, how) if to else carry_out(_mem0_platform(history), how))


@asynccontextmanager
async def _mem0_platform(history: bool) -> AsyncIterator[Source]:
    settings = await asyncio.to_thread(load_settings)
    if settings.mem0_api_key is None:
        raise ConfigurationError(
            "MEM0_API_KEY is missing: set it to the key of the account to read."
        )
    key = settings.mem0_api_key.get_secret_value()
    async with mem0_cloud.mem0_platform(
        key, settings.mem0_host, settings.data_dir, history=history
    ) as source:
        yield source


@app.command()
def mem0_oss(
    collection: Annotated[str, typer.Option(help="The collection's table.")] = "mem0",
    history_db: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="mem0's SQLite file: ~/.mem0/history.db."),
    ] = None,
    keep_vectors: KeepVectors = False,
    rejected: RejectedFile = None,
    queries: Queries = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Import the memories of mem0's open-source library on pgvector.

    MIGRATE_FROM_URL is its database, which is only read. Ids, metadata, agents, runs and times are
    kept. Vectors are made, unless --keep-vectors says that they are of the model that is configured
    here. Then the sample questions are asked on both sides, too.
    """
    how = How(rejected, queries, dry_run, as_json)
    run(carry_out(_mem0_oss(collection, history_db, keep_vectors), how))


@asynccontextmanager
async def _mem0_oss(
    collection: str, history: Path | None, keep_vectors: bool
) -> AsyncIterator[Source]:
    settings = await asyncio.to_thread(load_settings)
    index = await asyncio.to_thread(index_config, settings)
    embed = ensure_embeddings(index["embed"]).aembed_query if keep_vectors else None
    async with source_pool(settings) as pool:
        yield await open_collection(
            pool, collection, embed=embed, dimensions=index["dims"], history=history
        )


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List migrations, the latest first."""

    async def work() -> list[Migration]:
        async with as_service() as store:
            return await Operations(store).migrations.list()

    found = run(work())
    if as_json:
        print_json(found)
        return
    rows = [
        (
            str(m.id),
            m.source,
            m.status,
            m.total,
            m.brought,
            m.rejected,
            f"{m.started_at:%Y-%m-%d %H:%M}",
        )
        for m in found
    ]
    print_table(("id", "source", "status", "records", "imported", "rejected", "begun"), rows)


@app.command()
def show(migration: MigrationId, as_json: AsJson = False) -> None:
    """Show the source of a migration, its progress, and the results of its records."""

    async def work() -> Migration:
        async with as_service() as store:
            return await Operations(store).migrations.get(migration)

    found = run(work())
    if as_json:
        print_json(found)
    else:
        print_table(
            ("", ""),
            [(name, _told(value)) for name, value in found.model_dump(exclude={"cursor"}).items()],
        )


def _told(value: object) -> object:
    return value if isinstance(value, int) or value is None else str(value)


@app.command()
def rollback(
    migration: MigrationId, yes: Yes = False, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Remove the memories that a migration imported, except those that changed or are referred to.

    The memories that stay are listed. All of it is one transaction. The migration cannot continue
    afterwards; the same command starts a new one.
    """

    async def work(only_tell: bool) -> RolledBack:
        async with as_service() as store:
            return await roll_back(store, migration, dry_run=only_tell)

    if not dry_run:
        confirm("Remove what this migration brought?", yes)
    done = run(work(dry_run))
    if as_json:
        print_json({"dry_run": dry_run, **done.model_dump()})
        return
    typer.echo(f"{done.removed:,} memories {'would be' if dry_run else 'were'} removed.")
    if done.kept:
        print_table(
            ("namespace", "key"),
            [(".".join(at), key) for at, key in done.kept[:_KEPT_SHOWN]],
            title="These stay",
        )
        note(f"{len(done.kept):,} stay: they were changed or deleted since, or are referred to.")
