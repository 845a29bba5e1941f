"""How a command ends: with its work done, or with one sentence and exit code 1."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn

import typer

from graphs.memory.errors import GraphMemoryError


def run(work: Coroutine[Any, Any, None]) -> None:
    """Do what a command does; what goes wrong in a way that we know ends it with one sentence."""
    try:
        asyncio.run(work)
    except GraphMemoryError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """End the command with a sentence."""
    typer.secho(f"graph-memory: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)
