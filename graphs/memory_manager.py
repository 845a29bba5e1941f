"""`MemoryManager`, the one authority for memory.

It is LangGraph's `BaseStore` on Postgres, with the five methods beside it that the nodes of a graph call. It combines
the helpers of `graphs.memory`; the SQL, the rules and the models live there.
"""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, cast

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
from langgraph.store.postgres.base import PoolConfig

from graphs.memory import (
    audit,
    context,
    embeddings,
    facts,
    indexing,
    items,
    lifecycle,
    payloads,
    receipts,
    reembedding,
    rights,
    schema,
    search,
)
from graphs.memory.batch import Call, Caller, Reads, Searching, carry_out, embeds, prepare, reads_of
from graphs.memory.coalescing import Coalescer
from graphs.memory.contract import (
    AuditProblem,
    DecayReport,
    ErasureCertificate,
    MemoryContext,
    MemoryPayload,
    RecalledMemory,
    RecallReceipt,
    WriteReceipt,
    check_payload,
)
from graphs.memory.database import Database, Pool, to_the_end
from graphs.memory.embeddings import Index
from graphs.memory.errors import AccessDenied, EmbeddingFailed, StoreUnavailable
from graphs.memory.files import Files, SupabaseClient
from graphs.memory.found import Found
from graphs.memory.items import ExpectingPutOp
from graphs.memory.loops import from_another_thread, on_home_loop
from graphs.memory.principal import Principal, current_principal, current_provenance
from graphs.memory.recalling import Recalls
from graphs.memory.transaction import Query
from graphs.memory.vectors import Model
from graphs.memory.writing import write_payload
from graphs.models import index_config
from graphs.pools import open_pool, shared_pool
from graphs.settings import load_settings
from graphs.supabase_client import supabase_client

log = logging.getLogger(__name__)

_WRITES = frozenset[type]({PutOp})
"""The kind of calls that write, whatever they read beside it."""


class MemoryManager(BaseStore):
    """Long-term memory on Postgres and pgvector.

    Make it with `from_conn_string`, or give it a pool that you keep; make it inside a running event loop. A drop-in
    for LangGraph's `AsyncPostgresStore`.

    Args:
        pool: an open pool of autocommit connections with `dict_row`; it stays yours to close.
        index: `{"dims", "embed", "fields"}` for vector search, and `"model"` to name the embedding model.
        ttl: LangGraph's TTL configuration; expired items are never read, whether swept or not.
        principal: who acts where neither `acting_as` nor a run says so; None makes that an error.
        supabase: a `supabase.AsyncClient` with the service key, for `files`; None where there is no Storage.
        files_bucket: the private bucket that files lie in.
    """

    supports_ttl = True

    def __init__(
        self,
        pool: Pool,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        principal: Principal | None = None,
        supabase: SupabaseClient | None = None,
        files_bucket: str = "memory",
    ) -> None:
        self._database = Database(pool)
        self._reporter = audit.Reporter(self._database)
        self.files = Files(self._ask_as, supabase, files_bucket)
        self._reads = audit.ReadLog(self._database)
        self._index = Index(index) if index else None
        self._searching = Searching()
        if self._index:
            self._searching = Searching(None, self._index.configuration, self._index.weights)
        self._default_principal = principal
        self.home_loop = asyncio.get_running_loop()
        self._calls = Coalescer(
            self._carry_out,
            at_once=8,
            together=lambda caller: caller.kinds,
            most=lambda caller: 32 if SearchOp in caller.kinds else 512,
            alike=Call.deletes,
            in_turn=lambda caller: caller.kinds == _WRITES,
            hopeless=lambda error: type(error) is StoreUnavailable,
        )
        self._recalls = Recalls(self._database, self._searching, self._reads)
        self._sweeper = lifecycle.Periodic("The TTL sweep", self.sweep_ttl)
        self._sealer = lifecycle.Periodic("The sealing of the audit log", self.seal_audit)
        self._indexer = indexing.Indexer(self._database, lambda: self._searching.model)
        self.index_config = index
        self.ttl_config = ttl

    @classmethod
    @asynccontextmanager
    async def from_conn_string(
        cls,
        conn_string: str,
        *,
        pipeline: bool = False,  # noqa: ARG003  always on; here so that callers of AsyncPostgresStore need no change
        pool_config: PoolConfig | None = None,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        principal: Principal | None = None,
    ) -> AsyncIterator["MemoryManager"]:
        """Open a store on a database of your own, with a pool of its own; it closes with the block.

        It acts as the service unless `principal` or `acting_as` says otherwise. Call `setup()` once per database.

        Raises:
            ConfigurationError: the database cannot be reached.
        """
        sizes = pool_config or {}
        async with open_pool(
            conn_string, min_size=sizes.get("min_size", 1), max_size=sizes.get("max_size") or 10
        ) as pool:
            store = cls(pool, index=index, ttl=ttl, principal=principal or Principal.service())
            async with store:
                yield store

    async def __aenter__(self) -> "MemoryManager":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_ttl_sweeper()
        await self._sealer.stop()
        await self._indexer.stop()
        await self._recalls.close()

    # Setting up ---------------------------------------------------------------------------------------------------

    @on_home_loop
    async def setup(self) -> None:
        """Apply the schema and register the embedding model. Idempotent; several processes may call it at once.

        Raises:
            ConfigurationError: the database is no Supabase and this role may not make it look like one.
            EmbeddingModelMismatch: the database holds vectors of another model.
        """
        scripts = await asyncio.to_thread(schema.read_scripts)
        async with self._database.pool.connection() as conn:
            await schema.apply(conn, scripts)
        if index := self._index:
            self._searching.model = await self._database.transaction(
                Principal.service(), lambda transaction: embeddings.activate_model(transaction, index)
            )
            await self._run(Principal.owner(), [embeddings.create_vector_index(self._searching.model)])

    async def _searched_model(self) -> Model | None:
        """The index's model, looked up once; None for a store without an index."""
        if self._index and self._searching.model is None:
            [model] = await self._run(Principal.service(), [embeddings.active_model()])
            self._searching.model = embeddings.checked(model, self._index)
        return self._searching.model

    @on_home_loop
    async def _ask_as(self, user_id: str, query: Query[Any]) -> Any:
        """What a query about a user reads, if whoever is acting is that user or the service."""
        return (await self._run(await self._principal_for(user_id), [query], current_provenance()))[0]

    async def _run(
        self, principal: Principal, queries: Sequence[Query[Any]], provenance: dict[str, Any] | None = None
    ) -> list[Any]:
        """What each query reads, in one transaction that a cancelled caller does not cut off."""
        async with self._reporter.denials(principal):
            return await to_the_end(self._database.run(principal, queries, provenance))

    # BaseStore ------------------------------------------------------------------------------------------------------

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations from another thread than the store's loop; every synchronous method ends here.

        Raises:
            asyncio.InvalidStateError: called on the loop's own thread, where waiting would block it for ever.
        """
        return from_another_thread(self.home_loop, lambda: self.abatch(list(ops)))

    @on_home_loop
    async def abatch(self, ops: Iterable[Op | ExpectingPutOp]) -> list[Result]:
        """Run operations. Reads see the state before the writes, which are stored in one transaction or not at all.

        Calls of one moment go to the database together, and fail alone. Beside LangGraph's operations there is
        `ExpectingPutOp`.

        Raises:
            InvalidInput: an operation that cannot be carried out; nothing was written.
            VersionConflict: an item is not at the version that an op expected; nothing was written.
            AccessDenied: the principal may not do one of them; nothing was written.
            StoreUnavailable: the database could not do it; nothing was written.
        """
        principal = current_principal(self._default_principal)
        operations = list(ops)
        if not operations:
            return []
        call = await self._prepare(operations, principal)
        kinds = frozenset(map(type, operations))  # what is quick does not wait for what is slow
        kinds = _WRITES if kinds & {PutOp, ExpectingPutOp} else kinds
        async with self._reporter.denials(principal):
            return await self._calls.submit(Caller(principal, tuple(current_provenance().items()), kinds), call)

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
            expected: `updated_at` of the item that this replaces, None if there must be none yet. Of two runs that read
                the same version only one gets through.

        Raises:
            VersionConflict: the item was written or deleted by somebody else; read it again.
        """
        if isinstance(expected, NotProvided):
            await super().aput(namespace, key, value, index, ttl=ttl)
        else:
            put = PutOp(namespace, str(key), value, index, _ensure_ttl(self.ttl_config, ttl))
            await self.abatch([ExpectingPutOp(put, expected)])

    async def _prepare(self, operations: Sequence[Op | ExpectingPutOp], principal: Principal) -> Call:
        """Check and embed before any transaction: no connection is held while a model works."""
        if any(embeds(op) for op in operations):
            await self._searched_model()
        try:
            return await prepare(operations, self._index, principal)
        except EmbeddingFailed as error:
            await self._reporter.embedding_failed(principal, self._index.name if self._index else "", error)
            raise

    async def _carry_out(self, calls: Sequence[tuple[Caller, Call]]) -> list[list[Result]]:
        results = await carry_out(self._database, calls, self._searching)
        self._wake_indexer(call.writes for _, call in calls)
        for (caller, call), answers in zip(calls, results, strict=True):
            for scope, kind, found in reads_of(call, answers):
                self._reads.note(caller.principal, caller.provenance, scope, kind, found)
        return results

    # The vector index -----------------------------------------------------------------------------------------------

    def _wake_indexer(self, writes: Iterable[Iterable[items.Write]]) -> None:
        if any(write.vectors for written in writes for write in written):
            self._indexer.wake()

    @on_home_loop
    async def wait_until_indexed(self) -> None:
        """Return when every vector is in the vector index. Searches do not need it: what waits is read one by one."""
        if await self._searched_model():
            await self._indexer.finish()

    @on_home_loop
    async def rebuild_index(self) -> None:
        """Put all vectors into the index at once, after a bulk load: faster, but nobody reads or writes meanwhile."""
        if model := await self._searched_model():
            await self._run(Principal.owner(), [embeddings.rebuild_vector_index(model)])

    @on_home_loop
    async def reembed(self, progress: reembedding.Progress | None = None) -> int:
        """Embed all that is stored with this store's model, beside the one in use, then use it; return how much it was.

        For a new embedding model: open a store with it, do not call `setup()`, and call this. It may be interrupted,
        and goes on when called again; call it once more when the last process with the old model has ended. `progress`
        is told how many vectors are made, and how many there are to make.
        """
        made = await reembedding.reembed(self._database, self._index, progress) if self._index else 0
        self._searching.model = None
        return made

    # TTL ------------------------------------------------------------------------------------------------------------

    @on_home_loop
    async def sweep_ttl(self) -> int:
        """Delete every expired item, in portions that lock little, and return how many there were."""
        swept = 0
        while portion := (await self._run(Principal.service(), [items.sweep()]))[0]:
            swept += int(portion)
        if swept:
            log.info("Swept %d expired memories", swept)
        return swept

    @on_home_loop
    async def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> asyncio.Task[None]:
        """Sweep at an interval (5 minutes unless configured) until `stop_ttl_sweeper` or the store's end.

        Returns:
            The running task; without a TTL configuration, one that is over at once.
        """
        if self.ttl_config is None:
            return asyncio.create_task(asyncio.sleep(0))
        minutes = sweep_interval_minutes or self.ttl_config.get("sweep_interval_minutes") or 5
        return self._sweeper.start(minutes * 60)

    @on_home_loop
    async def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  upstream's signature
        """Stop the sweeper and return whether it has stopped within `timeout` seconds."""
        return await self._sweeper.stop(timeout)

    # Memory ---------------------------------------------------------------------------------------------------------

    @on_home_loop
    async def load_context(
        self, user_id: str, session_id: str, *, query: str | None = None, agent: str | None = None, limit: int = 8
    ) -> MemoryContext:
        """Return the snapshot a run starts with: session, recent turns, relevant memories, profile.

        Args:
            user_id: whose memory.
            session_id: the conversation; one that is new has no turns yet.
            query: what the memories should be relevant to; without one, the latest come first.
            agent: only what this agent wrote.
            limit: most memories, and most turns, to return.

        Raises:
            AccessDenied: the principal is not this user and not the service.
        """
        principal = await self._principal_for(user_id)
        reads = Reads()
        answers: dict[str, Any] = {}
        reads.ask(context.session(user_id, session_id), functools.partial(answers.__setitem__, "session"))
        reads.ask(context.recent_turns(user_id, session_id, limit), functools.partial(answers.__setitem__, "turns"))
        reads.ask(context.profile(user_id), functools.partial(answers.__setitem__, "profile"))
        op = search.recall_op(user_id, query, (), agent, limit)
        found = await self._recall(principal, user_id, op, reads, {"session_id": session_id})
        return MemoryContext(user_id=user_id, memories=context.recalled(found), **answers)

    async def _recall(
        self, principal: Principal, user_id: str, op: SearchOp, reads: Reads, provenance: dict[str, str] | None = None
    ) -> Found:
        """What a search of a user's memory found, together with other reads, and leave a receipt of it."""
        vector = (await self._prepare([op], principal)).vectors.get(op.query or "")
        source = tuple((current_provenance() | (provenance or {})).items())
        async with self._reporter.denials(principal):
            return await self._recalls.recall(principal, user_id, op, vector, reads, source)

    @on_home_loop
    async def write_memory(
        self, user_id: str, session_id: str, payload: MemoryPayload | dict[str, Any]
    ) -> WriteReceipt:
        """Store a payload: its items, vectors, turns, log and audit records commit together or not at all.

        A turn stores both sides of the exchange and, as facts, what the user stated about themselves. The same
        payload written again by the same task of a graph (a retry, a resume) changes nothing.

        Raises:
            ContractError: the payload breaks the contract; `fields` names where.
            AccessDenied: the principal is not this user and not the service.
        """
        principal = await self._principal_for(user_id)
        checked = check_payload(user_id, session_id, payload)
        puts = payloads.items_of(checked, facts.worth_remembering(checked.said))
        writes = (await self._prepare(puts, principal)).writes
        async with self._reporter.denials(principal):
            receipt = await write_payload(
                self._database, principal, checked, puts, writes, self._searching, current_provenance()
            )
        self._wake_indexer([writes])
        return receipt

    @on_home_loop
    async def recall_memory(
        self,
        user_id: str,
        query: str,
        tags: Sequence[str] | None = None,
        *,
        agent: str | None = None,
        limit: int = 5,
        explain: bool = False,
    ) -> list[RecalledMemory]:
        """Return a user's memories that are relevant to a query, best first. Turns are left to `load_context`.

        Args:
            user_id: whose memory.
            query: what to look for, in plain words; empty for the latest.
            tags: only memories that carry all of them.
            agent: only what this agent wrote.
            limit: how many at most.
            explain: take the score apart in `explanation`.

        Raises:
            AccessDenied: the principal is not this user and not the service.
        """
        principal = await self._principal_for(user_id)
        op = search.recall_op(user_id, query, tags or (), agent, limit)
        return context.recalled(await self._recall(principal, user_id, op, Reads()), explain=explain)

    @on_home_loop
    async def recall_receipts(self, user_id: str, *, run_id: str | None = None, limit: int = 20) -> list[RecallReceipt]:
        """Return what was recalled from a user's memory, what nearly, and why; the latest first.

        Args:
            user_id: whose memory was read.
            run_id: only what this run recalled.
            limit: how many receipts at most.

        Raises:
            AccessDenied: the principal is not this user and not the service.
        """
        principal = await self._principal_for(user_id)
        await self._recalls.finish()
        [found] = await self._run(principal, [receipts.latest(user_id, run_id, limit)])
        return cast("list[RecallReceipt]", found)

    @on_home_loop
    async def log_event(self, user_id: str, event_type: str, data: dict[str, Any]) -> None:
        """Append an event about a user to the audit log.

        Raises:
            ContractError: the type is empty, or the data is not JSON.
            AccessDenied: the principal is another user.
        """
        principal = current_principal(self._default_principal)
        await self._run(principal, [audit.event(user_id, event_type, data)], current_provenance())

    # Audit, and a person's rights ------------------------------------------------------------------------------------

    @on_home_loop
    async def seal_audit(self) -> str | None:
        """Seal what the audit log and the history recorded since; the deployment does so every few minutes.

        Returns:
            The digest of the last seal, which holds all before it; None if there is none. Kept somewhere else, it lets
            `verify_audit` tell if seals were made anew.
        """
        return await audit.seal_all(self._database)

    def start_sealing(self, interval_minutes: float = 5) -> None:
        """Seal the audit log at an interval until the store's end. Call it on the store's own event loop."""
        self._sealer.start(interval_minutes * 60)

    @on_home_loop
    async def verify_audit(self, head: str | None = None) -> list[AuditProblem]:
        """Return what of the audit log and the history was changed or removed since it was sealed.

        Args:
            head: a digest that `seal_audit` returned earlier and that was kept elsewhere.

        Raises:
            AccessDenied: the principal is not the service.
        """
        principal = current_principal(self._default_principal)
        [problems] = await self._run(principal, [audit.verify(head)])
        return cast("list[AuditProblem]", problems)

    async def export_user(self, user_id: str) -> AsyncIterator[str]:
        """Yield everything that is kept about a user as lines of JSON, which `rights.export` describes.

        Raises:
            AccessDenied: the principal is not this user and not the service.
        """
        await self._ask_as(user_id, audit.event(user_id, "user.export", {}))
        async for line in rights.export(user_id, functools.partial(self._ask_as, user_id)):
            yield line

    @on_home_loop
    async def erase_user(self, user_id: str) -> ErasureCertificate:
        """Remove everything that is kept about a user, in one transaction, and return the certificate that stays.

        Of the audit log and the history only digests stay, so that `verify_audit` still holds. End the user's runs
        first: whoever writes meanwhile writes anew.

        Raises:
            AccessDenied: the principal is not this user and not the service.
            StorageFailed: a file could not be removed; nothing else was.
        """
        principal = await self._principal_for(user_id)
        await self._recalls.finish()
        await self.files.remove_contents(user_id)
        [certificate] = await self._run(principal, [rights.erase(user_id)])
        return cast("ErasureCertificate", certificate)

    @on_home_loop
    async def decay_memory(self, user_id: str, threshold_days: float) -> DecayReport:
        """Trim a user's memories that nobody touched for `threshold_days`; important ones lose half their importance.

        Raises:
            InvalidInput: the threshold is not a positive number of days.
            AccessDenied: the principal is not this user and not the service.
        """
        principal = await self._principal_for(user_id)
        lifecycle.check_threshold(threshold_days)
        [report] = await self._run(principal, [lifecycle.decay(user_id, threshold_days)])
        return cast("DecayReport", report)

    @on_home_loop
    async def ping(self) -> None:
        """Return if the database answers.

        Raises:
            StoreUnavailable: it does not.
        """
        await self._run(Principal.service(), [items.ping()])

    async def _principal_for(self, user_id: str) -> Principal:
        """Who is acting; another person than the one whose memory it is would find nothing, and is told so instead."""
        principal = current_principal(self._default_principal)
        if principal.user_id not in (None, user_id):
            denied = AccessDenied(f"User {principal.user_id} may not use the memory of user {user_id}.", user_id)
            await self._reporter.denied(principal, denied)
            raise denied
        return principal


@asynccontextmanager
async def unprepared_store() -> AsyncIterator[MemoryManager]:
    """Lend the deployment's memory without applying the schema or checking the embedding model; for operators.

    Raises:
        ConfigurationError: a setting is wrong, or what it points at.
    """
    settings = await asyncio.to_thread(load_settings)
    index = await asyncio.to_thread(index_config, settings)
    ttl: TTLConfig = {"refresh_on_read": True, "sweep_interval_minutes": cast("int", settings.memory_sweep_minutes)}
    async with shared_pool(settings) as pool, supabase_client(settings) as supabase:
        options: Any = {"supabase": supabase, "files_bucket": settings.memory_files_bucket}
        async with MemoryManager(pool, index=index, ttl=ttl, **options) as store:
            yield store


@asynccontextmanager
async def deployment_store() -> AsyncIterator[MemoryManager]:
    """Lend the deployment's memory, from its settings, on the pool that all of this event loop share.

    It acts for the authenticated user of a run or request, never on its own.

    Raises:
        ConfigurationError: a setting is wrong, or what it points at.
    """
    async with unprepared_store() as store:
        await store.setup()
        yield store


@asynccontextmanager
async def open_store() -> AsyncIterator[MemoryManager]:
    """Open the deployment's store; what `langgraph.json` names. It sweeps expired memories while it is open.

    Raises:
        ConfigurationError: a setting is wrong, or what it points at.
    """
    async with deployment_store() as store:
        await store.start_ttl_sweeper()
        store.start_sealing()
        yield store
