"""The driver's errors become ours, without any data of the row."""

import asyncio
import logging

import psycopg
import pytest
from langgraph.errors import GraphInterrupt
from psycopg import errors as pg

from graphs.memory.database.database import to_the_end
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.errors import ChatModelFailed, GraphMemoryError, StoreUnavailable
from graphs.nodes.respond import model_errors


def test_the_server_shows_clients_the_message_of_every_error_of_ours() -> None:
    """Serialise each as LangGraph's server does, which hides the messages of unknown errors."""
    kinds = [GraphMemoryError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert len(kinds) > 30
    for kind in kinds:
        error = kind.__new__(kind)
        assert isinstance(error, (ValueError, RuntimeError)), kind


async def test_a_providers_error_says_what_it_is_and_what_to_check() -> None:
    class NoKey(Exception):
        """An error that only its provider's package knows."""

    told = r"NoKey: the key is missing\)\. Check"
    with pytest.raises(ChatModelFailed, match=told), model_errors():
        raise NoKey("the key is missing\nand the request was: hello")
    with pytest.raises(GraphInterrupt), model_errors():
        raise GraphInterrupt
    with pytest.raises(StoreUnavailable), model_errors():
        raise StoreUnavailable


def test_a_refused_row_is_not_quoted() -> None:
    told = 'violates check constraint "x"\nDETAIL:  Failing row contains (my error: swordfish).'
    with pytest.raises(GraphMemoryError, match="check constraint") as refused, driver_errors():
        raise pg.CheckViolation(told)
    assert "swordfish" not in str(refused.value)


@pytest.mark.parametrize(
    "error",
    [psycopg.OperationalError("gone\nIs the server running?"), pg.DeadlockDetected("deadlock")],
)
def test_what_may_pass_is_unavailable(error: psycopg.Error) -> None:
    with pytest.raises(StoreUnavailable), driver_errors():
        raise error


async def test_work_that_fails_after_its_caller_left_is_told_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.sleep(0.01)
        raise RuntimeError("the disk is full")

    caller = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    caller.cancel()
    with caplog.at_level(logging.WARNING):
        await asyncio.sleep(0.05)
    assert caller.cancelled()
    assert "the disk is full" in caplog.text
