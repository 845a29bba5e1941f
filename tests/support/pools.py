"""A pool that takes its time to take a connection back: the moment at which a cancellation used to cost it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from graphs.memory.database.transaction import Connection


class SlowToTakeBack:
    """Wraps a pool. `giving_back` is set while a connection is on its way home; cut off there, it never arrives."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.giving_back = asyncio.Event()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        connection = await self.pool.getconn()
        try:
            yield connection
        finally:
            self.giving_back.set()
            await asyncio.sleep(0.05)
            await self.pool.putconn(connection)

    async def check(self) -> None:
        await self.pool.check()
