"""A transaction in libpq's pipeline mode: independent queries share a round trip.

psycopg connects, pools and converts. Its cursors are not used: they would cost several times what
Postgres needs to answer. The other modules only make `Query` objects.
"""

import asyncio
from collections import deque, namedtuple
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, TypeVar, cast

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import AdaptersMap, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import DictRow
from psycopg.types.json import set_json_loads

from graphs.memory.database.deadlines import AnswerDeadline
from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.query import Query, Rows, encode_parameters, no_answer
from graphs.memory.database.statements import Statement
from graphs.memory.values.text import from_json

T = TypeVar("T")
Connection = AsyncConnection[DictRow]

_POLLS = 8
"""Polls for an answer before sleeping on the socket; other tasks run between two polls.

Most answers come within 50 µs, and waking up takes longer than that."""


class _Reading:
    """The way in which psycopg reads values: as usual, but JSON as `from_json` does."""

    adapters = AdaptersMap(psycopg.adapters)

    def __init__(self, connection: Connection | None = None) -> None:
        self.connection = connection


set_json_loads(from_json, _Reading())


@lru_cache(512)
def _row_maker(*columns: bytes) -> Callable[[Sequence[Any]], Any]:
    names = [column.decode() for column in columns]
    row_type: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]
    return cast("Callable[[Sequence[Any]], Any]", row_type._make)


@lru_cache(2048)
def _name(statement: Statement, plans: str) -> bytes:
    """Return the name of a prepared statement."""
    return f"{statement.name}_{statement.digest}_{plans}".encode()


class _Reply:
    """The answer to a command of the pipeline.

    Args:
        is_read: whether anybody looks at its rows.
        prepares: the name of the statement, if that is what the command prepares.
    """

    __slots__ = ("is_read", "prepares", "rows")

    def __init__(self, *, is_read: bool = False, prepares: bytes | None = None) -> None:
        self.is_read = is_read
        self.prepares = prepares
        self.rows: Rows = ()


class Transaction:
    """Statements on a connection that is ours alone while they last. Made by `Database`.

    Args:
        conn: an idle connection in autocommit mode.
        prepared: names of the connection's prepared statements; None where none may be, as behind a
            transaction pooler, which may change the server with every transaction.
        plans: the role and the state of the schema that cached plans belong to.
        lacking: the parts of the schema that the database does not have.
    """

    def __init__(
        self,
        conn: Connection,
        prepared: set[bytes] | None,
        plans: str,
        lacking: frozenset[SchemaPart] = frozenset(),
    ) -> None:
        self._conn = conn
        self._pgconn = conn.pgconn
        self._prepared = prepared
        self._plans = plans
        self._lacking = lacking
        self._preparing: set[bytes] = set()
        self._expected: deque[_Reply] = deque()
        self._ahead: list[Query[Any]] = []
        self._error: psycopg.Error | None = None

    async def __aenter__(self) -> "Transaction":
        """Take the connection into pipeline mode.

        Raises:
            psycopg.InterfaceError: it was left in the middle of something.
        """
        pgconn = self._pgconn
        if (
            pgconn.pipeline_status != PipelineStatus.OFF
            or pgconn.transaction_status != TransactionStatus.IDLE
        ):
            await self._conn.close()
            raise psycopg.InterfaceError("the connection was left in the middle of something")
        pgconn.enter_pipeline_mode()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave pipeline mode, or close the connection if answers are still on their way."""
        if self._expected or self._pgconn.transaction_status != TransactionStatus.IDLE:
            await self._conn.close()
        else:
            self._pgconn.exit_pipeline_mode()

    def begin_with(self, queries: Sequence[Query[Any]]) -> None:
        """Send queries without answers ahead of those that run next."""
        self._ahead = [*queries]

    async def run(
        self, queries: Sequence[Query[Any]], plans: Sequence[str] | None = None
    ) -> list[Any]:
        """Send queries together and return what each reads from its answer.

        They are one transaction, unless one was opened before.

        Args:
            queries: what to ask, in this order.
            plans: for each query whose plans it uses, where that changes on the way.

        Raises:
            psycopg.Error: of the first query that failed; those after it were not carried out.
            NoAnswer: the server went silent.
        """
        if self._lacking and any(query.part in self._lacking for query in queries):
            return await self._run_possible(queries, plans)
        ahead = len(self._ahead)
        queries = [*self._ahead, *queries]
        encoded = [
            encode_parameters(query) for query in queries
        ]  # what cannot be sent is refused before anything is
        self._ahead = []
        plans = plans or [self._plans] * len(queries)
        replies = [self._send(*sent) for sent in zip(queries, plans, encoded, strict=True)]
        self._pgconn.pipeline_sync()
        self._expected.append(_Reply())
        deadline = AnswerDeadline(self._conn)
        with nullcontext() if any(query.lasting for query in queries) else deadline.watching():
            await self._flush()
            while self._expected:
                await self._receive()
                deadline.answered()
        if self._error:
            error, self._error = self._error, None
            raise error
        return [query.read(reply.rows) for query, reply in zip(queries, replies, strict=True)][
            ahead:
        ]

    async def _run_possible(
        self, queries: Sequence[Query[Any]], plans: Sequence[str] | None
    ) -> list[Any]:
        """Run the queries whose part exists; the others are answered by None."""
        kept = [n for n, query in enumerate(queries) if query.part not in self._lacking]
        answers = await self.run([queries[n] for n in kept], plans and [plans[n] for n in kept])
        answered = dict(zip(kept, answers, strict=True))
        return [answered.get(n) for n in range(len(queries))]

    def _send(
        self, query: Query[Any], plans: str, encoded: tuple[list[bytes | None], list[Format]]
    ) -> _Reply:
        statement, (values, formats) = query.statement, encoded
        if self._prepared is None:
            self._pgconn.send_query_params(statement.text, values, None, formats, Format.BINARY)
        else:
            prepares = _name(statement, plans)
            if prepares not in self._prepared and prepares not in self._preparing:
                self._preparing.add(prepares)
                self._pgconn.send_prepare(prepares, statement.text)
                self._expected.append(_Reply(prepares=prepares))
            self._pgconn.send_query_prepared(prepares, values, formats, Format.BINARY)
        reply = _Reply(is_read=query.read is not no_answer)
        self._expected.append(reply)
        return reply

    async def _receive(self) -> None:
        """Take one result, and with it the answer of the command it belongs to."""
        while self._pgconn.is_busy():
            await self._input()
        result = self._pgconn.get_result()
        if result is None:  # the end of a command's results
            self._expected.popleft()
            return
        reply = self._expected[0]
        match result.status:
            case ExecStatus.TUPLES_OK if reply.is_read:
                reply.rows = self._rows(result)
            case ExecStatus.COMMAND_OK:
                if reply.prepares and self._prepared is not None:
                    self._prepared.add(reply.prepares)
            case ExecStatus.PIPELINE_SYNC:  # which has nothing after it
                self._expected.popleft()
            case ExecStatus.FATAL_ERROR:
                self._error = self._error or error_from_result(result)

    def _rows(self, result: PGresult) -> Rows:
        if not result.ntuples:
            return ()
        loader = Transformer(_Reading(self._conn))
        loader.set_pgresult(result)
        columns = [result.fname(n) or b"" for n in range(result.nfields)]
        return cast("Rows", loader.load_rows(0, result.ntuples, _row_maker(*columns)))

    async def _flush(self) -> None:
        """Send everything, and read meanwhile: a server with unread answers stops reading."""
        while self._pgconn.flush():
            await _ready(self._pgconn.socket, write=True)
            self._pgconn.consume_input()

    async def _input(self) -> None:
        for _ in range(_POLLS):
            await asyncio.sleep(0)
            self._pgconn.consume_input()
            if not self._pgconn.is_busy():
                return
        await _ready(self._pgconn.socket)
        self._pgconn.consume_input()


async def _ready(socket: int, *, write: bool = False) -> None:
    """Return when a socket has something to read, or (`write`) takes something."""
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    loop.add_reader(socket, wake)
    if write:
        loop.add_writer(socket, wake)
    try:
        await woken
    finally:
        loop.remove_reader(socket)
        if write:
            loop.remove_writer(socket)
