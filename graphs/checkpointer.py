"""Thread state in the same Postgres as the memory, in a schema that no API role can reach."""

import asyncio
import time
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.postgres.base import PRUNE_DELTA_THREADS_SQL
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import IsolationLevel
from psycopg.rows import dict_row

from graphs.checkpoints import tables
from graphs.checkpoints.deletions import Deletions
from graphs.checkpoints.rollback import undo_memory
from graphs.checkpoints.runs import may_have_begun_before, run_of, with_user
from graphs.checkpoints.writes import Written, writing_run
from graphs.deployment.development_server import (
    DeletionJournal,
    is_development_server,
    open_journal,
)
from graphs.deployment.pools import announced, shared_pool
from graphs.deployment.settings import load_settings
from graphs.memory.database import schema, statements
from graphs.memory.database.coalescing import Coalescer
from graphs.memory.database.database import (
    Database,
    Pool,
    refuse_deleted_runs,
    retrying_on,
    to_the_end,
)
from graphs.memory.database.deadlines import timed
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.query import Query
from graphs.memory.database.statements import Statement
from graphs.memory.errors import InvalidInput, RunDeleted, StoreUnavailable
from graphs.memory.principal import Principal

_SQL = statements.load_sources("checkpointer", __package__)
_PATH = Statement("checkpoint", _SQL["path"])

_MOST_BEGUN = 1000
"""Number of begun runs to remember: until a run has written, nobody else knows its thread."""

T = TypeVar("T")

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
        journal: notes deletions, which tasks of their own then do; see `adelete_thread`.
    """

    def __init__(
        self,
        pool: Pool,
        serde: SerializerProtocol | None = None,
        journal: DeletionJournal | None = None,
    ) -> None:
        # The parent hands the pool only to _cursor, which is overridden.
        super().__init__(pool, serde=serde)  # type: ignore[arg-type]
        self.pool = pool
        self._database = Database(pool)
        self._writing: set[asyncio.Task[Any]] = set()
        self._opened_at = time.time()
        self._begun: deque[tuple[str, str]] = deque(maxlen=_MOST_BEGUN)
        """Pairs of a thread id and the id of a run that has read its state."""
        self.deletions = (
            Deletions(lambda thread_id: self._delete_threads([thread_id]), journal)
            if journal
            else None
        )
        """Deletions in progress; other calls for their threads wait for them."""
        self._writes: Coalescer[str, Written, None] = Coalescer(
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
        checkpoints. Psycopg's cursors took a third of a busy server's time to write them.
        """
        if pipeline:
            written = Written()
            yield written
            if written.queries:
                await self._writes.submit(written.thread_id, written)
            return
        async with self.pool.connection() as conn, timed(conn):
            if _snapshot.get():
                await conn.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            try:
                async with conn.transaction():
                    await conn.execute(_PATH.source)
                    async with conn.cursor(binary=True, row_factory=dict_row) as cursor:
                        yield cursor
            finally:
                if _snapshot.get():
                    await conn.set_isolation_level(None)

    async def _write(self, calls: Sequence[tuple[str, Written]]) -> list[None]:
        """Execute the writes of coalesced calls in one transaction."""
        queries = [query for _, written in calls for query in written.queries]
        runs = {(written.run_id, thread_id) for thread_id, written in calls if written.run_id}
        if runs:
            queries.insert(0, refuse_deleted_runs(sorted(runs)))
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
                    await tables.migrate(conn, self.MIGRATIONS)

    # Methods that runs call are retried: all of them are idempotent.

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a thread's checkpoint: the one that the config names, or else the latest.

        A run that a server carries out again, after a crash, gets the latest one of its own. So
        LangGraph resumes it there, even if later runs of the thread have ended since. It would
        else begin anew, and its input would be in the thread twice.
        """
        parent = super().aget_tuple
        thread_id = str(config["configurable"]["thread_id"])
        run_id = run_of(config)
        if run_id and (thread_id, run_id) not in self._begun:
            self._begun.append((thread_id, run_id))
        await self._deletion_of(thread_id)
        if not get_checkpoint_id(config) and may_have_begun_before(run_id, self._opened_at):
            config = await self._where_it_ended(config, run_id)
        return await self._retry(lambda: parent(config))

    async def _where_it_ended(self, config: RunnableConfig, run_id: str) -> RunnableConfig:
        """Return a config that names the run's latest checkpoint, or the same if there is none."""
        place = {"checkpoint_ns": "", **config["configurable"]}

        async def work() -> dict[str, Any] | None:
            async with self._cursor() as cursor:
                await cursor.execute(_SQL["latest_of_run"], place | {"run_id": run_id})
                return cast("dict[str, Any] | None", await cursor.fetchone())

        found = await self._retry(work)
        return {**config, "configurable": place | found} if found else config

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint and return the config that names it. Deleted runs store nothing."""
        parent = super().aput
        await self._store(
            lambda: parent(config, checkpoint, with_user(config, metadata), new_versions),
            config,
            run_of(config, metadata),
        )
        stored = {name: config["configurable"][name] for name in ("thread_id", "checkpoint_ns")}
        return {"configurable": stored | {"checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store a task's writes before its superstep ends. Deleted runs store nothing."""
        parent = super().aput_writes
        await self._store(
            lambda: parent(config, writes, task_id, task_path), config, run_of(config)
        )

    async def _store(
        self, write: Callable[[], Awaitable[object]], config: RunnableConfig, run_id: str
    ) -> None:
        """Complete a write even if its run is cancelled, so that deletions can wait for it."""

        async def store() -> None:
            writing_run.set(run_id)
            with suppress(RunDeleted):
                await write()

        # Before it is a write in progress, for which deletions wait.
        await self._deletion_of(str(config["configurable"]["thread_id"]))
        task = asyncio.create_task(store())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        await to_the_end(task)

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
        if config:
            await self._deletion_of(str(config["configurable"]["thread_id"]))

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
        """Delete all state of a thread. Its runs that are under way store nothing more.

        With a journal it returns before that is done, and never suspends its caller. Reads and
        writes of the thread wait until it is done.
        """
        if self.deletions:
            self.deletions.start(thread_id)
        else:
            await self._delete_threads([thread_id])

    async def _deletion_of(self, *thread_ids: str) -> None:
        if self.deletions:
            await self.deletions.wait(*thread_ids)

    async def _delete_threads(self, thread_ids: Sequence[str]) -> None:
        runs = [run_id for thread_id, run_id in self._begun if thread_id in thread_ids]
        await self._written()
        given = {"thread_ids": list(thread_ids), "run_ids": runs}
        await self._execute("delete_threads", given)

    async def _retry(self, work: Callable[[], Awaitable[T]]) -> T:
        with driver_errors():
            return await to_the_end(retrying_on(self.pool, work))

    # Methods that the parent lacks

    async def adelete_for_runs(self, run_ids: Iterable[str]) -> None:
        """Delete checkpoints and writes of runs, as a rollback does, and undo what they remembered.

        Writes to a checkpoint that was never stored stay, unread, until the thread is deleted.

        Raises:
            InvalidInput: a later run of a thread with a `DeltaChannel` builds upon one of them.
        """
        given: Any = {"run_ids": [str(id_) for id_ in run_ids], "thread_id": _only_thread.get()}

        async def work() -> str | None:
            async with self._cursor() as cursor:
                await cursor.execute(_SQL["lock_runs"], given)
                await cursor.execute(_SQL["built_upon"], given)
                threads = [row["thread_id"] for row in await cursor.fetchall()]
                await cursor.execute(PRUNE_DELTA_THREADS_SQL, (threads, threads))
                if needed := await cursor.fetchone():
                    return str(needed["thread_id"])
                await cursor.execute(_SQL["note_deleted_runs"], given)
                await cursor.execute(_SQL["delete_for_runs"], given)
                await undo_memory(cursor, given["run_ids"], given["thread_id"], announced())
            return None

        await self._written()
        if needed := await self._retry(work):
            raise InvalidInput(
                f"Later runs of thread {needed} build upon this run: a DeltaChannel stores only "
                "differences. Delete the later runs first, or the thread."
            )

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all state of a thread to another thread, in one statement."""
        source, target = str(source_thread_id), str(target_thread_id)
        await self._deletion_of(source, target)
        await self._execute("copy_thread", {"source": source, "target": target})

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete the history of threads (`keep_latest`), or all their state (`delete`).

        Raises:
            ValueError: the strategy is unknown. `delete_all` is another name of `delete`.
        """
        parent = super().aprune
        if strategy in ("delete", "delete_all") and not isinstance(thread_ids, str):
            await self._delete_threads([str(thread_id) for thread_id in thread_ids])
            return
        with _one_snapshot():
            await self._retry(lambda: parent(thread_ids, strategy=strategy))

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


@asynccontextmanager
async def open_checkpointer() -> AsyncIterator[PostgresCheckpointer]:
    """Open the deployment's checkpointer. `langgraph.json` names this function.

    It shares one pool per event loop with the store.

    Raises:
        ConfigurationError: a setting is wrong, or the service that it points at.
    """
    settings = await asyncio.to_thread(load_settings)
    async with shared_pool(settings) as pool:
        journal = await open_journal() if is_development_server() else None
        checkpointer = PostgresCheckpointer(pool, journal=journal)
        await checkpointer.setup()
        if checkpointer.deletions:
            checkpointer.deletions.resume()
        try:
            yield checkpointer
        finally:
            if checkpointer.deletions:
                await checkpointer.deletions.wait_for_all()
