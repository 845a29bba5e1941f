"""Thread state in the same Postgres as the memory, in a schema that no API role can reach."""

import asyncio
import itertools
import json
import re
import time
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, LiteralString, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import IsolationLevel
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from graphs.deployment.pools import shared_pool
from graphs.deployment.settings import load_settings
from graphs.memory.database import schema, statements
from graphs.memory.database.coalescing import Coalescer
from graphs.memory.database.database import (
    Database,
    Pool,
    retrying_on,
    to_the_end,
)
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.query import Query
from graphs.memory.database.statements import Statement
from graphs.memory.database.transaction import Connection
from graphs.memory.errors import StoreUnavailable
from graphs.memory.principal import Principal

_SQL = statements.load_sources("checkpointer", __package__)
_SCHEMA = "SELECT set_config('search_path', 'langgraph', true)"

_PATH = Statement("checkpoint", _SCHEMA)

_MOST_DELETED = 100
"""Number of deleted runs to remember: they may still be writing."""

_TICKS_UNTIL_1970 = 0x01B21DD213814000
"""Units of 100 ns from 1582 to 1970: checkpoint ids begin with their time since 1582."""

T = TypeVar("T")
Writes = list[Query[None]]

_snapshot: ContextVar[bool] = ContextVar("snapshot", default=False)
"""True if transactions read one snapshot throughout, as pruning needs."""

_only_thread: ContextVar[str | None] = ContextVar("only_thread", default=None)
"""The only thread in which this task may delete runs; None for all."""


def delete_runs_only_in(thread_id: str) -> None:
    """Limit this task's deletions of runs to one thread.

    For request handlers, which own their task. The server deletes a run's checkpoints before it
    checks that the run belongs to the thread.
    """
    _only_thread.set(thread_id)


class PostgresCheckpointer(AsyncPostgresSaver):
    """LangGraph's Postgres checkpointer, plus deleting runs, copying threads and retries.

    Its tables are in the schema `langgraph`. Each transaction sets the search path for itself, so
    it also works behind a transaction pooler. Unlike its parent it serves calls concurrently, as
    many as the pool has connections.

    Args:
        pool: an open pool of autocommit connections with `dict_row`; the caller closes it.
        serde: the serializer of state; LangGraph's own by default.
    """

    def __init__(self, pool: Pool, serde: SerializerProtocol | None = None) -> None:
        # The parent hands the pool only to _cursor, which is overridden.
        super().__init__(pool, serde=serde)  # type: ignore[arg-type]
        self.pool = pool
        self._database = Database(pool)
        self._writing: set[asyncio.Task[Any]] = set()
        self._deleted: deque[tuple[str | None, str]] = deque(maxlen=_MOST_DELETED)
        """Pairs of a thread id (None for any thread) and a run id."""
        self._writes: Coalescer[str, Writes, None] = Coalescer(
            self._write,
            at_once=4,
            together=lambda _: None,  # writes of different threads may share a transaction
            most=lambda _: 32,
            in_turn=lambda _: True,  # a later write of a thread must not overtake an earlier one
            # In an outage each call alone would fail, too.
            hopeless=lambda error: type(error) is StoreUnavailable,
        )

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[Any]:
        """Lend a cursor in a transaction that finds our tables, for all statements of the parent.

        If the parent asks for a pipeline, it only writes. These writes are sent at the end of the
        block, and calls that come together coalesce into one round trip. Each run writes many
        checkpoints; writing them through psycopg's cursors took a third of a busy server's time.
        """
        if pipeline:
            written = _Written()
            yield written
            if written.queries:
                await self._writes.submit(written.thread_id, written.queries)
            return
        async with self.pool.connection() as conn:
            if _snapshot.get():
                await conn.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            try:
                async with conn.transaction():
                    await conn.execute(_SCHEMA)
                    async with conn.cursor(binary=True, row_factory=dict_row) as cursor:
                        yield cursor
            finally:
                if _snapshot.get():
                    await conn.set_isolation_level(None)

    async def _write(self, calls: Sequence[tuple[str, Writes]]) -> list[None]:
        """Execute the writes of coalesced calls in one transaction."""
        queries = [query for _, written in calls for query in written]
        await self._database.run(Principal.owner(), [Query(_PATH), *queries])
        return [None] * len(calls)

    async def setup(self) -> None:
        """Create the tables, or upgrade them to the installed version. Idempotent.

        Processes that set up at the same time wait for one another.
        """
        scripts = await asyncio.to_thread(schema.read_scripts)
        async with self.pool.connection() as conn:
            await schema.apply(conn, scripts)
            with driver_errors():
                async with conn.transaction():
                    await self._migrate(conn)

    async def _migrate(self, conn: Connection) -> None:
        await conn.execute(_SQL["lock"])
        await conn.execute(_SCHEMA)
        exists = await (await conn.execute(_SQL["has_versions"])).fetchone()
        row = (
            await (await conn.execute(_SQL["latest_version"])).fetchone()
            if exists and exists["has_versions"]
            else None
        )
        done = row["version"] if row else -1
        for version, migration in list(enumerate(self.MIGRATIONS))[done + 1 :]:
            # CREATE INDEX CONCURRENTLY cannot run in a transaction, and new tables have no readers.
            await conn.execute(migration.replace(" CONCURRENTLY", ""))  # the library's own text
            await conn.execute(_SQL["record_version"], {"version": version})
        if done + 1 < len(self.MIGRATIONS):
            # Several statements in one text cannot be prepared.
            await conn.execute(_SQL["protect"], prepare=False)

    # Methods that runs call are retried: all of them are idempotent.

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a thread's checkpoint: the one that the config names, or else the latest."""
        parent = super().aget_tuple
        return await self._retry(lambda: parent(config))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint and return the config that names it. Deleted runs store nothing."""
        if self._is_deleted(config, metadata):
            return {"configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}
        return await self._store(super().aput(config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store a task's writes before its superstep ends. Deleted runs store nothing."""
        if not self._is_deleted(config):
            await self._store(super().aput_writes(config, writes, task_id, task_path))

    def _is_deleted(
        self, config: RunnableConfig, metadata: Mapping[str, Any] | None = None
    ) -> bool:
        """Return True if the run was deleted: LangGraph goes on writing for a cancelled run."""
        if not self._deleted:
            return False
        told = {**config["configurable"], **config.get("metadata", {}), **(metadata or {})}
        run = str(told.get("run_id"))
        return (None, run) in self._deleted or (str(told["thread_id"]), run) in self._deleted

    async def _store(self, writing: Coroutine[Any, Any, T]) -> T:
        """Complete a write even if its run is cancelled, so that deletions can wait for it."""
        task = asyncio.create_task(writing)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return await to_the_end(task)

    async def _written(self) -> None:
        """Wait for the writes that are in progress now."""
        if self._writing:
            await asyncio.wait(self._writing.copy())

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  the parent's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield a thread's checkpoints, newest first. The caller holds no connection meanwhile."""
        parent = super().alist

        async def all_of_them() -> list[CheckpointTuple]:
            return [
                found async for found in parent(config, filter=filter, before=before, limit=limit)
            ]

        for checkpoint in await self._retry(all_of_them):
            yield checkpoint

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return the history of channels that store differences."""
        parent = super().aget_delta_channel_history
        return await self._retry(lambda: parent(config=config, channels=channels))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all state of a thread."""
        parent = super().adelete_thread
        await self._written()
        await self._retry(lambda: parent(thread_id))

    async def _retry(self, work: Callable[[], Awaitable[T]]) -> T:
        with driver_errors():
            return await to_the_end(retrying_on(self.pool, work))

    # Methods that the parent lacks

    async def adelete_for_runs(self, run_ids: Iterable[str]) -> None:
        """Delete the checkpoints and writes of runs, as `multitask_strategy="rollback"` requires.

        Writes to a checkpoint that was never stored, because its run was cancelled in between, do
        not name their run. They stay, unread, until the thread is deleted.
        """
        runs = [str(run_id) for run_id in run_ids]
        # From here on these runs write nothing new; then wait for the writes in progress.
        self._deleted.extend((_only_thread.get(), run) for run in runs)
        await self._written()
        await self._execute("delete_for_runs", {"run_ids": runs, "thread_id": _only_thread.get()})

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all state of a thread to another thread, in one statement."""
        await self._execute(
            "copy_thread", {"source": str(source_thread_id), "target": str(target_thread_id)}
        )

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete the history of threads (`keep_latest`), or all their state (`delete`).

        Raises:
            ValueError: the strategy is unknown. `delete_all` is another name of `delete`.
        """
        parent = super().aprune
        with _one_snapshot():
            await self._retry(
                lambda: parent(
                    thread_ids, strategy="delete" if strategy == "delete_all" else strategy
                )
            )

    async def prune_idle(self, days: float) -> int:
        """Delete the history of threads that nobody used for some days, and return their number.

        The last state of each stays. Threads with a DeltaChannel, which needs its history, are left
        alone.
        """
        ticks = (time.time_ns() - int(days * 86_400e9)) // 100 + _TICKS_UNTIL_1970
        given = {"since": f"{ticks >> 28:08x}-{ticks >> 12 & 0xFFFF:04x}", "after": ""}
        pruned = 0
        while threads := await self._retry(lambda: self._ask("idle_threads", given)):
            for thread in threads:
                with suppress(NotImplementedError):
                    await self.aprune([thread["thread_id"]])
                    pruned += 1
            given["after"] = threads[-1]["thread_id"]
        return pruned

    async def _ask(self, statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        async with self._cursor() as cursor:
            await cursor.execute(_SQL[statement], parameters)
            found: list[dict[str, Any]] = await cursor.fetchall()
            return found

    async def _execute(self, statement: str, parameters: dict[str, Any]) -> None:
        async def work() -> None:
            async with self._cursor() as cursor:
                await cursor.execute(_SQL[statement], parameters)

        await self._retry(work)


@contextmanager
def _one_snapshot() -> Iterator[None]:
    token = _snapshot.set(True)
    try:
        yield
    finally:
        _snapshot.reset(token)


class _Written:
    """Stand-in for a cursor that only writes: it collects statements, to be sent together."""

    def __init__(self) -> None:
        self.queries: Writes = []
        self.thread_id = ""
        """Thread of the state: the first parameter of every write of the parent."""

    async def execute(self, statement: LiteralString, parameters: Sequence[Any]) -> None:
        """Collect a statement."""
        self.thread_id = str(parameters[0])
        self.queries.append(_query(statement, parameters))

    async def executemany(
        self, statement: LiteralString, parameters: Iterable[Sequence[Any]]
    ) -> None:
        """Collect a statement once per row of parameters."""
        for row in parameters:
            await self.execute(statement, row)


def _query(statement: LiteralString, parameters: Sequence[Any]) -> Query[None]:
    named = _named(statement)
    plain = (json.dumps(value.obj) if isinstance(value, Jsonb) else value for value in parameters)
    return Query(
        named, {name: value for (name, _), value in zip(named.parameters, plain, strict=True)}
    )


@lru_cache(64)
def _named(statement: LiteralString) -> Statement:
    """Return a statement of the parent with names for its positional parameters."""
    numbers = itertools.count()
    source: Any = re.sub("%s", lambda _: f"%(p{next(numbers)})s", statement)
    return Statement("checkpoint", source)


@asynccontextmanager
async def open_checkpointer() -> AsyncIterator[PostgresCheckpointer]:
    """Open the deployment's checkpointer. `langgraph.json` names this function.

    It shares one pool per event loop with the store.

    Raises:
        ConfigurationError: a setting is wrong, or the service that it points at.
    """
    settings = await asyncio.to_thread(load_settings)
    async with shared_pool(settings) as pool:
        checkpointer = PostgresCheckpointer(pool)
        await checkpointer.setup()
        yield checkpointer
