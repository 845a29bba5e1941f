"""End of a command: its work is done, or one sentence says what to do next.

| code | meaning |
|-----:|---------|
|    0 | done |
|    1 | failed, or a check failed; the message says what to change |
|    2 | wrong usage |
|    3 | the database or a service cannot be reached: try again later |
|  130 | interrupted |
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Any, NoReturn, TypeVar

import typer

from graphs.cli.output import inert
from graphs.composition import deployment_store, unprepared_store
from graphs.memory.errors import GraphMemoryError, StoreUnavailable
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.operations.errors import SourceUnavailable

T = TypeVar("T")


class Exit(IntEnum):
    """Exit codes."""

    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine and return its result; end the command on errors that we know."""
    try:
        return asyncio.run(work)
    except (StoreUnavailable, SourceUnavailable) as error:
        fail(str(error), Exit.UNAVAILABLE)
    except GraphMemoryError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("Interrupted.", Exit.INTERRUPTED)


def fail(message: str, code: Exit = Exit.FAILED) -> NoReturn:
    """End the command with a message and an exit code."""
    typer.secho(f"graph-memory: {inert(message)}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code)


@asynccontextmanager
async def as_service(*, prepare: bool = True) -> AsyncIterator[MemoryManager]:
    """Lend the deployment's memory, acting as the service: operators work for all users.

    Args:
        prepare: apply the schema first; False leaves the database as it is.
    """
    async with deployment_store() if prepare else unprepared_store() as store:
        with acting_as(Principal.service()):
            yield store


@asynccontextmanager
async def as_service_unprepared() -> AsyncIterator[MemoryManager]:
    """Lend the deployment's memory, acting as the service, even if its schema is missing or old."""
    async with unprepared_store() as store:
        with acting_as(Principal.service()):
            yield store
