"""Migrations of the vector index that kill themselves.

    python -m tests.support.dying_reindexing DATABASE

Each line on standard input is `METHOD LISTS PHASE`. A process of its own begins that migration and
kills itself when the phase is reported. The line of the answer is the signal that ended it, or 0 if
the phase was never reported.
"""

import asyncio
import os
import sys

from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.operations.operations import Operations
from graphs.operations.sizing import IndexChoice
from tests.support.dying_worker import die


async def migrate(database: str, wish: IndexChoice, last: str) -> None:
    def told(phase: str, _done: int, _of: int | None) -> None:
        if phase.startswith(last):
            die()

    async with MemoryManager.from_conn_string(database) as store:
        with acting_as(Principal.service()):
            await Operations(store).indexes.migrate(wish, told)


def main(database: str) -> None:
    for line in sys.stdin:
        method, lists, phase = line.rstrip("\n").split(" ", 2)
        wish = IndexChoice.model_validate({"method": method, "lists": int(lists) or None})
        child = os.fork()
        if not child:
            asyncio.run(migrate(database, wish, phase))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
