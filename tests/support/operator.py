"""`graph-memory`, called in this process as an operator calls it."""

import asyncio
import json
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner, Result

from graphs.cli.main import app
from graphs.deployment.settings import load_settings
from tests.conftest import as_url
from tests.support.sql import rows


class Operator:
    """Calls commands on a database. Nobody signs in there, and there is no terminal."""

    def __init__(
        self, postgres: str, database: str, folder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.database = database
        self.url = as_url(postgres, str(conninfo_to_dict(database)["dbname"]))
        self._monkeypatch = monkeypatch
        self.set(DATABASE_URL=self.url, DATA_DIR=folder)

    def set(self, **settings: str) -> None:
        """Have a deployment with other settings."""
        for name, value in settings.items():
            self._monkeypatch.setenv(name, value)
        load_settings.cache_clear()

    def __call__(self, *arguments: str, answer: str | None = None) -> Result:
        """Return how a command ended."""
        return CliRunner().invoke(app, arguments, input=answer)

    def done(self, *arguments: str) -> str:
        """Return what a command printed that must have ended well."""
        result = self(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Return what a command printed with `--json`; that has to be all there is on standard output."""
        result = self(*arguments, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def sql(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Return what a statement gives, as the role that owns the tables."""
        return asyncio.run(rows(self.database, statement, *parameters))
