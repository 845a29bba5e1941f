"""`graph-memory` run in the test's own process, on the test's own database."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner, Result

from graphs.cli.main import app
from graphs.deployment.settings import load_settings

Command = Callable[..., Result]


@contextmanager
def command_on(database: str, **settings: str) -> Iterator[Command]:
    """Lend a function that runs a command, given its arguments, on a database: from a test that is not async."""
    parts = conninfo_to_dict(database)
    url = f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}&port={parts.get('port') or ''}"
    with environment({"DATABASE_URL": url.removesuffix("&port="), **settings}):
        yield lambda *arguments: CliRunner().invoke(app, [*arguments])


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Give a command settings; they are read once for each process, hence anew here."""
    load_settings.cache_clear()
    try:
        with patch.dict("os.environ", settings):
            yield
    finally:
        load_settings.cache_clear()
