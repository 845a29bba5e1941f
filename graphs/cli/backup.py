"""`graph-memory backup` and `graph-memory restore`: all data, or a part, in a file and back."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from graphs.cli.ending import (
    Exit,
    as_service,
    fail,
    run,
)
from graphs.cli.output import (
    AsJson,
    DryRun,
    note,
    print_json,
    print_table,
    progress,
)
from graphs.deployment.settings import load_settings
from graphs.memory.errors import ConfigurationError
from graphs.operations.backup.buckets import folder, folder_of, place
from graphs.operations.backup.chain import Backup
from graphs.operations.backup.places import BackupPlace
from graphs.operations.backup.restore import Restored
from graphs.operations.backup.schedule import known_erasures, latest
from graphs.operations.operations import Operations

app = typer.Typer(invoke_without_command=True)

User = Annotated[str | None, typer.Option("--user-id", help="Only the data about this user.")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        help="A file with the key, in place of MEMORY_BACKUP_PASSPHRASE.",
        dir_okay=False,
    ),
]
AllowUnencrypted = Annotated[
    bool,
    typer.Option(
        "--allow-unencrypted",
        help="Read it although it is not encrypted and a passphrase or key is configured.",
    ),
]
File = Annotated[str, typer.Argument(help="The backup.", metavar="FILE")]


_MOMENT = "%Y-%m-%d %H:%M:%S UTC"


@app.callback()
def backup(
    context: typer.Context,
    output: Annotated[
        str | None,
        typer.Option(help="The file to write. It replaces an existing one.", metavar="FILE"),
    ] = None,
    user_id: User = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only changes since an earlier backup, or since a time.", metavar="FILE|TIME"
        ),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option("--from", help="Only memories made at this time or later.", metavar="TIME"),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only memories made before this time.", metavar="TIME")
    ] = None,
    only_erasures: Annotated[
        bool, typer.Option("--only-erasures", help="Only the erasures, for `restore --erasures`.")
    ] = False,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a consistent snapshot of all data to a file: memories, vectors, history, audit log.

    It includes the business tables. Reads and writes continue meanwhile. The file is compressed
    JSON lines with a checksum (`zcat FILE` shows them). It is encrypted if MEMORY_BACKUP_PASSPHRASE
    or --key-file gives a secret. A backup that fails leaves no file.

    With --since FILE it has the rows that were added, changed or deleted since that backup of the
    same database. The next backup may follow it in turn, and `restore FULL FIRST SECOND …` takes
    all of them. With --since TIME it follows any backup that was made after that time; it reaches
    back one day further, for transactions that were open then.

    With --from and --until it has the memories that were made in that time, with their vectors,
    turns, sessions and relationships: an archive. A TIME is such as 2026-11-22 or
    2026-11-22T18:00+01:00; without an offset it is UTC.

    Not included: the queue of jobs, threads (the schema langgraph), contents of files in Storage.
    For the whole database use `pg_dump --format=custom --file FILE "$DATABASE_URL"` and
    `pg_restore`.
    """
    if context.invoked_subcommand is None:
        if output is None:
            fail("Give the file to write: --output FILE.", Exit.USAGE)
        wanted: dict[str, Any] = {
            "user_id": user_id,
            "since": _earlier(since) if since else None,
            "begin": _time(begin, "--from") if begin else None,
            "end": _time(until, "--until") if until else None,
            "erasures_only": only_erasures,
        }
        run(_backup(output, wanted, key_file, as_json))


async def _backup(
    output: str, wanted: dict[str, Any], key_file: Path | None, as_json: bool
) -> None:
    secret = await _secret(key_file)
    async with as_service() as store:
        with progress("rows") as advance:
            written = await Operations(store).backups.create(
                place(output), **wanted, secret=secret, progress=advance
            )
    _show(written, as_json)
    if secret is None:
        note("It is not encrypted: protect it like the database, or set MEMORY_BACKUP_PASSPHRASE.")


@app.command()
def verify(
    file: File,
    key_file: KeyFile = None,
    allow_unencrypted: AllowUnencrypted = False,
    as_json: AsJson = False,
) -> None:
    """Read a whole backup and print its contents or its error.

    Exit code 1 if it cannot be restored.
    """
    run(_verify(file, key_file, allow_unencrypted, as_json))


async def _verify(file: str, key_file: Path | None, allow_unencrypted: bool, as_json: bool) -> None:
    secret = await _secret(key_file)
    async with as_service() as store:
        with progress("rows") as advance:
            verified = await Operations(store).backups.verify(
                place(file), secret=secret, allow_unencrypted=allow_unencrypted, progress=advance
            )
    _show(verified, as_json)


def restore(
    files: Annotated[
        list[str],
        typer.Argument(
            help="A full backup, then those made with --since, in order.", metavar="FILE…"
        ),
    ],
    user_id: User = None,
    erasures: Annotated[
        list[str] | None,
        typer.Option(
            help="A later backup of any kind; users erased before it stay erased.", metavar="FILE"
        ),
    ] = None,
    key_file: KeyFile = None,
    allow_unencrypted: AllowUnencrypted = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Add the rows of a backup that the database lacks. Existing rows stay. It may be repeated.

    A full backup and its incremental ones restore the state of the last one. All files are verified
    first; then one transaction restores everything, or nothing. Reads continue meanwhile, writes
    wait. Users who were erased after the backup stay erased, if the database or --erasures has a
    record of it.

    Where a passphrase or key is configured, a file without encryption is refused: anybody who can
    write to its place may have made it. So is a scheduled backup in the place of another one.

    To go back to an earlier state, restore into an empty database:
    `DATABASE_URL=… graph-memory restore FILE`.
    """
    wanted = {"user_id": user_id, "allow_unencrypted": allow_unencrypted, "dry_run": dry_run}
    run(_restore(files, erasures or [], wanted, key_file, as_json))


async def _restore(
    files: list[str],
    erasures: list[str],
    wanted: dict[str, Any],
    key_file: Path | None,
    as_json: bool,
) -> None:
    secret = await _secret(key_file)
    chain, known = await asyncio.to_thread(_found, files, erasures)
    async with as_service() as store:
        with progress("rows") as advance:
            restored = await Operations(store).backups.restore(
                *chain, **wanted, erasures=known, secret=secret, progress=advance
            )
        if not wanted["dry_run"]:
            await store.wait_until_indexed()
    if as_json:
        print_json(restored)
    else:
        _tell(restored, "to be added" if wanted["dry_run"] else "added")


def _found(files: list[str], erasures: list[str]) -> tuple[list[BackupPlace], list[BackupPlace]]:
    """Return the backups to restore, and the backups that tell who was erased since.

    The latter are looked for next to the former, unless they are given.
    """
    if len(files) == 1 and (files[0].endswith("/") or Path(files[0]).is_dir()):
        whole = folder(files[0])
        return latest(whole), [*map(place, erasures)] or known_erasures(whole)
    return [*map(place, files)], [*map(place, erasures)] or known_erasures(folder_of(files[0]))


def _earlier(text: str) -> BackupPlace | datetime:
    """Return an earlier backup, or a time. The name of an existing file is a backup."""
    if not Path(text).exists():
        try:
            return _moment(text)
        except ValueError:
            pass
    return place(text)


def _time(text: str, option: str) -> datetime:
    try:
        return _moment(text)
    except ValueError:
        fail(
            f"{option} {text!r} is not a time: write 2026-11-22, or 2026-11-22T18:00+01:00.",
            Exit.USAGE,
        )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _show(told: Backup, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    print_table(("table", "rows"), sorted(told.rows.items()))
    what = f"about {told.user_id} " if told.user_id else ""
    what += f"that changed since {told.since:{_MOMENT}} " if told.since else ""
    what += f"of memories made from {told.begin:{_MOMENT}} on " if told.begin else ""
    what += f"of memories made before {told.end:{_MOMENT}} " if told.end else ""
    what += "of erasures " if told.erasures_only else ""
    sealed = "encrypted" if told.encrypted else "not encrypted"
    typer.echo(f"{sum(told.rows.values()):,} rows {what}as of {told.taken_at:{_MOMENT}}, {sealed}.")


def _tell(restored: Restored, heading: str) -> None:
    rows = [
        (table, count, restored.added.get(table, 0))
        for table, count in sorted(restored.rows.items())
    ]
    print_table(("table", "read", heading), rows)
    written = f", written as {restored.name}" if restored.name else ""
    typer.echo(f"The backup is as of {restored.taken_at:{_MOMENT}}{written}.")
    if restored.erased_since:
        typer.echo(
            f"{restored.erased_since:,} users were erased after this backup, and stay erased."
        )


async def _secret(key_file: Path | None) -> bytes | None:
    """Return the encryption secret: the content of the key file, or the passphrase of the settings.

    It is never a command's argument, which other users of the machine could see.
    """
    if key_file is None:
        passphrase = (await asyncio.to_thread(load_settings)).memory_backup_passphrase
        return passphrase.get_secret_value().encode() if passphrase else None
    try:
        key = (await asyncio.to_thread(key_file.read_bytes)).strip()
    except OSError as error:
        raise ConfigurationError(
            f"--key-file {key_file} cannot be read ({error.strerror}): give another file."
        ) from error
    if len(key) < 16:
        raise ConfigurationError(
            f"--key-file {key_file} has fewer than 16 bytes: use `openssl rand -base64 32`."
        )
    return key
