"""The development server of LangGraph: how a checkpointer lives with its faults.

It keeps threads and runs in lists and files of its own (`langgraph_runtime_inmem`). To delete a
thread it looks up the place of the thread in its list, awaits the checkpointer, and then removes
the record at that place: by then perhaps another thread's. So the checkpointer must not suspend it.
"""

import asyncio
import functools
import logging
import os
import threading
from collections import Counter
from pathlib import Path

log = logging.getLogger(__name__)

_FOLDER = Path(".langgraph_api")
"""Where the development server keeps its own files, below the current directory."""


def is_development_server() -> bool:
    """Return whether this process is LangGraph's development server."""
    return os.environ.get("LANGGRAPH_RUNTIME_EDITION") == "inmem"


class DeletionJournal:
    """Notes in a file which threads are being deleted, so that a crash loses no deletion.

    `note` may be called on an event loop: it appends a line to an open file, and suspends nobody.

    Args:
        path: the file; its folder is created.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: a line is the operating system's as soon as it is written.
        self._file = path.open("a+b", buffering=0)
        self._file.seek(0)
        noted = self._file.read().decode().splitlines()
        # A crash can cut off the last line; its deletion was not acknowledged.
        counts = Counter(line[1:] for line in noted if line.startswith("+"))
        counts.subtract(line[1:] for line in noted if line.startswith("-"))
        self._pending = +counts
        self._lock = threading.Lock()

    def pending(self) -> list[str]:
        """Return the threads that were noted and not deleted."""
        with self._lock:
            return sorted(self._pending)

    def note(self, thread_id: str) -> None:
        """Note a thread before its deletion begins."""
        with self._lock:
            self._pending[thread_id] += 1
            self._file.write(f"+{thread_id}\n".encode())

    def forget(self, thread_id: str) -> None:
        """Note that a thread was deleted. The file is emptied when nothing is pending."""
        with self._lock:
            self._pending -= Counter([thread_id])
            if self._pending:
                self._file.write(f"-{thread_id}\n".encode())
            else:
                self._file.truncate(0)


@functools.cache
def deletion_journal() -> DeletionJournal:
    """Return this process's journal, which all of its event loops share."""
    return DeletionJournal(_FOLDER / "threads_to_delete")


def drop_lost_runs() -> None:
    """Remove pending runs whose thread is gone, which the server would try to start for ever.

    Runs that a version before this one lost would block its queue at every start.
    """
    from langgraph_runtime_inmem.database import GLOBAL_STORE  # type: ignore[import-untyped]

    threads = {thread["thread_id"] for thread in GLOBAL_STORE["threads"]}
    lost = [run for run in GLOBAL_STORE["runs"] if run["thread_id"] not in threads]
    if lost:
        GLOBAL_STORE["runs"] = [run for run in GLOBAL_STORE["runs"] if run not in lost]
        log.warning(
            "%s runs of threads that no longer exist were removed from the queue: %s",
            len(lost),
            ", ".join(str(run["run_id"]) for run in lost[:10]),
        )


async def open_journal() -> DeletionJournal:
    """Return the journal, and bring the server's queue in order. Called while it starts."""
    drop_lost_runs()
    return await asyncio.to_thread(deletion_journal)
