"""Thread state in the same Postgres as the memory, in a schema of its own that no API role reaches."""

import asyncio
import itertools
import json
import re
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
from contextlib import asynccontextmanager, contextmanager
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
    retrying,
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
"""So many runs that were deleted last may still be writing."""

T = TypeVar("T")
Writes = list[Query[None]]

_snapshot: ContextVar[bool] = ContextVar("snapshot", default=False)
"""Whether transactions read one snapshot throughout, as pruning needs."""

_only_thread: ContextVar[str | None] = ContextVar("only_thread", default=None)
"""The one thread in which runs may be deleted in this task; None for all."""


def delete_runs_only_in(thread_id: str) -> None:
    """Keep what this task deletes of runs to one thread; for request handlers, which own their task.

    The server has the checkpoints of a run deleted before it looks whether the run is one of the thread's.
    """
    _only_thread.set(thread_id)


class PostgresCheckpointer(AsyncPostgresSaver):
    """LangGraph's Postgres checkpointer, and what it lacks: runs deleted, threads copied, an outage survived.

    Its tables lie in the schema `langgraph`, found through a path that lasts one transaction, so that it also works
    behind a transaction pooler. Unlike its parent it serves calls concurrently, as many as the pool has connections.

    Args:
        pool: an open pool of autocommit connections with `dict_row`; it stays yours to close.
        serde: how state is serialised; LangGraph's own way by default.
    """

    def __init__(self, pool: Pool, serde: SerializerProtocol | None = None) -> None:
        super().__init__(pool, serde=serde)  # type: ignore[arg-type]  # the parent only hands it to _cursor, which is ours
        self.pool = pool
        self._database = Database(pool)
        self._writing: set[asyncio.Task[Any]] = set()
        self._deleted: deque[tuple[str | None, str]] = deque(maxlen=_MOST_DELETED)
        """Thread (None for any) and id of runs."""
        self._writes: Coalescer[str, Writes, None] = Coalescer(
            self._write,
            at_once=4,
            together=lambda _: None,
            most=lambda _: 32,
            in_turn=lambda _: True,
            hopeless=lambda error: type(error) is StoreUnavailable,
        )

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[Any]:
        """Lend a cursor inside a transaction that finds our tables; the parent runs every statement through it.

        Where it asks for a pipeline it only writes. All of that is sent at the end, in one round trip with what other
        runs write in the same moment. Each run writes many checkpoints, and to write them through psycopg's cursors was
        a third of what a busy server did.
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
        """Carry out what some calls write, in one transaction."""
        queries = [query for _, written in calls for query in written]
        await self._database.run(Principal.owner(), [Query(_PATH), *queries])
        return [None] * len(calls)

    async def setup(self) -> None:
        """Make the tables, or bring them to the installed version. Idempotent; processes wait for one another."""
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
            # New tables have no readers to spare, and a transaction cannot index concurrently.
            await conn.execute(migration.replace(" CONCURRENTLY", ""))  # the library's own text
            await conn.execute(_SQL["record_version"], {"version": version})
        if done + 1 < len(self.MIGRATIONS):
            await conn.execute(_SQL["protect"], prepare=False)

    # What runs meet while they run is retried: all of it may safely happen twice.

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a thread's checkpoint, the latest unless the config names one."""
        parent = super().aget_tuple
        return await self._retry(lambda: parent(config))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint and return the config that names it."""
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
        """Store what a task wrote before its superstep is over."""
        if not self._is_deleted(config):
            await self._store(super().aput_writes(config, writes, task_id, task_path))

    def _is_deleted(
        self, config: RunnableConfig, metadata: Mapping[str, Any] | None = None
    ) -> bool:
        """Whether the run that writes was deleted: LangGraph goes on to write one that it has cancelled."""
        if not self._deleted:
            return False
        told = {**config["configurable"], **config.get("metadata", {}), **(metadata or {})}
        run = str(told.get("run_id"))
        return (None, run) in self._deleted or (str(told["thread_id"]), run) in self._deleted

    async def _store(self, writing: Coroutine[Any, Any, T]) -> T:
        """Carry out a write. It goes on where its run is cancelled; what deletes waits for it, begun or not."""
        task = asyncio.create_task(writing)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return await to_the_end(task)

    async def _written(self) -> None:
        """Return when what is being written by now has been."""
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
        """Yield a thread's checkpoints, newest first. No connection is held while the caller looks at them."""
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
        """Return what some channels that keep differences went through."""
        parent = super().aget_delta_channel_history
        return await self._retry(lambda: parent(config=config, channels=channels))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all of a thread's state."""
        parent = super().adelete_thread
        await self._written()
        await self._retry(lambda: parent(thread_id))

    async def _retry(self, work: Callable[[], Awaitable[T]]) -> T:
        async def attempts() -> T:
            async for attempt in retrying(self.pool):
                with attempt:
                    result = await work()
            return result

        with driver_errors():
            return await to_the_end(attempts())

    # What the parent lacks

    async def adelete_for_runs(self, run_ids: Iterable[str]) -> None:
        """Delete what some runs left in their threads, as `multitask_strategy="rollback"` asks.

        What a task wrote to a checkpoint that was never stored, since its run was cancelled between the two, has no
        mark of its run: it stays, read by nobody, until the thread is deleted.
        """
        runs = [str(run_id) for run_id in run_ids]
        self._deleted.extend((_only_thread.get(), run) for run in runs)
        await self._written()
        await self._execute("delete_for_runs", {"run_ids": runs, "thread_id": _only_thread.get()})

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all of a thread's state to another thread, in one statement."""
        await self._execute(
            "copy_thread", {"source": str(source_thread_id), "target": str(target_thread_id)}
        )

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Forget the history of some threads (`keep_latest`), or all of them has (`delete`, `delete_all`).

        Raises:
            ValueError: another strategy.
        """
        parent = super().aprune
        with _one_snapshot():
            await self._retry(
                lambda: parent(
                    thread_ids, strategy="delete" if strategy == "delete_all" else strategy
                )
            )

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
    """Stands in for a cursor where the parent only writes: takes its statements, to be sent together."""

    def __init__(self) -> None:
        self.queries: Writes = []
        self.thread_id = ""
        """Whose state it is: the first parameter of all that the parent writes."""

    async def execute(self, statement: LiteralString, parameters: Sequence[Any]) -> None:
        """Take a statement."""
        self.thread_id = str(parameters[0])
        self.queries.append(_query(statement, parameters))

    async def executemany(
        self, statement: LiteralString, parameters: Iterable[Sequence[Any]]
    ) -> None:
        """Take a statement once for each row of parameters."""
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
    """A statement of the parent's, whose parameters have no names, with names for them."""
    numbers = itertools.count()
    source: Any = re.sub("%s", lambda _: f"%(p{next(numbers)})s", statement)
    return Statement("checkpoint", source)


@asynccontextmanager
async def open_checkpointer() -> AsyncIterator[PostgresCheckpointer]:
    """Open the deployment's checkpointer, from its settings; what `langgraph.json` names.

    It shares one pool per event loop with the store.

    Raises:
        ConfigurationError: a setting is wrong, or what it points at.
    """
    settings = await asyncio.to_thread(load_settings)
    async with shared_pool(settings) as pool:
        checkpointer = PostgresCheckpointer(pool)
        await checkpointer.setup()
        yield checkpointer
