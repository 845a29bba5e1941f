"""A migration from Mem0 that kills itself.

    python -m tests.support.dying_migration DATABASE URL STEPS FOLDER

It dies before its STEPS-th message to or from the database: inside a transaction, at a commit, or
between two transactions.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from graphs.memory.database.transaction import Transaction
from graphs.memory_manager import MemoryManager
from graphs.operations.migration import mem0_cloud
from graphs.operations.operations import Operations
from tests.support.dying_worker import die
from tests.support.outside import TOKEN

PAGE = 20
"""A small size, for many pages."""


async def main(database: str, url: str, steps: int, folder: str) -> None:
    mem0_cloud.PAGE = PAGE
    left = steps
    plain = Transaction.run

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            die()

    async def run(self: Transaction, *arguments: Any) -> Any:
        step()
        answer = await plain(self, *arguments)
        step()
        return answer

    async def embed(texts: list[str]) -> list[list[float]]:
        return [[1.0] + [0.0] * 255] * len(texts)

    index: Any = {"dims": 256, "embed": embed, "fields": ["$"], "model": "offline:wordllama"}
    async with MemoryManager.from_conn_string(database, index=index) as store:
        Transaction.run = run  # type: ignore[method-assign,assignment]
        async with mem0_cloud.mem0_platform(TOKEN, url, Path(folder)) as source:
            await Operations(store).migrations.run(source)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
