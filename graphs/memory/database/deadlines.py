"""Deadlines of the database's answers: a connection that goes silent is given up.

The network may drop a connection without a word, and a proxy may take queries and pass none of them
on. Neither libpq nor the kernel ends the wait then.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow

ANSWER_SECONDS = 60.0
"""Seconds to wait for the next answer, by default."""

_CANCEL_SECONDS = 2.0
"""Most seconds for the server to cancel a statement before the connection is given up."""


class NoAnswer(psycopg.OperationalError):
    """The server sent no answer in time, and did not react to a cancellation either."""


class TimedConnection(AsyncConnection[DictRow]):
    """A connection with a deadline for answers; its cursors have one inside `timed` only."""

    answer_seconds = ANSWER_SECONDS
    cursors_are_timed = False

    async def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """Wait for an answer, as psycopg's cursors do."""
        if not self.cursors_are_timed:
            return await super().wait(gen, *args, **options)
        with AnswerDeadline(self).watching():
            return await super().wait(gen, *args, **options)


@asynccontextmanager
async def timed(conn: AsyncConnection[DictRow]) -> AsyncIterator[None]:
    """Give the cursors of a connection a deadline for each answer; not to those of other pools."""
    if not isinstance(conn, TimedConnection):
        yield
        return
    conn.cursors_are_timed = True
    try:
        yield
    finally:
        conn.cursors_are_timed = False


class AnswerDeadline:
    """A deadline for the next answer on a connection.

    When it passes, the server is asked to cancel the statement: a slow one ends with QueryCanceled,
    and nothing is stored. If no answer follows, the connection is shut down, which ends the wait.

    Args:
        conn: the connection. One of another pool has the default deadline.
    """

    def __init__(self, conn: AsyncConnection[DictRow]) -> None:
        self._conn = conn
        self._seconds: float = getattr(conn, "answer_seconds", ANSWER_SECONDS)
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._ending: asyncio.Task[None] | None = None
        self._hung_up = False

    def answered(self) -> None:
        """Begin anew: an answer has come."""
        self._since = self._loop.time()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the deadline while the block waits for answers.

        Raises:
            NoAnswer: none came.
        """
        self._timer = self._loop.call_later(self._seconds, self._check)
        try:
            yield
        except psycopg.Error as error:
            if self._hung_up:
                raise NoAnswer(
                    f"the database sent no answer within {self._seconds:g} s, and the connection "
                    "was given up"
                ) from error
            raise
        finally:
            self._timer.cancel()
            if self._ending:
                # The cancellation may still be under way, and would hit the next statement.
                self._ending.cancel()
                self._conn.pgconn.finish()

    def _check(self) -> None:
        left = self._since + self._seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check)
        else:
            self._ending = self._loop.create_task(self._give_up())

    async def _give_up(self) -> None:
        patience = min(self._seconds, _CANCEL_SECONDS)
        with suppress(psycopg.Error, OSError):
            await self._conn.cancel_safe(timeout=patience)
            await asyncio.sleep(patience)
        self._hung_up = True
        with (
            suppress(psycopg.Error, OSError),
            socket.socket(fileno=os.dup(self._conn.pgconn.socket)) as wire,
        ):
            wire.shutdown(socket.SHUT_RDWR)
