"""`graph-memory`, run in the process of the test, on the database of the test."""

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
    """Yield a function that runs a command on a database, for tests that are not async."""
    parts = conninfo_to_dict(database)
    host, port = parts["host"], parts.get("port") or ""
    url = f"postgresql://{parts['user']}@/{parts['dbname']}?host={host}&port={port}"
    with environment({"DATABASE_URL": url.removesuffix("&port="), **settings}):
        yield lambda *arguments: CliRunner().invoke(app, [*arguments])


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set settings for a command; clear the cache, since a process reads settings only once."""
    load_settings.cache_clear()
    try:
        with patch.dict("os.environ", settings):
            yield
    finally:
        load_settings.cache_clear()
