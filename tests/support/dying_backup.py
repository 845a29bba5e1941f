"""A backup or restore that kills itself.

    python -m tests.support.dying_backup create|restore DATABASE ROWS FILE…

It dies after ROWS rows. With -1, it dies when only the last step is left: the rename of the file,
or the commit. A second file for `create` is the previous backup of the chain; for `restore`, the
next one.
"""

import asyncio
import sys
from pathlib import Path

from graphs.memory_manager import MemoryManager
from graphs.operations.backup.file import NewBackup
from graphs.operations.backup.restore import Restoring
from graphs.operations.operations import Operations
from tests.support.dying_worker import die


async def main(what: str, database: str, rows: int, *files: Path) -> None:
    def progress(done: int, of: int | None) -> None:
        if 0 <= rows <= done:
            die()

    def keep(self: NewBackup) -> None:
        die()

    async def continue_numbers(self: Restoring) -> None:
        die()

    if rows < 0:
        NewBackup.keep = keep  # type: ignore[method-assign]
        Restoring.continue_numbers = continue_numbers  # type: ignore[method-assign]
    async with MemoryManager.from_conn_string(database) as store:
        if what == "restore":
            await Operations(store).backups.restore(*files, progress=progress)
        else:
            since = files[1] if files[1:] else None
            await Operations(store).backups.create(files[0], since=since, progress=progress)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(Path, sys.argv[4:])))
