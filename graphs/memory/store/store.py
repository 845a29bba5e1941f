"""LangGraph's `BaseStore` on Postgres and pgvector: items, search, TTL and the vector index."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar, cast

from langgraph.store.base import (
    NOT_PROVIDED,
    BaseStore,
    IndexConfig,
    NotProvided,
    Op,
    PutOp,
    Result,
    SearchOp,
    TTLConfig,
    _ensure_ttl,  # upstream's own rule for defaults; its stores use it, too
)

from graphs.memory import telemetry
from graphs.memory.access import Access
from graphs.memory.database import schema
from graphs.memory.database.coalescing import Coalescer, Slow
from graphs.memory.database.database import Database, Pool
from graphs.memory.database.loops import from_another_thread, on_home_loop
from graphs.memory.database.query import Query
from graphs.memory.database.vectors import Model
from graphs.memory.errors import OutcomeUnknown, StoreUnavailable
from graphs.memory.moment import current_moment
from graphs.memory.principal import Principal, current_provenance
from graphs.memory.search import embeddings, reembedding, unindexed
from graphs.memory.search.embeddings import Index, MemoryIndexConfig
from graphs.memory.store import items, periodic
from graphs.memory.store.batch import (
    Call,
    Caller,
    carry_out,
    name_of,
    reads_of,
)
from graphs.memory.store.embedder import Embedder
from graphs.memory.store.items import ExpectingPutOp
from graphs.memory.values.progress import Progress
from graphs.memory.values.remembered import Remembered

log = logging.getLogger(__name__)

T = TypeVar("T")

_AT_ONCE = 8
"""Groups of calls under way at once."""

_SHARED = Slow(None, _AT_ONCE)
"""The bounds of light searches, whose groups are everybody's."""

_LONG_SECONDS, _LONG_AGO_SECONDS = 1.0, 60.0
"""Seconds after which a group counts as long, and for which its callers are remembered."""

_WRITES = frozenset[type]({PutOp})
"""The kind of calls that write, with or without reads."""


class PostgresStore(BaseStore):
    """The store below `MemoryManager`: it knows items, and nothing of users and conversations.

    Args:
        pool: an open pool of autocommit connections with `dict_row`; its owner closes it.
        index: `dims`, `embed` and `fields` for vector search; see `MemoryIndexConfig`.
        ttl: LangGraph's TTL configuration. Expired items are never read, swept or not.
        principal: the principal outside `acting_as` and runs; None makes such a call an error.
    """

    supports_ttl = True

    def __init__(
        self,
        pool: Pool,
        *,
        index: IndexConfig | MemoryIndexConfig | None = None,
        ttl: TTLConfig | None = None,
        principal: Principal | None = None,
    ) -> None:
        self.access = Access(Database(pool), principal)
        self.embedder = Embedder(self.access, Index(index) if index else None)
        self.home_loop = asyncio.get_running_loop()
        self._calls = Coalescer(
            self._carry_out,
            at_once=_AT_ONCE,
            together=lambda caller: caller.kinds,
            most=lambda caller: 32 if SearchOp in caller.kinds else 512,
            alike=Call.deletes,
            in_turn=lambda caller: caller.kinds == _WRITES,
            slow=self._slow,
            kept=2,
            # Repeated alone, a write of unknown outcome would meet itself as a conflict.
            hopeless=lambda error: type(error) in (StoreUnavailable, OutcomeUnknown),
        )
        self._waited_for: Remembered[bool] = Remembered()
        self._sweeper = periodic.Periodic("The TTL sweep", self.sweep_ttl)
        self.index_config = index
        self.ttl_config = ttl

    async def close(self) -> None:
        """Stop the background tasks. The pool stays open."""
        await self.stop_ttl_sweeper()
        await self.embedder.indexer.stop()

    # Setup --------------------------------------------------------------------------------------

    @on_home_loop
    async def setup(self) -> None:
        """Apply the schema and register the embedding model. Idempotent, also in several processes.

        Raises:
            ConfigurationError: the database is not Supabase, and this role may not prepare it.
            EmbeddingModelMismatch: the database holds vectors of another model.
        """
        scripts = await asyncio.to_thread(schema.read_scripts)
        async with self.access.database.pool.connection() as conn:
            await schema.apply(conn, scripts)
        if index := self.embedder.index:
            self.embedder.how.model = await self.access.database.transaction(
                Principal.service(),
                lambda transaction: embeddings.activate_model(transaction, index),
            )
            await self.access.run(
                Principal.owner(), [embeddings.create_vector_index(self.embedder.how.model)]
            )

    @on_home_loop
    @telemetry.operation
    async def ask(self, query: Query[T]) -> T:
        """Run a query of your own on tables of your own, and return what `query.read` returns.

        It runs as the acting principal, so that the policies of your tables hold, and with the
        provenance of the run. Load statements from `.sql` files with `statements.load(…)`.

        Raises:
            AccessDenied: a policy or a missing grant refuses it; nothing was written.
            StoreUnavailable: the database could not do it; nothing was written.
        """
        principal = self.access.principal()
        [answer] = await self.access.run(principal, [query], current_provenance())
        return cast("T", answer)

    # BaseStore ----------------------------------------------------------------------------------

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations from another thread; every synchronous method ends here.

        Raises:
            asyncio.InvalidStateError: called on the thread of the loop, which it would block.
        """
        return from_another_thread(self.home_loop, lambda: self.abatch(list(ops)))

    @on_home_loop
    async def abatch(self, ops: Iterable[Op | ExpectingPutOp]) -> list[Result]:
        """Run operations. Reads see the state before the writes, which share one transaction.

        Concurrent calls are coalesced, and fail alone. Beside LangGraph's operations it takes
        `ExpectingPutOp`.

        Raises:
            InvalidInput: an operation that cannot be carried out; nothing was written.
            VersionConflict: an item is not at the version that an op expected; nothing was written.
            AccessDenied: the principal may not do one of them; nothing was written.
            StoreUnavailable: the database could not do it; nothing was written.
        """
        principal = self.access.principal()
        operations = list(ops)
        if not operations:
            return []
        kinds = frozenset(map(type, operations))  # quick calls do not wait for slow ones
        kinds = _WRITES if kinds & {PutOp, ExpectingPutOp} else kinds
        with telemetry.call(name_of(operations)):
            call = await self.embedder.prepare(operations, principal)
            with self.access.reporter.denials(principal):
                return await self._calls.submit(
                    Caller(principal, tuple(current_provenance().items()), kinds, current_moment()),
                    call,
                )

    async def aput(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: Mapping[str, Any],
        index: Literal[False] | list[str] | None = None,
        *,
        ttl: float | NotProvided | None = NOT_PROVIDED,
        expected: datetime | NotProvided | None = NOT_PROVIDED,
    ) -> None:
        """Store an item, as LangGraph's stores do, or only if it is still what was read.

        Args:
            namespace: where it belongs.
            key: its name there.
            value: a JSON object.
            index: fields to embed; False for none, None for the store's own choice.
            ttl: minutes until it expires; the store's default unless given, None for never.
            expected: `updated_at` of the item to replace, None if it must not exist. Of two runs
                that read the same version, only one succeeds.

        Raises:
            VersionConflict: another caller wrote or deleted the item; read it again.
        """
        if isinstance(expected, NotProvided):
            await super().aput(namespace, key, value, index, ttl=ttl)
        else:
            put = PutOp(namespace, str(key), value, index, _ensure_ttl(self.ttl_config, ttl))
            await self.abatch([ExpectingPutOp(put, expected)])

    def _slow(self, caller: Caller, call: Call) -> Slow | None:
        """Return the bounds of a call that may take long; None for gets and a few puts.

        Searches share groups, as long as they are light and their caller's last ones were quick. A
        person has two groups for others, and the service as many as there are.
        """
        if not (call.looks_through or call.is_heavy):
            return None
        owner = caller.principal.user_id or caller.principal.role
        if not (call.is_heavy or self._waited_for.get(owner)):
            return _SHARED
        return Slow(owner, 2 if caller.principal.user_id else _AT_ONCE)

    async def _carry_out(self, calls: Sequence[tuple[Caller, Call]]) -> list[list[Result]]:
        begun = time.monotonic()
        try:
            results = await carry_out(self.access.database, calls, self.embedder.how)
        finally:
            if time.monotonic() - begun > _LONG_SECONDS:
                for principal in {caller.principal for caller, _ in calls}:
                    owner = principal.user_id or principal.role
                    self._waited_for.put(owner, True, _LONG_AGO_SECONDS)
        self.embedder.wrote(call.writes for _, call in calls)
        for (caller, call), answers in zip(calls, results, strict=True):
            for scope, kind, found in reads_of(call, answers):
                self.access.reads.note(caller.principal, caller.provenance, scope, kind, found)
        return results

    # The vector index ---------------------------------------------------------------------------

    @on_home_loop
    async def wait_until_indexed(self) -> None:
        """Wait until every vector is indexed. Searches need not wait: they scan the others."""
        if await self.embedder.model():
            await self.embedder.indexer.finish()

    @on_home_loop
    async def rebuild_index(self) -> None:
        """Index all vectors at once after a bulk load: faster, but it blocks reads and writes."""
        if model := await self.embedder.model():
            await self.access.run(Principal.owner(), [embeddings.rebuild_vector_index(model)])

    @on_home_loop
    async def reembed(self, progress: Progress | None = None) -> int:
        """Embed all items with this store's model, switch to it, and return the number of vectors.

        For a new embedding model: open a store with it, do not call `setup()`, and call this. After
        an interruption, call it again; it continues. Call it once more when the last process with
        the old model has ended. `progress` receives the number of vectors done, and of all.
        """
        if not self.embedder.index:
            return 0
        made = await reembedding.reembed(self.access.database, self.embedder.index, progress)
        [model] = await self.access.run(Principal.service(), [embeddings.active_model()])
        self.embedder.how.model = embeddings.checked(
            model, self.embedder.index
        )  # at once: what is being written needs one
        return made

    @on_home_loop
    async def refresh_embeddings(self) -> int:
        """Embed items without a vector of the model in use, and return their number; an hourly job.

        They are items that came past the store, and those that were written with a former model. A
        process with another configured model does nothing, since it must not switch back to it.
        """
        if await self._model_in_use() is None:
            return 0
        return await self.index_memories() + await self.reembed()

    @on_home_loop
    async def index_memories(self) -> int:
        """Index items that came past the store, over PostgREST or SQL, and return their number.

        A job that is queued with them. They get the words and vectors that a put gives: of the
        fields that had vectors before, of a memory's text, else of the store's fields.
        """
        index, model = self.embedder.index, await self._model_in_use()
        if not (index and model):
            return 0
        if indexed := await unindexed.index_items(self.access.database, index, model):
            self.embedder.indexer.wake()
        return indexed

    async def _model_in_use(self) -> Model | None:
        """Return the database's model if it is this store's, else None."""
        index = self.embedder.index
        [model] = await self.access.run(Principal.service(), [embeddings.active_model()])
        return model if index and model and embeddings.is_of(model, index) else None

    # TTL ----------------------------------------------------------------------------------------

    @on_home_loop
    @telemetry.operation
    async def sweep_ttl(self) -> int:
        """Delete expired items in small batches, and return their number."""
        swept = 0
        while portion := (await self.access.run(Principal.service(), [items.sweep()]))[0]:
            swept += int(portion)
        if swept:
            log.info("Swept %d expired memories", swept)
        return swept

    @on_home_loop
    async def start_ttl_sweeper(
        self, sweep_interval_minutes: float | None = None
    ) -> asyncio.Task[None]:
        """Sweep at an interval (5 minutes by default) until `stop_ttl_sweeper` or `close`.

        Returns:
            The running task; without a TTL configuration, a task that ends at once.
        """
        if self.ttl_config is None:
            return asyncio.create_task(asyncio.sleep(0))
        minutes = sweep_interval_minutes or self.ttl_config.get("sweep_interval_minutes") or 5
        return self._sweeper.start(minutes * 60)

    @on_home_loop
    async def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  upstream's signature
        """Stop the sweeper and return whether it has stopped within `timeout` seconds."""
        return await self._sweeper.stop(timeout)

    @on_home_loop
    async def ping(self) -> None:
        """Check that the database answers.

        Raises:
            StoreUnavailable: it does not.
        """
        await self.access.run(Principal.service(), [items.ping()])
