"""Deletions of threads that their caller does not wait for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from graphs.deployment.development_server import DeletionJournal
from graphs.memory.errors import GraphMemoryError

log = logging.getLogger(__name__)


class Deletions:
    """Deletes threads in tasks of its own, and notes them in a journal, so that none is lost.

    For the development server, which must not be suspended while it deletes a thread.

    Args:
        delete: deletes the state of one thread. Doing it again is harmless.
        journal: notes the threads.
    """

    def __init__(self, delete: Callable[[str], Awaitable[None]], journal: DeletionJournal) -> None:
        self._delete = delete
        self._journal = journal
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, thread_id: str) -> None:
        """Note a thread and begin its deletion. This suspends nobody."""
        self._journal.note(thread_id)
        self._begin(thread_id)

    def resume(self) -> None:
        """Begin the deletions that a crash, or a database out of reach, left undone."""
        for thread_id in self._journal.pending():
            self._begin(thread_id)

    async def wait(self, *thread_ids: str) -> None:
        """Wait for the deletions of these threads that are in progress."""
        if tasks := [self._tasks[id_] for id_ in thread_ids if id_ in self._tasks]:
            await asyncio.wait(tasks)

    async def wait_for_all(self) -> None:
        """Wait for all deletions in progress."""
        await self.wait(*self._tasks)

    def _begin(self, thread_id: str) -> None:
        task = asyncio.create_task(self._carry_out(thread_id, self._tasks.get(thread_id)))
        self._tasks[thread_id] = task
        task.add_done_callback(lambda _: self._ended(thread_id, task))

    def _ended(self, thread_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(thread_id) is task:
            del self._tasks[thread_id]

    async def _carry_out(self, thread_id: str, before: asyncio.Task[None] | None) -> None:
        if before:
            await asyncio.wait([before])
        try:
            await self._delete(thread_id)
        except GraphMemoryError as error:
            log.warning(
                "The state of thread %s could not be deleted. The next start of the server tries "
                "it again: %s",
                thread_id,
                error,
            )
        else:
            self._journal.forget(thread_id)
