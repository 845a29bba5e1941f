"""A worker that dies at a point of a load.

python -m tests.support.dying_loader DATABASE POINT
"""

import asyncio
import sys
from typing import Any

from graphs.deployment.pools import open_pool
from graphs.memory.brain.loading import LoadingBrain
from graphs.memory.jobs.tasks import Timing
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings
from tests.support.dying_worker import die

POINTS = (
    "before the first batch",
    "amid a batch",
    "before a batch is noted",
    "after a batch is noted",
)


class Brain(LoadingBrain):
    """A brain that kills its process in its second batch."""

    point = ""
    batches = 0
    owners = 0

    async def _step(self, *args: Any) -> None:
        self.batches += 1
        if self.point == POINTS[0]:
            die()
        await super()._step(*args)
        if self.point == POINTS[3] and self.batches == 2:
            die()

    async def _save_profile(self, *args: Any) -> Any:
        saved = await super()._save_profile(*args)
        self.owners += 1
        if self.point == POINTS[1] and self.owners == 150:
            die()
        return saved

    async def _batch(self, *args: Any) -> Any:
        done = await super()._batch(*args)
        if self.point == POINTS[2] and self.batches == 2:
            die()
        return done


class Store(MemoryManager):
    """A store with the brain that dies."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.brain.__class__ = Brain


async def main(database: str, point: str) -> None:
    index: Any = {
        "dims": 256,
        "embed": OfflineEmbeddings(),
        "fields": ["$"],
        "model": "offline:wordllama",
    }
    Brain.point = point
    async with open_pool(database) as pool:
        store = Store(pool, index=index, timing=Timing(poll=0.05, heartbeat=0.1))
        async with store, store.jobs.working():
            await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
