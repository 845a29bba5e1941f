"""How a command ends: with its work done, or with one sentence on what to do next and an exit code of its kind.

| code | meaning |
|-----:|---------|
|    0 | done |
|    1 | it could not be done, or a check failed; the message says what to change |
|    2 | wrong usage |
|    3 | the database, or a service, cannot be reached: try again later |
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
from graphs.memory.errors import GraphMemoryError, SourceUnavailable, StoreUnavailable
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager

T = TypeVar("T")


class Exit(IntEnum):
    """Exit codes."""

    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do what a command does, and return its result; what goes wrong in a way we know ends it with one sentence."""
    try:
        return asyncio.run(work)
    except (StoreUnavailable, SourceUnavailable) as error:
        fail(str(error), Exit.UNAVAILABLE)
    except GraphMemoryError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("Interrupted.", Exit.INTERRUPTED)


def fail(message: str, code: Exit = Exit.FAILED) -> NoReturn:
    """End the command with a sentence."""
    typer.secho(f"graph-memory: {inert(message)}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code)


@asynccontextmanager
async def as_service(*, prepare: bool = True) -> AsyncIterator[MemoryManager]:
    """Lend the deployment's memory, acting as the service: what operators do concerns everybody.

    Args:
        prepare: whether the schema is applied where it is not; False only looks.
    """
    async with deployment_store() if prepare else unprepared_store() as store:
        with acting_as(Principal.service()):
            yield store


@asynccontextmanager
async def as_service_unprepared() -> AsyncIterator[MemoryManager]:
    """Lend the deployment's memory as it is, the schema missing or old, acting as the service."""
    async with unprepared_store() as store:
        with acting_as(Principal.service()):
            yield store
