"""`MemoryManager`, the one authority for memory.

It is LangGraph's `BaseStore` on Postgres, with the five methods beside it that the nodes of a graph call. It combines
the helpers of `graphs.memory`; the SQL, the rules and the models live there.
"""

import functools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, cast

from langgraph.store.base import IndexConfig, SearchOp, TTLConfig
from langgraph.store.postgres.base import PoolConfig

from graphs.deployment.pools import open_pool
from graphs.memory import telemetry
from graphs.memory.audit import events, seals
from graphs.memory.audit.records import Records
from graphs.memory.brain.brain import Entity, Means
from graphs.memory.brain.entities import EntityNormaliser
from graphs.memory.brain.loading import LoadingBrain
from graphs.memory.brain.profiles import BrainSource
from graphs.memory.contract import (
    AuditProblem,
    DecayReport,
    ErasureCertificate,
    ExtractionReport,
    MemoryContext,
    MemoryPayload,
    RecalledMemory,
    RecallReceipt,
    WriteReceipt,
    check_payload,
)
from graphs.memory.conversations import context, receipts
from graphs.memory.conversations.recalling import Recalls
from graphs.memory.conversations.sessions import Sessions
from graphs.memory.conversations.writing import write_payload
from graphs.memory.database.database import Pool
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query
from graphs.memory.errors import AccessDenied, ConfigurationError
from graphs.memory.facts.conversation import Extractor
from graphs.memory.facts.extraction import Extraction
from graphs.memory.facts.judging import Judge
from graphs.memory.health import (
    OFF,
    OK,
    HealthMonitor,
    PartHealth,
)
from graphs.memory.jobs.queue import Jobs
from graphs.memory.jobs.tasks import Task, Timing
from graphs.memory.knowledge.beliefs import Beliefs
from graphs.memory.knowledge.goals import Goals
from graphs.memory.knowledge.memories import Memories
from graphs.memory.knowledge.metrics import Metrics
from graphs.memory.knowledge.origins import Origins
from graphs.memory.knowledge.reflections import Reflections
from graphs.memory.knowledge.relationships import Relationships
from graphs.memory.outbox.adapter import Outbound
from graphs.memory.outbox.deliveries import Deliveries
from graphs.memory.outbox.delivering import Courier
from graphs.memory.outbox.intents import Intents
from graphs.memory.outbox.shadow import Shadow
from graphs.memory.principal import (
    Principal,
    acting_as,
    current_principal,
    current_provenance,
)
from graphs.memory.rights import erasure, export, retention
from graphs.memory.rights.files import Files, SupabaseClient
from graphs.memory.rights.retention import Keeping
from graphs.memory.search import recalled, search
from graphs.memory.search.ranking import Weights
from graphs.memory.search.recalled import Found
from graphs.memory.store import payloads
from graphs.memory.store.batch import Reads
from graphs.memory.store.store import PostgresStore
from graphs.memory.values.namespaces import to_text
from graphs.operations.operations import Operations, OperatorMeans


class MemoryManager(PostgresStore):
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
        extractor: makes facts of what is said; None leaves it at the turns. Jobs do it, where a worker runs: `jobs`.
        judge: says what a new fact means for known ones where rules cannot; None keeps them side by side.
        extract_after: how many seconds after a turn; what is said meanwhile is read with it.
        keeping: for how long background jobs keep turns and memories.
        timing: how fast background jobs go.
        outbound: the services outside that are told what changes, by jobs, too: `deliveries`, `intents`.
        shadow_weights: another ranking that each recall is compared with after its answer is out: `shadow`.
        entities: how ids of users and companies are normalised in `brain`: `{"company": entities.cl_rut}`.
        profiles: where jobs that fill `brain` read what is known of users and companies; the database, unless given.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        principal: Principal | None = None,
        supabase: SupabaseClient | None = None,
        files_bucket: str = "memory",
        extractor: Extractor | None = None,
        judge: Judge | None = None,
        extract_after: float = 2.0,
        keeping: Keeping = Keeping(),  # noqa: B008  frozen
        timing: Timing | None = None,
        outbound: Outbound | None = None,
        shadow_weights: Weights | None = None,
        entities: Mapping[Entity, EntityNormaliser] | None = None,
        profiles: BrainSource | None = None,
    ) -> None:
        super().__init__(pool, index=index, ttl=ttl, principal=principal)
        self._database.adapters = outbound.announcement if outbound else {}
        self._outbound = outbound
        self._shadow_weights = shadow_weights
        attempts = (timing or Timing()).attempts
        self._courier = Courier(self._database, outbound, attempts)
        self.deliveries = Deliveries(self._ask_as_operator, outbound, attempts)
        self.intents = Intents(self._ask_as)
        self.shadow = Shadow(self._ask_as_operator)
        self._extract_after = extract_after if extractor else None
        self._extraction: Extraction | None = None
        if extractor:
            self._extraction = Extraction(
                self._database, self._searching, self._prepare, extractor, judge
            )
        self.files = Files(self._ask_as, supabase, files_bucket)
        acting = functools.partial(current_principal, principal)
        self.brain = LoadingBrain(
            Means(
                self._principal_for,
                acting,
                self._prepare,
                self._run,
                self._searching,
                self._reads,
                self._wake_indexer,
            ),
            entities,
            profiles,
        )
        self.memories = Memories(self._ask_as, self.abatch)
        self.sessions = Sessions(self._ask_as)
        self.records = Records(self._ask_as)
        self.beliefs = Beliefs(self._ask_as, self._write_as)
        self.goals = Goals(self._ask_as, self._write_as)
        self.reflections = Reflections(self._ask_as, self._write_as)
        self.relationships = Relationships(self._ask_as)
        self.metrics = Metrics(self._ask_as)
        self.origins = Origins(self._ask_as)
        self.health = HealthMonitor(self._database, self._index, (timing or Timing()).stalled)
        self.health.add("storage", self._storage)
        self.health.add("adapters", self._adapters)
        self.jobs = Jobs(pool, self._tasks(keeping), self._ask_about_jobs, timing)
        self._recalls = Recalls(self._database, self._searching, self._reads)
        asking = (self._principal_for, self._ask_as, self._ask_about_jobs, self.abatch)
        self.operations = Operations(
            OperatorMeans(self._database, self._index, self.health, acting, *asking)
        )

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
        extractor: Extractor | None = None,
        extract_after: float = 2.0,
        outbound: Outbound | None = None,
    ) -> AsyncIterator["MemoryManager"]:
        """Open a store on a database of your own, with a pool of its own; it closes with the block.

        It acts as the service unless `principal` or `acting_as` says otherwise. Call `setup()` once per database. With
        an `extractor`, facts are taken from turns while somebody works: `async with store.jobs.working(): …`.

        Raises:
            ConfigurationError: the database cannot be reached.
        """
        sizes = pool_config or {}
        async with open_pool(
            conn_string, min_size=sizes.get("min_size", 1), max_size=sizes.get("max_size") or 10
        ) as pool:
            who = principal or Principal.service()
            options: Any = {
                "extractor": extractor,
                "extract_after": extract_after,
                "outbound": outbound,
            }
            async with cls(pool, index=index, ttl=ttl, principal=who, **options) as store:
                yield store

    async def __aenter__(self) -> "MemoryManager":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shadow.close()
        await self.close()
        await self._recalls.close()

    async def _adapters(self) -> PartHealth:
        if advice := await self.deliveries.trouble():
            return PartHealth(status="degraded", advice=advice)
        return OK if self._outbound else OFF

    async def _storage(self) -> PartHealth:
        return OK if self.files.is_configured else OFF

    # Memory ---------------------------------------------------------------------------------------------------------

    @on_home_loop
    @telemetry.operation
    async def load_context(
        self,
        user_id: str,
        session_id: str,
        *,
        query: str | None = None,
        agent: str | None = None,
        limit: int = 8,
    ) -> MemoryContext:
        """Return the snapshot a run starts with: session, recent turns, pinned and relevant memories, profile.

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
        reads.ask(
            context.session(user_id, session_id), functools.partial(answers.__setitem__, "session")
        )
        reads.ask(
            context.recent_turns(user_id, session_id, limit),
            functools.partial(answers.__setitem__, "turns"),
        )
        reads.ask(context.profile(user_id), functools.partial(answers.__setitem__, "profile"))
        reads.ask(
            context.pinned(user_id, agent, limit), functools.partial(answers.__setitem__, "pinned")
        )
        op = search.recall_op(user_id, query, (), agent, limit)
        found = await self._recall(principal, user_id, op, reads, {"session_id": session_id})
        memories = context.with_pinned(answers.pop("pinned"), recalled.recalled(found), limit)
        return MemoryContext(user_id=user_id, memories=memories, **answers)

    async def _recall(
        self,
        principal: Principal,
        user_id: str,
        op: SearchOp,
        reads: Reads,
        provenance: dict[str, str] | None = None,
    ) -> Found:
        """What a search of a user's memory found, together with other reads, and leave a receipt of it."""
        vector = (await self._prepare([op], principal)).vectors.get(op.query or "")
        source = tuple((current_provenance() | (provenance or {})).items())
        started = time.perf_counter()
        async with self._reporter.denials(principal):
            found = await self._recalls.recall(principal, user_id, op, vector, reads, source)
        others = self._courier.in_shadow(user_id, op)
        if vector is not None and self._shadow_weights:
            others["ranking"] = functools.partial(
                self._recalls.would_find, principal, op, vector, self._shadow_weights
            )
        if vector is not None and others:
            ours = [(to_text(item.namespace), item.key) for item in found.items]
            self.shadow.compare(user_id, op.limit, ours, time.perf_counter() - started, others)
        return found

    @telemetry.operation
    async def write_memory(
        self, user_id: str, session_id: str, payload: MemoryPayload | dict[str, Any]
    ) -> WriteReceipt:
        """Store a payload: its items, vectors, turns, log and audit records commit together or not at all.

        A turn stores both sides of the exchange, and queues a job that takes facts from it. The same payload written
        again by the same task of a graph (a retry, a resume) changes nothing.

        Raises:
            ContractError: the payload breaks the contract; `fields` names where.
            AccessDenied: the principal is not this user and not the service.
        """
        return await self._write_as(user_id, session_id, payload)

    @on_home_loop
    async def _write_as(
        self,
        user_id: str,
        session_id: str,
        payload: MemoryPayload | dict[str, Any],
        also: Sequence[Query[Any]] = (),
    ) -> WriteReceipt:
        """Store a payload, and carry out other queries in the same transaction."""
        principal = await self._principal_for(user_id)
        checked = check_payload(user_id, session_id, payload)
        puts = payloads.items_of(checked)
        writes = (await self._prepare(puts, principal)).writes
        async with self._reporter.denials(principal):
            receipt = await write_payload(
                self._database,
                principal,
                checked,
                puts,
                writes,
                self._searching,
                current_provenance(),
                self._extract_after,
                also,
            )
        self._wake_indexer([writes])
        return receipt

    @on_home_loop
    @telemetry.operation
    async def extract_facts(self, user_id: str, session_id: str) -> ExtractionReport:
        """Take facts from what was said in a session and not read yet; a background job does so after each turn.

        Raises:
            ConfigurationError: this store has no extractor.
            ExtractionFailed: the model did not do it; the turns are left for another time.
            AccessDenied: the principal is not this user and not the service.
        """
        principal = await self._principal_for(user_id)
        if self._extraction is None:
            raise ConfigurationError(
                "This store takes no facts from what is said: give it an `extractor`."
            )
        return await self._extraction.extract(principal, user_id, session_id)

    @on_home_loop
    @telemetry.operation
    async def recall_memory(
        self,
        user_id: str,
        query: str,
        tags: Sequence[str] | None = None,
        *,
        types: Sequence[str] | None = None,
        agent: str | None = None,
        limit: int = 5,
        explain: bool = False,
    ) -> list[RecalledMemory]:
        """Return a user's memories that are relevant to a query, best first. Turns are left to `load_context`.

        Beliefs that others have taken the place of are not among them.

        Args:
            user_id: whose memory.
            query: what to look for, in plain words; empty for the latest.
            tags: only memories that carry all of them.
            types: only memories of these types, such as beliefs and reflections.
            agent: only what this agent wrote.
            limit: how many at most.
            explain: take the score apart in `explanation`.

        Raises:
            InvalidInput: a type that there is not, or a negative limit.
            AccessDenied: the principal is not this user and not the service.
        """
        principal = await self._principal_for(user_id)
        op = search.recall_op(user_id, query, tags or (), agent, limit, types)
        return recalled.recalled(
            await self._recall(principal, user_id, op, Reads()), explain=explain
        )

    @on_home_loop
    @telemetry.operation
    async def recall_receipts(
        self, user_id: str, *, run_id: str | None = None, limit: int = 20
    ) -> list[RecallReceipt]:
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
    @telemetry.operation
    async def log_event(self, user_id: str, event_type: str, data: dict[str, Any]) -> None:
        """Append an event about a user to the audit log.

        Raises:
            ContractError: the type is empty, or the data is not JSON.
            AccessDenied: the principal is another user.
        """
        principal = current_principal(self._default_principal)
        await self._run(principal, [events.event(user_id, event_type, data)], current_provenance())

    # Audit, and a person's rights ------------------------------------------------------------------------------------

    @on_home_loop
    @telemetry.operation
    async def seal_audit(self) -> str | None:
        """Seal what the audit log and the history recorded since; the deployment does so every few minutes.

        Returns:
            The digest of the last seal, which holds all before it; None if there is none. Kept somewhere else, it lets
            `verify_audit` tell if seals were made anew.
        """
        return await seals.seal_all(self._database)

    @on_home_loop
    @telemetry.operation
    async def verify_audit(self, head: str | None = None) -> list[AuditProblem]:
        """Return what of the audit log and the history was changed or removed since it was sealed.

        Args:
            head: a digest that `seal_audit` returned earlier and that was kept elsewhere.

        Raises:
            AccessDenied: the principal is not the service.
        """
        principal = current_principal(self._default_principal)
        [problems] = await self._run(principal, [seals.verify(head)])
        return cast("list[AuditProblem]", problems)

    async def export_user(self, user_id: str) -> AsyncIterator[str]:
        """Yield everything that is kept about a user as lines of JSON, which `export.export` describes.

        Raises:
            AccessDenied: the principal is not this user and not the service.
        """
        await self._ask_as(user_id, events.event(user_id, "user.export", {}))
        async for line in export.export(user_id, functools.partial(self._ask_as, user_id)):
            yield line

    @on_home_loop
    @telemetry.operation
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
        [certificate] = await self._run(principal, [erasure.erase(user_id)])
        return cast("ErasureCertificate", certificate)

    @on_home_loop
    @telemetry.operation
    async def decay_memory(self, user_id: str, threshold_days: float) -> DecayReport:
        """Trim a user's memories that nobody touched for `threshold_days`; important ones lose half their importance.

        Raises:
            InvalidInput: the threshold is not a positive number of days.
            AccessDenied: the principal is not this user and not the service.
        """
        principal = await self._principal_for(user_id)
        retention.check_threshold(threshold_days)
        [report] = await self._run(principal, [retention.decay(user_id, threshold_days)])
        return cast("DecayReport", report)

    @on_home_loop
    @telemetry.operation
    async def expire_turns(self, days: float) -> int:
        """Delete the turns that were stored `days` ago or earlier, and return how many there were.

        Important ones (`retention.IMPORTANT`) are kept as episodes of their user.

        Raises:
            InvalidInput: not a positive number of days.
            AccessDenied: the principal is not the service.
        """
        principal = current_principal(self._default_principal)
        if principal.user_id:
            raise AccessDenied("Turns of everybody expire: only the service may have them go.")
        retention.check_threshold(days)
        expired = 0
        while turns := (await self._run(principal, [retention.old_turns(days)]))[0]:
            await self.abatch(retention.expire(turns))
            expired += len(turns)
        return expired

    # Background jobs ------------------------------------------------------------------------------------------------

    def _tasks(self, keeping: Keeping) -> dict[str, Task]:
        sweep_minutes = (self.ttl_config or {}).get("sweep_interval_minutes") or 5
        tasks = {
            "extract_facts": Task(self._extract_facts),
            "load_brain": Task(self.brain.carry_out),
            "sweep_ttl": Task(self.sweep_ttl, f"*/{sweep_minutes} * * * *"),
            "seal_audit": Task(self.seal_audit, "*/5 * * * *"),
            "deliver": Task(self._courier.deliver),
            "rescue_deliveries": Task(self.deliveries.rescue, "*/5 * * * *"),
            "refresh_embeddings": Task(self.refresh_embeddings, "17 * * * *"),
        }
        if keeping.retention_days:
            tasks["expire_turns"] = Task(
                functools.partial(self.expire_turns, keeping.retention_days), "27 3 * * *"
            )
        if keeping.decay_days:
            tasks["decay_memory"] = Task(
                functools.partial(self._decay_everybody, keeping.decay_days), "37 3 * * *"
            )
        return tasks

    async def _decay_everybody(self, days: float) -> None:
        [users] = await self._run(Principal.service(), [retention.decaying(days)])
        for user_id in users:
            await self.decay_memory(user_id, days)

    async def _extract_facts(self, user_id: str, session_id: str) -> None:
        """The job. It acts as the person, so that row-level security holds it to what is theirs."""
        with acting_as(Principal.of_subject(user_id)):
            await self.extract_facts(user_id, session_id)

    @on_home_loop
    async def _ask_as_operator(self, user_id: str | None, query: Query[Any]) -> Any:
        """What a query about a person, or (None) about everybody, reads, if whoever is acting may ask that."""
        principal = current_principal(self._default_principal)
        if user_id is not None:
            principal = await self._principal_for(user_id)
        elif principal.user_id:
            raise AccessDenied("Only the service may see what is about everybody.")
        return (await self._run(principal, [query]))[0]

    @on_home_loop
    async def _ask_about_jobs(self, user_id: str | None, query: Query[Any]) -> Any:
        """What a query about a person's jobs, or (None) about everybody's, reads of the queue: it has no policies."""
        if user_id is not None:
            await self._principal_for(user_id)
        elif current_principal(self._default_principal).user_id:
            raise AccessDenied("Only the service may see the jobs of everybody.")
        return (await self._run(Principal.owner(), [query]))[0]


def __getattr__(name: str) -> Any:
    """Return `open_store`, which many a `langgraph.json` names here; it lies in `graphs.composition`, above this."""
    if name == "open_store":
        return import_module("graphs.composition").open_store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
