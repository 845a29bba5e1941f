"""A worker that dies at a point of its work.

python -m tests.support.dying_worker DATABASE POINT FOLDER
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from graphs.deployment.pools import open_pool
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.facts.conversation import Conversation, ExtractedFact
from graphs.memory.jobs.tasks import Timing
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings

POINTS = ("before the model", "after the model", "before the commit", "after the commit")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Extractor(Mem0Extractor):
    """An extractor that kills its process before or after an extraction."""

    point = ""

    async def extract(self, conversation: Conversation) -> list[ExtractedFact]:
        if self.point == POINTS[0]:
            die()
        statements = await super().extract(conversation)
        if self.point == POINTS[1]:
            die()
        return statements


class Store(MemoryManager):
    """A store that kills its process before or right after it stores extracted facts."""

    point = ""

    async def extract_facts(self, user_id: str, session_id: str) -> Any:
        if self.point == POINTS[2] and self._extraction:

            async def dies(*_: Any) -> None:
                die()

            self._extraction._store = dies  # type: ignore[assignment,method-assign]
        report = await super().extract_facts(user_id, session_id)
        if self.point == POINTS[3]:
            die()
        return report


async def main(database: str, point: str, folder: str) -> None:
    index: Any = {
        "dims": 256,
        "embed": OfflineEmbeddings(),
        "fields": ["$"],
        "model": "offline:wordllama",
    }
    Extractor.point = Store.point = point
    async with open_pool(database) as pool:
        extractor = Extractor(None, Path(folder))
        store = Store(
            pool, index=index, extractor=extractor, timing=Timing(poll=0.05, heartbeat=0.1)
        )
        async with store, store.jobs.working():
            await asyncio.sleep(30)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
