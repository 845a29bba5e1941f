"""The operator's command, `graph-memory`."""

import sys

from graphs.memory.errors import MissingExtra
from graphs.memory.extras import extra


def command() -> None:
    """Run `graph-memory`, or say what to install if it cannot be loaded."""
    try:
        with extra("cli"):
            from graphs.cli.main import app
    except MissingExtra as missing:
        sys.exit(str(missing))
    app()
