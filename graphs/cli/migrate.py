"""`graph-memory migrate`: memories from elsewhere, brought here with their ids and times, and taken back."""

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

app = typer.Typer(
    no_args_is_help=True,
    help="Bring memories from elsewhere, with their ids and times; go on after an interruption; take them back.",
)

RejectedFile = Annotated[
    Path | None,
    typer.Option(
        "--rejected",
        dir_okay=False,
        help="A file to add what cannot be a memory to, as JSON lines.",
    ),
]
Queries = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help='Questions for both sides, as JSON lines: {"user_id": …, "query": …}.',
    ),
]
KeepVectors = Annotated[
    bool,
    typer.Option(
        "--keep-vectors",
        help="Its vectors are of the embedding model that is configured: keep them.",
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
    rejected: RejectedFile = None,
    queries: Queries = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring memories from a file: {"user_id": …, "content": …} on each line, or what `export-user` wrote.

    Interrupted or killed, it goes on where it was when it is run again. What is there stays as it is.
    """
    run(carry_out(_jsonl(file, keep_vectors), How(rejected, queries, dry_run, as_json)))


@asynccontextmanager
async def _jsonl(file: Path, keep_vectors: bool) -> AsyncIterator[Source]:
    yield await open_jsonl(file, keep_vectors=keep_vectors)


@app.command()
def mem0_platform(
    history: Annotated[
        bool,
        typer.Option(
            "--history/--no-history", help="What each memory was before: one request for each."
        ),
    ] = True,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", dir_okay=False, help="Write it to this file instead, for `migrate jsonl`."
        ),
    ] = None,
    rejected: RejectedFile = None,
    queries: Queries = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring the memories of a Mem0 Platform account: MEM0_API_KEY names it. Nothing is changed there.

    Ids, categories, metadata, agents, runs and times are kept; vectors are made. It waits where the service asks it to,
    and goes on where it was when it is run again. MEM0_HOST is the service's address, if it is another one.
    """
    how = How(rejected, queries, dry_run, as_json)
    run(export(_mem0_platform(history), to, how) if to else carry_out(_mem0_platform(history), how))


@asynccontextmanager
async def _mem0_platform(history: bool) -> AsyncIterator[Source]:
    settings = await asyncio.to_thread(load_settings)
    if settings.mem0_api_key is None:
        raise ConfigurationError(
            "MEM0_API_KEY is missing: write the key of the account to read into the environment."
        )
    key = settings.mem0_api_key.get_secret_value()
    async with mem0_cloud.mem0_platform(
        key, settings.mem0_host, settings.data_dir, history=history
    ) as source:
        yield source


@app.command()
def mem0_oss(
    collection: Annotated[str, typer.Option(help="The table of the collection.")] = "mem0",
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
    """Bring the memories of mem0's open-source library on pgvector. MIGRATE_FROM_URL is its database; it is only read.

    Ids, metadata, agents, runs and times are kept. Vectors are made, unless --keep-vectors says that they are of the
    model that is configured here; then the same questions can be asked on both sides, too.
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
            return await store.operations.migrations.list()

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
    print_table(("id", "source", "status", "records", "brought", "rejected", "begun"), rows)


@app.command()
def show(migration: MigrationId, as_json: AsJson = False) -> None:
    """Show where a migration reads from, how far it is, and what became of the records."""

    async def work() -> Migration:
        async with as_service() as store:
            return await store.operations.migrations.get(migration)

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
    """Remove what a migration brought. What somebody changed since, or refers to, stays and is listed.

    All of it happens in one transaction. The migration cannot go on afterwards; the same command begins a new one.
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
        note(
            f"{len(done.kept):,} stay: they were changed or deleted since, or something refers to them."
        )
