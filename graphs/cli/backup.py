"""`graph-memory backup` and `graph-memory restore`: everything, or everything of one person, in a file and back."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from graphs.cli.ending import Exit, as_service, fail, run
from graphs.cli.output import AsJson, DryRun, note, print_json, print_table, progress
from graphs.memory.errors import ConfigurationError
from graphs.memory.operations.backup.backups import Backup
from graphs.memory.operations.backup.restore import Restored
from graphs.settings import load_settings

app = typer.Typer(invoke_without_command=True)

User = Annotated[str | None, typer.Option("--user-id", help="Only what is about this person.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(help="A file with the key, instead of the passphrase in MEMORY_BACKUP_PASSPHRASE.", dir_okay=False),
]
File = Annotated[Path, typer.Argument(help="A backup.", dir_okay=False)]


@app.callback()
def backup(
    context: typer.Context,
    output: Annotated[Path | None, typer.Option(help="The file to write; one that is there is replaced.")] = None,
    user_id: User = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Write everything, of one moment, to a file: memories with their vectors, history, audit log, business tables.

    Others go on reading and writing. The file is compressed JSON lines with a checksum (`zcat FILE` shows them), and
    encrypted if MEMORY_BACKUP_PASSPHRASE or --key-file gives a secret. It is complete, or it is not there.

    Not in it: the queue of jobs, threads (the schema langgraph), contents of files in Storage. For the database as a
    whole use `pg_dump --format=custom --file FILE "$DATABASE_URL"` and `pg_restore`.
    """
    if context.invoked_subcommand is None:
        if output is None:
            fail("Say where to: --output FILE.", Exit.USAGE)
        run(_backup(output, user_id, key_file, as_json))


async def _backup(output: Path, user_id: str | None, key_file: Path | None, as_json: bool) -> None:
    secret = await _secret(key_file)
    async with as_service() as store:
        with progress("rows") as advance:
            written = await store.operations.backups.create(output, user_id=user_id, secret=secret, progress=advance)
    _show(written, as_json)
    if secret is None:
        note("It is not encrypted: keep it as you keep the database, or set MEMORY_BACKUP_PASSPHRASE.")


@app.command()
def verify(file: File, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Read a whole backup and say what it holds, or what is wrong with it. Exit code 1 if it cannot be restored."""
    run(_verify(file, key_file, as_json))


async def _verify(file: Path, key_file: Path | None, as_json: bool) -> None:
    secret = await _secret(key_file)
    async with as_service() as store:
        with progress("rows") as advance:
            verified = await store.operations.backups.verify(file, secret=secret, progress=advance)
    _show(verified, as_json)


def restore(
    file: File, user_id: User = None, key_file: KeyFile = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Bring back what a backup has and the database has not. What is there stays as it is; it may be repeated.

    The file is verified first; then all comes back in one transaction, or nothing does. Others go on reading, and who
    writes waits meanwhile. People who were erased after the backup stay erased. To go back to an earlier state, restore
    into an empty database: `DATABASE_URL=… graph-memory restore FILE`.
    """
    run(_restore(file, user_id, key_file, dry_run, as_json))


async def _restore(file: Path, user_id: str | None, key_file: Path | None, dry_run: bool, as_json: bool) -> None:
    secret = await _secret(key_file)
    async with as_service() as store:
        with progress("rows") as advance:
            restored = await store.operations.backups.restore(
                file, user_id=user_id, secret=secret, dry_run=dry_run, progress=advance
            )
        if not dry_run:
            await store.wait_until_indexed()
    if as_json:
        print_json(restored)
    else:
        _tell(restored, "to be added" if dry_run else "added")


def _show(told: Backup, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    print_table(("table", "rows"), sorted(told.rows.items()))
    whose = f"about {told.user_id} " if told.user_id else ""
    sealed = "encrypted" if told.encrypted else "not encrypted"
    typer.echo(f"{sum(told.rows.values()):,} rows {whose}as of {told.taken_at:%Y-%m-%d %H:%M:%S} UTC, {sealed}.")


def _tell(restored: Restored, heading: str) -> None:
    rows = [(table, count, restored.added.get(table, 0)) for table, count in sorted(restored.rows.items())]
    print_table(("table", "in the backup", heading), rows)
    if restored.erased_since:
        typer.echo(f"{restored.erased_since:,} people were erased after this backup, and stay erased.")


async def _secret(key_file: Path | None) -> bytes | None:
    """What encrypts: the content of the key file, or the passphrase of the settings; never an argument."""
    if key_file is None:
        passphrase = (await asyncio.to_thread(load_settings)).memory_backup_passphrase
        return passphrase.get_secret_value().encode() if passphrase else None
    try:
        key = (await asyncio.to_thread(key_file.read_bytes)).strip()
    except OSError as error:
        raise ConfigurationError(f"--key-file {key_file} cannot be read: {error.strerror}.") from error
    if len(key) < 16:
        raise ConfigurationError(f"--key-file {key_file} has no key of 16 bytes or more: `openssl rand -base64 32`.")
    return key
