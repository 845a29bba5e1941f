"""`graph-memory`, called in this process, as an operator would."""

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
    """Commands on a database, in a deployment without sign-in and without a terminal."""

    def __init__(
        self, postgres: str, database: str, folder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.database = database
        self.url = as_url(postgres, str(conninfo_to_dict(database)["dbname"]))
        self._monkeypatch = monkeypatch
        self.set(DATABASE_URL=self.url, DATA_DIR=folder)

    def set(self, **settings: str) -> None:
        """Set settings of the deployment."""
        for name, value in settings.items():
            self._monkeypatch.setenv(name, value)
        load_settings.cache_clear()

    def __call__(self, *arguments: str, answer: str | None = None) -> Result:
        """Run a command and return its result."""
        return CliRunner().invoke(app, arguments, input=answer)

    def done(self, *arguments: str) -> str:
        """Run a command that must succeed, and return its output."""
        result = self(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with `--json` and return its output, which must be JSON only."""
        result = self(*arguments, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    def sql(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a statement, run as the owner of the tables."""
        return asyncio.run(rows(self.database, statement, *parameters))
