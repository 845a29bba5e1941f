"""Files that are written completely or not at all."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from graphs.cli.ending import fail

WriteLines = Callable[[Sequence[str]], Awaitable[None]]
"""Appends lines to the file."""


@asynccontextmanager
async def whole_file(path: Path) -> AsyncIterator[WriteLines]:
    """Write a temporary file next to `path`, and move it there if the block ends without an error.

    Only its owner may read it. It replaces an existing file. Errors of the file system end the
    command.
    """
    try:
        file = await asyncio.to_thread(
            NamedTemporaryFile,
            "w",
            encoding="utf-8",
            newline="\n",
            dir=path.parent,
            prefix=f".{path.name}.",
            delete=False,
        )
    except OSError as error:
        fail(f"{path} cannot be written ({error.strerror}): choose another file.")

    async def write(lines: Sequence[str]) -> None:
        await asyncio.to_thread(file.writelines, [f"{line}\n" for line in lines])

    def finish() -> None:
        # Sync the content before the rename, so that a crash leaves the old file or the new one.
        file.flush()
        os.fsync(file.fileno())
        Path(file.name).replace(path)

    def discard() -> None:
        file.close()
        Path(file.name).unlink(missing_ok=True)

    try:
        yield write
        await asyncio.to_thread(finish)
    except OSError as error:
        fail(f"{path} could not be written ({error.strerror}): no file was left there.")
    finally:
        await asyncio.to_thread(discard)
