"""`MemoryManager`, the one authority for memory.

It is LangGraph's `BaseStore` on Postgres, with the methods that the nodes of a graph call. It
combines the parts of `graphs.memory`, which hold the SQL, the rules and the models.
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
from graphs.memory.database.database import Pool, no_time_limit
from graphs.memory.database.loops import on_home_loop
from graphs.memory.database.query import Query
from graphs.memory.errors import ConfigurationError
from graphs.memory.facts.conversation import Extractor
from graphs.memory.facts.extraction import Extraction
from graphs.memory.facts.judging import Judge
from graphs.memory.facts.returning import compare_returned
from graphs.memory.jobs.queue import Jobs
from graphs.memory.jobs.tasks import Task, Timing
from graphs.memory.knowledge.beliefs import Beliefs
from graphs.memory.knowledge.goals import Goals
from graphs.memory.knowledge.memories import Memories
from graphs.memory.knowledge.metrics import Metrics
from graphs.memory.knowledge.origins import Origins
from graphs.memory.knowledge.reflections import Reflections
from graphs.memory.knowledge.relationships import Relationships
from graphs.memory.moment import current_moment, read_as_of
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
from graphs.memory.rights.memberships import Memberships
from graphs.memory.rights.pruning import Pruner
from graphs.memory.rights.records import Records
from graphs.memory.rights.retention import Keeping
from graphs.memory.search import search
from graphs.memory.search.embeddings import MemoryIndexConfig
from graphs.memory.search.ranking import Weights
from graphs.memory.search.recalled import recalled
from graphs.memory.store.health import (
    OFF,
    OK,
    HealthMonitor,
    PartHealth,
)
from graphs.memory.store.store import PostgresStore
from graphs.memory.timeline import runs
from graphs.memory.timeline.runs import RunPlace


class MemoryManager(PostgresStore):
    """Long-term memory on Postgres and pgvector.

    Open one with `from_conn_string`, or inside a running event loop with a pool of your own. It
    replaces LangGraph's `AsyncPostgresStore`.

    Args:
        pool: an open pool of autocommit connections with `dict_row`; its owner closes it.
        index: `dims`, `embed` and `fields` for vector search; see `MemoryIndexConfig`.
        ttl: LangGraph's TTL configuration. Expired items are never read, swept or not.
        principal: the principal outside `acting_as` and runs; None makes such a call an error.
        supabase: a `supabase.AsyncClient` with the service key, for `files`.
        files_bucket: the private bucket of `files`.
        extractor: extracts facts from turns, in background jobs; None keeps the turns only.
        judge: rules on facts that contradict each other; None keeps both.
        extract_after: seconds from a turn until its extraction, which includes later turns.
        keeping: retention periods of turns and memories, for background jobs.
        timing: intervals and attempts of background jobs.
        outbound: external services that receive changes; see `deliveries` and `intents`.
        shadow_weights: another ranking, compared with each recall after its answer; see `shadow`.
        entities: normalisers of ids in `brain`, such as `{"company": entities.cl_rut}`.
        profiles: the source of profiles for loads of `brain`; the database by default.
        statement_timeout: seconds after which a statement of a person is cancelled, unless the
            database's own limit is shorter; None for that alone.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        index: IndexConfig | MemoryIndexConfig | None = None,
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
        statement_timeout: float | None = None,
    ) -> None:
        super().__init__(pool, index=index, ttl=ttl, principal=principal)
        timing = timing or Timing()
        access, embedder = self.access, self.embedder
        access.database.statement_timeout = statement_timeout
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
        self._pruner = Pruner(access, keeping)
        eraser = erasure.MemoryEraser(access, self._recalls.finish)
        self.brain = LoadingBrain(access, embedder, eraser, entities, profiles)
        self.memories = Memories(access, self, eraser)
        self.sessions = Sessions(access)
        self.runs = runs.Runs(access)
        self.memberships = Memberships(access, self.brain.company_id)
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

    @classmethod
    @asynccontextmanager
    async def from_conn_string(
        cls,
        conn_string: str,
        *,
        pipeline: bool = False,  # noqa: ARG003  always on; here so that callers of AsyncPostgresStore need no change
        pool_config: PoolConfig | None = None,
        index: IndexConfig | MemoryIndexConfig | None = None,
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
        statement_timeout: float | None = None,
    ) -> AsyncIterator["MemoryManager"]:
        """Open a store on your own database, with a connection pool that closes with the block.

        Call `setup()` once per database. With an `extractor`, facts are taken from turns while
        background jobs run: `async with store.jobs.working(): …`.

        Args:
            conn_string: `postgresql://user:password@host:port/database`.
            pipeline: has no effect: statements are always pipelined.
            pool_config: `min_size` and `max_size` of the pool; 1 and 10 by default.
            index: `dims`, `embed` and `fields` for vector search; see `MemoryIndexConfig`.
            ttl: LangGraph's TTL configuration.
            principal: who acts outside `acting_as` and runs; the service by default.
            supabase: a `supabase.AsyncClient` with the service key, for `files`.
            files_bucket: the private bucket of `files`.
            extractor: makes facts of turns, such as `Mem0Extractor`; None keeps the turns only.
            judge: rules on facts that contradict each other; None keeps both.
            extract_after: seconds from a turn until facts are made of it.
            keeping: for how long background jobs keep turns and memories.
            timing: how fast background jobs go.
            outbound: external services that are told of changes.
            shadow_weights: another ranking, compared with each recall after its answer.
            entities: how ids of users and companies are normalised in `brain`.
            profiles: where `brain` reads profiles; the database by default.
            statement_timeout: seconds after which a statement of a person is cancelled.

        Raises:
            ConfigurationError: the database cannot be reached.
        """
        sizes = pool_config or {}
        async with open_pool(
            conn_string, min_size=sizes.get("min_size", 1), max_size=sizes.get("max_size") or 10
        ) as pool:
            store = cls(
                pool,
                index=index,
                ttl=ttl,
                principal=principal or Principal.service(),
                supabase=supabase,
                files_bucket=files_bucket,
                extractor=extractor,
                judge=judge,
                extract_after=extract_after,
                keeping=keeping,
                timing=timing,
                outbound=outbound,
                shadow_weights=shadow_weights,
                entities=entities,
                profiles=profiles,
                statement_timeout=statement_timeout,
            )
            async with store:
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

    # Memory -----------------------------------------------------------------------------------

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
        place: RunPlace | None = None,
    ) -> MemoryContext:
        """Return the context of a run: session, recent turns, memories and profile.

        Args:
            user_id: the user.
            session_id: the conversation; a new one has no turns.
            query: memories are ranked by relevance to it; without a query, the latest come first.
            agent: only memories of this agent.
            limit: the most memories, and the most turns.
            place: the run that begins with it, and its place in the conversation.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        op = search.recall_op(user_id, query, (), agent, limit)
        thread_id = current_provenance().get("thread_id")
        first = runs.begin_run(user_id, session_id, agent, thread_id, place) if place else None
        beside: list[Query[Any]] = [
            context.session(user_id, session_id),
            context.recent_turns(user_id, session_id, limit),
            context.profile(user_id),
            context.pinned(user_id, agent, limit),
        ]
        found, answers = await self._recalls.recall(user_id, op, beside, session_id, first)
        moment = answers.pop(0) if first else current_moment()
        if place and moment:
            read_as_of(place.run_id, moment)
        session, turns, profile, pinned = answers
        memories = context.with_pinned(pinned, recalled(found), limit)
        return MemoryContext(
            user_id=user_id,
            session=session,
            turns=turns,
            memories=memories,
            profile=profile,
            run_id=place.run_id if place else None,
            as_of=moment,
        )

    @telemetry.operation
    async def write_memory(
        self, user_id: str, session_id: str, payload: MemoryPayload | dict[str, Any]
    ) -> WriteReceipt:
        """Store a payload: items, vectors, turns, log and audit records commit together.

        A turn stores both sides of the exchange, and queues the extraction of facts. The same
        payload from the same task of a graph (a retry or a resume) changes nothing.

        Raises:
            ContractError: the payload breaks the contract; `fields` names the wrong fields.
            AccessDenied: the principal is neither this user nor the service.
        """
        return await self._writer.write(user_id, session_id, payload)

    async def write_memories(
        self,
        user_id: str,
        session_id: str,
        payloads: Sequence[MemoryPayload | dict[str, Any]],
        *,
        place: RunPlace | None = None,
    ) -> list[WriteReceipt]:
        """Store payloads in their order, in portions that each commit together.

        For long histories. An error means that nothing of its portion was written, and nothing
        after it; the same payloads from the same task change nothing that was stored before.

        Args:
            user_id: the user whose memory it is.
            session_id: the session that it belongs to.
            payloads: the payloads; they are checked against the contract.
            place: the run that ends with it, and its place in the conversation. The session goes on
                from it, and what the runs of another line wrote is set aside.

        Raises:
            ContractError: a payload breaks the contract; nothing was written.
            AccessDenied: the principal is neither this user nor the service.
        """
        with telemetry.call("write_memory"):  # one operation, by which its users know it
            return await self._writer.write_all(user_id, session_id, payloads, place)

    @on_home_loop
    @telemetry.operation
    async def extract_facts(self, user_id: str, session_id: str) -> ExtractionReport:
        """Extract facts from the unread turns of a session, as a job does after each turn.

        Raises:
            ConfigurationError: this store has no extractor.
            ExtractionFailed: the model failed; the turns stay unread.
            AccessDenied: the principal is neither this user nor the service.
        """
        principal = await self.access.only(user_id)
        if self._extraction is None:
            raise ConfigurationError("This store extracts no facts: give it an `extractor`.")
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
        """Return the memories of a user that are relevant to a query, best first.

        Turns and superseded beliefs are left out.

        Args:
            user_id: the user.
            query: the question, in plain words; empty returns the latest.
            tags: only memories that have all of them.
            types: only memories of these types.
            agent: only memories of this agent.
            limit: the most memories.
            explain: add the parts of the score as `explanation`.

        Raises:
            InvalidInput: a type is unknown, or the limit is negative.
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
        """Return receipts of recalls: chosen memories, near misses, and reasons; the latest first.

        Args:
            user_id: the user whose memory was read.
            run_id: only recalls of this run.
            limit: the most receipts.

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
            ContractError: the type is empty or reserved, or the data is not JSON.
            AccessDenied: the principal is another user.
        """
        principal = self.access.principal()
        await self.access.run(
            principal, [events.event(user_id, event_type, data)], current_provenance()
        )

    # Audit, and the rights of users -------------------------------------------------------------

    @on_home_loop
    @telemetry.operation
    async def seal_audit(self) -> str | None:
        """Seal new records of the audit log and the history; a job does so every five minutes.

        Returns:
            The digest of the last seal, which covers all before it; None without a seal. Kept
            elsewhere, it lets `verify_audit` detect seals that were made anew.
        """
        return await seals.seal_all(self.access.database)

    @on_home_loop
    @telemetry.operation
    async def verify_audit(self, head: str | None = None) -> list[AuditProblem]:
        """Return records of the audit log and the history that changed after they were sealed.

        Args:
            head: an earlier digest of `seal_audit`, kept elsewhere.

        Raises:
            AccessDenied: the principal is not the service.
        """
        principal = self.access.principal()
        [problems] = await self.access.run(principal, [seals.verify(head)])
        return cast("list[AuditProblem]", problems)

    async def export_user(self, user_id: str) -> AsyncIterator[str]:
        """Yield everything about a user as lines of JSON; `rights.export` describes the format.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        await self.access.ask(user_id, events.event(user_id, "user.export", {}))
        async for line in export.export(user_id, functools.partial(self.access.ask, user_id)):
            yield line

    @on_home_loop
    @telemetry.operation
    async def erase_user(
        self, user_id: str, elsewhere: Mapping[str, int] | None = None
    ) -> ErasureCertificate:
        """Delete everything about a user in one transaction, and return a certificate.

        Digests of the audit log and the history stay, so that `verify_audit` still works. Runs of
        the user that are under way in their threads store nothing more. What a LangGraph server
        keeps of its threads itself is not reached from here: its route `POST /memory/erasure` and
        `graph-memory erase-user --server` remove that, too.

        Args:
            user_id: the user.
            elsewhere: what was erased elsewhere before, as numbers by name, for the certificate.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
            StorageFailed: a file could not be removed; nothing else was deleted.
        """
        principal = await self.access.only(user_id)
        await self._recalls.finish()
        await self.files.remove_contents(user_id)
        erasing: list[Query[Any]] = [no_time_limit(), erasure.erase(user_id, elsewhere or {})]
        _, certificate = await self.access.run(principal, erasing)
        return cast("ErasureCertificate", certificate)

    @on_home_loop
    @telemetry.operation
    async def decay_memory(self, user_id: str, threshold_days: float) -> DecayReport:
        """Delete memories untouched for `threshold_days`; halve the importance of important ones.

        Updates touch a memory, and recalls that chose it, as far back as receipts are kept.

        Raises:
            InvalidInput: the threshold is not a positive number of days.
            AccessDenied: the principal is neither this user nor the service.
        """
        principal = await self.access.only(user_id)
        retention.check_threshold(threshold_days)
        await self._recalls.finish()
        decaying: list[Query[Any]] = [no_time_limit(), *retention.decay(user_id, threshold_days)]
        _, report, _ = await self.access.run(principal, decaying)
        return cast("DecayReport", report)

    @on_home_loop
    @telemetry.operation
    async def expire_turns(self, days: float) -> int:
        """Delete the turns stored `days` ago or earlier, and return their number.

        Important ones (`retention.IMPORTANT`) become episodes.

        Raises:
            InvalidInput: it is not a positive number of days.
            AccessDenied: the principal is not the service.
        """
        principal = self.access.only_service("expire the turns of all users")
        retention.check_threshold(days)
        expired = 0
        while turns := (await self.access.run(principal, [retention.old_turns(days)]))[0]:
            await self.abatch(retention.episodes(turns))
            await self.access.run(principal, retention.expire(turns, days))
            expired += len(turns)
        return expired

    @on_home_loop
    @telemetry.operation
    async def prune_records(self) -> dict[str, int]:
        """Remove records whose retention period is over; an hourly job.

        Versions of memories that expired go in any case. Digests of history and audit records stay.

        Returns:
            The number of removed rows of each kind.

        Raises:
            AccessDenied: the principal is not the service.
        """
        return await self._pruner.prune()

    # Background jobs ----------------------------------------------------------------------------

    def _tasks(self, keeping: Keeping) -> dict[str, Task]:
        sweep_minutes = (self.ttl_config or {}).get("sweep_interval_minutes") or 5
        tasks = {
            "extract_facts": Task(self._extract_facts),
            "compare_facts": Task(self._compare_facts),
            "load_brain": Task(self.brain.carry_out),
            "sweep_ttl": Task(self.sweep_ttl, f"*/{sweep_minutes} * * * *"),
            "seal_audit": Task(self.seal_audit, "*/5 * * * *"),
            "deliver": Task(self._courier.deliver),
            "rescue_deliveries": Task(self.deliveries.rescue, "*/5 * * * *"),
            "index_memories": Task(self.index_memories),
            "prune_records": Task(self.prune_records, "47 * * * *"),
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
        """Extract facts as the user, so that row-level security binds the job."""
        with acting_as(Principal.of_subject(user_id)):
            await self.extract_facts(user_id, session_id)

    async def _compare_facts(self, user_id: str, keys: Sequence[str]) -> None:
        principal = Principal.of_subject(user_id)
        if self._extraction:
            await compare_returned(self.access, self.embedder, principal, user_id, keys)


def __getattr__(name: str) -> Any:
    """Return `open_store` of `graphs.composition`: existing `langgraph.json` files name it here."""
    if name == "open_store":
        return import_module("graphs.composition").open_store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
