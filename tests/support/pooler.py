"""PgBouncer, by default in transaction mode: each transaction may get another server connection."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.server import free_port

_CONFIGURATION = """
[databases]
* = host={host} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 3
ignore_startup_parameters = extra_float_digits,options
"""


class Pooler:
    """One PgBouncer process before one Postgres. Skips the test if it is not installed."""

    def __init__(
        self, postgres: str, mode: str = "transaction", configuration: str = _CONFIGURATION
    ) -> None:
        binary = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if binary is None:
            pytest.skip("pgbouncer is not installed (Debian: apt install pgbouncer)")
        self._binary, self._host, self.port = (
            binary,
            str(conninfo_to_dict(postgres)["host"]),
            free_port(),
        )
        self._mode, self._configuration = mode, configuration
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = TemporaryDirectory()

    def __enter__(self) -> "Pooler":
        folder = Path(self._folder.name)
        folder.chmod(0o755)
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            self._configuration.format(host=self._host, port=self.port, mode=self._mode)
        )
        # PgBouncer refuses to run as root; the owner of the socket may connect to Postgres.
        owner = Path(self._host).stat().st_uid if os.geteuid() == 0 else None
        self._process = subprocess.Popen(
            [self._binary, "--quiet", str(configuration)],
            user=owner,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(timeout=10)
        self._folder.cleanup()

    def url_for(self, database: str) -> str:
        """Return the URL of the same database, through the pooler."""
        parts = conninfo_to_dict(database)
        return make_conninfo(
            host="127.0.0.1", port=self.port, user="postgres", dbname=str(parts["dbname"])
        )

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                psycopg.connect(self.url_for("dbname=postgres")).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        self.__exit__(None, None, None)
        raise AssertionError("pgbouncer did not answer in 10 s")
