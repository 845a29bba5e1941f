"""Steps that all commands of `graph-memory migrate` share: preview, import, verify, compare."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer
from pydantic_core import to_jsonable_python

from graphs.cli.ending import Exit, as_service, fail
from graphs.cli.output import (
    note,
    print_json,
    print_table,
    progress,
)
from graphs.cli.whole_file import whole_file
from graphs.memory.errors import ConfigurationError
from graphs.memory.values.text import cleaned
from graphs.memory_manager import MemoryManager
from graphs.operations.migration.comparing import Parity, Question, read_questions
from graphs.operations.migration.jsonl import line_of
from graphs.operations.migration.ledger import Migration
from graphs.operations.migration.migrations import MigrationVerification, Preview, Reject
from graphs.operations.migration.source import Rejected, Source
from graphs.operations.operations import Operations

_REASONS_SHOWN = 10
"""Most rejected records that are printed."""


@dataclass(frozen=True, slots=True)
class How:
    """Options of a migration.

    Args:
        rejected: a file to append rejected records to.
        queries: a file with questions for both sides; without one, imported memories are asked for.
        dry_run: only preview.
        as_json: print JSON.
    """

    rejected: Path | None = None
    queries: Path | None = None
    dry_run: bool = False
    as_json: bool = False


async def carry_out(opening: AbstractAsyncContextManager[Source], how: How) -> None:
    """Import the records of a source, or preview them, and end the command with its exit code."""
    questions = await questions_in(how.queries)
    async with as_service() as store, opening as source:
        if how.dry_run:
            _show_preview(await Operations(store).migrations.preview(source), how.as_json)
            return
        migration = await _bring(store, source, how)
        await store.wait_until_indexed()
        if migration.status == "paused":
            _show(migration, None, None, how.as_json)
            fail("Paused. Run the same command again to continue.", Exit.INTERRUPTED)
        verified = await Operations(store).migrations.verify(str(migration.id), source)
        parity = await Operations(store).migrations.compare(str(migration.id), source, questions)
    _show(migration, verified, parity, how.as_json)
    if not verified.matches:
        fail(
            "The counts differ: run this command again to import what was written to the source "
            "meanwhile."
        )
    if migration.rejected:
        fail(f"{migration.rejected:,} records were rejected; --rejected FILE has them told.")


async def export(opening: AbstractAsyncContextManager[Source], path: Path, how: How) -> None:
    """Write the records of a source to a file for `migrate jsonl`, completely or not at all."""
    done = refused = 0
    async with opening as source, whole_file(path) as write, rejects(how.rejected) as reject:
        total = await source.count()
        with progress("memories") as advance:
            async for batch in source.batches(None):
                await write([line_of(record) for record in batch.records])
                await reject(batch.rejected)
                done, refused = done + len(batch.records), refused + len(batch.rejected)
                advance(done + refused, total)
    if how.as_json:
        print_json({"output": str(path), "total": total, "written": done, "rejected": refused})
    else:
        typer.echo(f"{path} has {done:,} memories.")
    if refused:
        fail(f"{refused:,} records were rejected; --rejected FILE has them told.")


async def _bring(store: MemoryManager, source: Source, how: How) -> Migration:
    with progress("memories") as advance, until_interrupted() as stopping:
        async with rejects(how.rejected) as reject:
            run = Operations(store).migrations.run
            return await run(source, reject=reject, progress=advance, stopping=stopping)


@contextmanager
def until_interrupted() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C stop the work after the current batch, and a second Ctrl-C at once.

    Yields a function that returns True after the first one.
    """
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def pause() -> None:
        asked.set()
        loop.remove_signal_handler(signal.SIGINT)
        note("Pausing after the current batch. Ctrl-C again ends it at once.")

    loop.add_signal_handler(signal.SIGINT, pause)
    try:
        yield asked.is_set
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@asynccontextmanager
async def rejects(path: Path | None) -> AsyncIterator[Reject]:
    """Append rejected records to a file that only its owner may read; print the first reasons."""
    told: list[Rejected] = []

    async def reject(rejected: Sequence[Rejected]) -> None:
        told.extend(rejected[: max(_REASONS_SHOWN - len(told), 0)])
        if path:
            await asyncio.to_thread(
                _append, path, [json.dumps(_as_line(each)) for each in rejected]
            )

    try:
        yield reject
    finally:
        for each in told:
            note(f"Rejected: {each.source_id}: {each.field} {each.problem}")


def _append(path: Path, lines: Sequence[str]) -> None:
    try:
        # Rejected records hold users' data: only the owner may read them.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(
            f"--rejected {path} cannot be written ({error.strerror}): give another file."
        ) from error


def _as_line(rejected: Rejected) -> dict[str, object]:
    told = {"source_id": rejected.source_id, "field": rejected.field, "problem": rejected.problem}
    told = {name: cleaned(text) for name, text in told.items()}
    return {**told, "record": to_jsonable_python(rejected.raw, fallback=str)}


def _without_record(rejected: Rejected) -> dict[str, object]:
    return {name: told for name, told in _as_line(rejected).items() if name != "record"}


async def questions_in(path: Path | None) -> list[Question] | None:
    """Return the questions of a file; None without a file."""
    return await asyncio.to_thread(_questions, path) if path else None


def _questions(path: Path) -> list[Question]:
    with path.open(encoding="utf-8") as file:
        return read_questions(file)


def _show_preview(preview: Preview, as_json: bool) -> None:
    if as_json:
        told = preview.model_dump(exclude={"rejected"})
        print_json(
            {
                "dry_run": True,
                **told,
                "rejected": [_without_record(each) for each in preview.rejected],
            }
        )
        return
    total = "an unknown number of" if preview.total is None else f"{preview.total:,}"
    typer.echo(f"The source has {total} records. Of the first {preview.read:,}:")
    rows = [("would be imported", preview.new), ("exist, and stay as they are", preview.present)]
    rows += [("have expired", preview.expired), ("would be rejected", len(preview.rejected))]
    print_table(("", "records"), rows)
    for each in preview.rejected[:_REASONS_SHOWN]:
        note(f"Rejected: {each.source_id}: {each.field} {each.problem}")
    if preview.goes_on_with:
        typer.echo(f"It would continue migration {preview.goes_on_with.id}.")


def _show(
    migration: Migration,
    verified: MigrationVerification | None,
    parity: Parity | None,
    as_json: bool,
) -> None:
    if as_json:
        print_json(
            {"dry_run": False, "migration": migration, "verified": verified, "parity": parity}
        )
        return
    rows = [("imported", migration.brought), ("existed, and stay as they are", migration.present)]
    rows += [("had expired", migration.expired), ("rejected", migration.rejected)]
    typer.echo(f"Migration {migration.id} is {migration.status}.")
    print_table(("", "records"), rows)
    if verified:
        has = (
            "does not say how many it has"
            if verified.source is None
            else f"has {verified.source:,}"
        )
        typer.echo(
            f"The source {has}; {verified.seen:,} were read, "
            f"{verified.there:,} of {verified.brought:,} are here."
        )
    if parity and parity.overlap is not None:
        asked = f"{len(parity.questions):,} questions were asked on both sides"
        typer.echo(f"{asked}: overlap@{parity.limit} is {parity.overlap:.2f}.")
