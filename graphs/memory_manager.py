"""`MemoryManager`, the one authority for memory.

It is LangGraph's `BaseStore` on Postgres, with the five methods beside it that the nodes of a graph call. It combines
the helpers of `graphs.memory`; the SQL, the rules and the models live there.
"""

import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, cast

from langgraph.store.base import IndexConfig, TTLConfig
from langgraph.store.postgres.base import PoolConfig

from graphs.deployment.pools import open_pool
from graphs.memory import telemetry
from graphs.memory.audit import events, seals
from graphs.memory.brain.entities import EntityNormaliser
from graphs.memory.brain.loading import LoadingBrain
from graphs.memory.brain.owners import Entity
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
)
from graphs.memory.conversations import context, receipts
from graphs.memory.conversations.recalling import Recalls
from graphs.memory.conversations.sessions import Sessions
from graphs.memory.conversations.writing import Writer
from graphs.memory.database.database import Pool
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query
from graphs.memory.errors import ConfigurationError
from graphs.memory.facts.conversation import Extractor
from graphs.memory.facts.extraction import Extraction
from graphs.memory.facts.judging import Judge
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
    current_provenance,
)
from graphs.memory.rights import erasure, export, retention
from graphs.memory.rights.files import Files, SupabaseClient
from graphs.memory.rights.records import Records
from graphs.memory.rights.retention import Keeping
from graphs.memory.search import search
from graphs.memory.search.ranking import Weights
from graphs.memory.search.recalled import recalled
from graphs.memory.store.health import (
    OFF,
    OK,
    HealthMonitor,
    PartHealth,
)
from graphs.memory.store.store import PostgresStore
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
        timing = timing or Timing()
        access, embedder = self.access, self.embedder
        access.database.adapters = outbound.announcement if outbound else {}
        self._outbound = outbound
        self._courier = Courier(access.database, outbound, timing.attempts)
        self.deliveries = Deliveries(access, outbound, timing.attempts)
        self.intents = Intents(access)
        self.shadow = Shadow(access)
        self._recalls = Recalls(access, embedder, self._courier, self.shadow, shadow_weights)
        self._writer = Writer(access, embedder, extract_after if extractor else None)
        self._extraction = Extraction(access, embedder, extractor, judge) if extractor else None
        self.files = Files(access, supabase, files_bucket)
        self.brain = LoadingBrain(access, embedder, entities, profiles)
        self.memories = Memories(access, self)
        self.sessions = Sessions(access)
        self.records = Records(access)
        self.beliefs = Beliefs(access, self._writer)
        self.goals = Goals(access, self._writer)
        self.reflections = Reflections(access, self._writer)
        self.relationships = Relationships(access)
        self.metrics = Metrics(access)
        self.origins = Origins(access)
        self.health = HealthMonitor(access.database, embedder.index, timing.stalled)
        self.health.add("storage", self._storage)
        self.health.add("adapters", self._adapters)
        self.jobs = Jobs(pool, self._tasks(keeping), access, timing)
        self.operations = Operations(
            OperatorMeans(
                access.database,
                embedder.index,
                self.health,
                access.principal,
                access.only,
                access.ask,
                access.ask_as_owner,
                self.abatch,
            )
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
            AccessDenied: the principal is neither this user nor the service.
        """
        op = search.recall_op(user_id, query, (), agent, limit)
        beside: list[Query[Any]] = [
            context.session(user_id, session_id),
            context.recent_turns(user_id, session_id, limit),
            context.profile(user_id),
            context.pinned(user_id, agent, limit),
        ]
        found, answers = await self._recalls.recall(user_id, op, beside, session_id)
        session, turns, profile, pinned = answers
        memories = context.with_pinned(pinned, recalled(found), limit)
        return MemoryContext(
            user_id=user_id, session=session, turns=turns, memories=memories, profile=profile
        )

    @telemetry.operation
    async def write_memory(
        self, user_id: str, session_id: str, payload: MemoryPayload | dict[str, Any]
    ) -> WriteReceipt:
        """Store a payload: its items, vectors, turns, log and audit records commit together or not at all.

        A turn stores both sides of the exchange, and queues a job that takes facts from it. The same payload written
        again by the same task of a graph (a retry, a resume) changes nothing.

        Raises:
            ContractError: the payload breaks the contract; `fields` names where.
            AccessDenied: the principal is neither this user nor the service.
        """
        return await self._writer.write(user_id, session_id, payload)

    @on_home_loop
    @telemetry.operation
    async def extract_facts(self, user_id: str, session_id: str) -> ExtractionReport:
        """Take facts from what was said in a session and not read yet; a background job does so after each turn.

        Raises:
            ConfigurationError: this store has no extractor.
            ExtractionFailed: the model did not do it; the turns are left for another time.
            AccessDenied: the principal is neither this user nor the service.
        """
        principal = await self.access.only(user_id)
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
            AccessDenied: the principal is neither this user nor the service.
        """
        op = search.recall_op(user_id, query, tags or (), agent, limit, types)
        found, _ = await self._recalls.recall(user_id, op)
        return recalled(found, explain=explain)

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
            AccessDenied: the principal is neither this user nor the service.
        """
        principal = await self.access.only(user_id)
        await self._recalls.finish()
        [found] = await self.access.run(principal, [receipts.latest(user_id, run_id, limit)])
        return cast("list[RecallReceipt]", found)

    @on_home_loop
    @telemetry.operation
    async def log_event(self, user_id: str, event_type: str, data: dict[str, Any]) -> None:
        """Append an event about a user to the audit log.

        Raises:
            ContractError: the type is empty, or the data is not JSON.
            AccessDenied: the principal is another user.
        """
        principal = self.access.principal()
        await self.access.run(
            principal, [events.event(user_id, event_type, data)], current_provenance()
        )

    # Audit, and a person's rights ------------------------------------------------------------------------------------

    @on_home_loop
    @telemetry.operation
    async def seal_audit(self) -> str | None:
        """Seal what the audit log and the history recorded since; the deployment does so every few minutes.

        Returns:
            The digest of the last seal, which holds all before it; None if there is none. Kept somewhere else, it lets
            `verify_audit` tell if seals were made anew.
        """
        return await seals.seal_all(self.access.database)

    @on_home_loop
    @telemetry.operation
    async def verify_audit(self, head: str | None = None) -> list[AuditProblem]:
        """Return what of the audit log and the history was changed or removed since it was sealed.

        Args:
            head: a digest that `seal_audit` returned earlier and that was kept elsewhere.

        Raises:
            AccessDenied: the principal is not the service.
        """
        principal = self.access.principal()
        [problems] = await self.access.run(principal, [seals.verify(head)])
        return cast("list[AuditProblem]", problems)

    async def export_user(self, user_id: str) -> AsyncIterator[str]:
        """Yield everything that is kept about a user as lines of JSON, which `export.export` describes.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        await self.access.ask(user_id, events.event(user_id, "user.export", {}))
        async for line in export.export(user_id, functools.partial(self.access.ask, user_id)):
            yield line

    @on_home_loop
    @telemetry.operation
    async def erase_user(self, user_id: str) -> ErasureCertificate:
        """Remove everything that is kept about a user, in one transaction, and return the certificate that stays.

        Of the audit log and the history only digests stay, so that `verify_audit` still holds. End the user's runs
        first: whoever writes meanwhile writes anew.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
            StorageFailed: a file could not be removed; nothing else was.
        """
        principal = await self.access.only(user_id)
        await self._recalls.finish()
        await self.files.remove_contents(user_id)
        [certificate] = await self.access.run(principal, [erasure.erase(user_id)])
        return cast("ErasureCertificate", certificate)

    @on_home_loop
    @telemetry.operation
    async def decay_memory(self, user_id: str, threshold_days: float) -> DecayReport:
        """Trim a user's memories that nobody touched for `threshold_days`; important ones lose half their importance.

        Raises:
            InvalidInput: the threshold is not a positive number of days.
            AccessDenied: the principal is neither this user nor the service.
        """
        principal = await self.access.only(user_id)
        retention.check_threshold(threshold_days)
        [report] = await self.access.run(principal, [retention.decay(user_id, threshold_days)])
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
        principal = self.access.only_service("have everybody's turns expire")
        retention.check_threshold(days)
        expired = 0
        while turns := (await self.access.run(principal, [retention.old_turns(days)]))[0]:
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
        [users] = await self.access.run(Principal.service(), [retention.decaying(days)])
        for user_id in users:
            await self.decay_memory(user_id, days)

    async def _extract_facts(self, user_id: str, session_id: str) -> None:
        """The job. It acts as the person, so that row-level security holds it to what is theirs."""
        with acting_as(Principal.of_subject(user_id)):
            await self.extract_facts(user_id, session_id)


def __getattr__(name: str) -> Any:
    """Return `open_store`, which many a `langgraph.json` names here; it lies in `graphs.composition`, above this."""
    if name == "open_store":
        return import_module("graphs.composition").open_store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
