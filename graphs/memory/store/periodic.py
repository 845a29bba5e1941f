"""Work that is repeated at an interval."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from graphs.memory.errors import GraphMemoryError

log = logging.getLogger(__name__)


class Periodic:
    """Repeats work at an interval, in its own task. Failures are logged, and the work goes on.

    Args:
        name: what the work is called in the log.
        work: does it.
    """

    def __init__(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        self._name = name
        self._work = work
        self._task: asyncio.Task[None] | None = None

    def start(self, seconds: float) -> asyncio.Task[None]:
        """Start, or return the task that already runs."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._every(seconds), name=self._name)
        return self._task

    async def stop(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  upstream's signature
        """Stop and return whether it has stopped within `timeout` seconds."""
        if self._task is None:
            return True
        self._task.cancel()
        stopped, _ = await asyncio.wait([self._task], timeout=timeout)
        if stopped:
            self._task = None
        return bool(stopped)

    async def _every(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._work()
            except GraphMemoryError as error:
                log.warning("%s failed, next try in %.0f s: %s", self._name, seconds, error)
