"""The driver's errors become ours, without any data of the row."""

import asyncio
import logging

import psycopg
import pytest
from psycopg import errors as pg

from graphs.memory.database.database import to_the_end
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.errors import GraphMemoryError, StoreUnavailable


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
