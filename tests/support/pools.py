"""A pool that takes back connections slowly, to cancel a caller while it gives one back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from graphs.memory.database.transaction import Connection


class SlowToTakeBack:
    """A pool that sets `giving_back` while it takes back a connection.

    A cancellation at that point would lose the connection.
    """

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
