"""A Postgres that a test may stop and start."""

from pathlib import Path
from types import TracebackType

from graphs.deployment.embedded_postgres import EmbeddedServer


class OwnPostgres:
    """A server in a folder. Its socket stays at the same path over restarts."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._server = EmbeddedServer(folder)

    def __enter__(self) -> "OwnPostgres":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        return str(self._server.get_uri())
