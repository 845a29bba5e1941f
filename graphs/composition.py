"""The composition root: the only module that turns settings into objects."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from functools import partial

from langgraph.store.base import TTLConfig

from graphs.adapters.mem0_platform import mem0_adapter
from graphs.adapters.upstash import qstash_adapter, redis_adapter
from graphs.checkpointer import PostgresCheckpointer
from graphs.checkpoints.idle import prune_idle
from graphs.deployment.clients.supabase import supabase_client
from graphs.deployment.models import chat_model, index_config
from graphs.deployment.observability import export_measurements
from graphs.deployment.pools import announce, shared_pool
from graphs.deployment.settings import Settings, load_settings
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.brain.entities import NORMALISERS
from graphs.memory.database.database import Database, Pool
from graphs.memory.errors import ConfigurationError
from graphs.memory.facts.conversation import Extractor
from graphs.memory.facts.judging import Judge, LLMJudge
from graphs.memory.jobs.tasks import Task
from graphs.memory.outbox.adapter import Outbound, SwitchedAdapter
from graphs.memory.rights.retention import Keeping
from graphs.memory.search.ranking import Weights
from graphs.memory_manager import MemoryManager
from graphs.operations.backup.backups import Backups
from graphs.operations.backup.buckets import folder
from graphs.operations.backup.schedule import Plan, Schedule
from graphs.operations.operations import Operations

log = logging.getLogger(__name__)


@asynccontextmanager
async def unprepared_store() -> AsyncIterator[MemoryManager]:
    """Lend the deployment's memory without applying the schema or checking the embedding model.

    For operators, who need it on databases that are not set up.

    Raises:
        ConfigurationError: a setting is wrong, or the service that it points at.
    """
    settings = await asyncio.to_thread(load_settings)
    index = await asyncio.to_thread(index_config, settings)
    ttl: TTLConfig = {
        "refresh_on_read": True,
        "sweep_interval_minutes": settings.memory_sweep_minutes,
    }
    extractor = await asyncio.to_thread(fact_extractor, settings)
    judge = await asyncio.to_thread(fact_judge, settings)
    async with (
        shared_pool(settings) as pool,
        supabase_client(settings) as supabase,
        configured_adapters(settings) as outbound,
        MemoryManager(
            pool,
            index=index,
            ttl=ttl,
            supabase=supabase,
            files_bucket=settings.memory_files_bucket,
            extractor=extractor,
            judge=judge,
            extract_after=settings.memory_extract_after,
            keeping=keeping(settings),
            outbound=outbound,
            shadow_weights=shadow_weights(settings),
            entities={"company": NORMALISERS[settings.memory_company_ids]},
            statement_timeout=settings.memory_statement_timeout,
        ) as store,
    ):
        announce(outbound.announcement if outbound else {})
        store.jobs.add(backup_tasks(settings, Operations(store).backups))
        store.jobs.add(checkpoint_tasks(settings, pool))
        yield store


@asynccontextmanager
async def deployment_store() -> AsyncIterator[MemoryManager]:
    """Lend the deployment's memory, on the pool that all users of this event loop share.

    It acts for the authenticated user of a run or request, never by itself.

    Raises:
        ConfigurationError: a setting is wrong, or the service that it points at.
    """
    async with unprepared_store() as store:
        await store.setup()
        yield store


@asynccontextmanager
async def open_store() -> AsyncIterator[MemoryManager]:
    """Open the deployment's store. `langgraph.json` names this function.

    Each event loop that runs graphs opens one.

    Raises:
        ConfigurationError: a setting is wrong, or the service that it points at.
    """
    await asyncio.to_thread(export_measurements)
    async with deployment_store() as store:
        yield store


@asynccontextmanager
async def working_store() -> AsyncIterator[MemoryManager]:
    """Lend the deployment's memory and run its background jobs, unless MEMORY_WORKER is false.

    For an event loop that runs as long as the server does. The loops of runs stand still between
    runs.

    Raises:
        ConfigurationError: a setting is wrong, or the service that it points at.
    """
    settings = await asyncio.to_thread(load_settings)
    async with open_store() as store, store.health.watching(), AsyncExitStack() as stack:
        if settings.memory_worker:
            await stack.enter_async_context(store.jobs.working())
        yield store


def keeping(settings: Settings) -> Keeping:
    """Return the retention periods."""
    return Keeping(
        retention_days=settings.memory_retention_days,
        decay_days=settings.memory_decay_days,
        receipt_days=settings.memory_receipt_days,
        history_days=settings.memory_history_days,
        as_of_days=settings.memory_as_of_days,
        audit_days=settings.memory_audit_days,
        delivery_days=settings.memory_delivery_days,
        execution_days=settings.memory_execution_days,
    )


def shadow_weights(settings: Settings) -> Weights | None:
    """Return the weights of the ranking that is compared with the one in use; None without one.

    Raises:
        ConfigurationError: a weight has an unknown name.
    """
    if settings.memory_shadow_weights is None:
        return None
    try:
        return Weights(**settings.memory_shadow_weights)
    except TypeError:
        names = ", ".join(field.name for field in fields(Weights))
        raise ConfigurationError(
            f"MEMORY_SHADOW_WEIGHTS has an unknown weight: use only {names}."
        ) from None


def fact_extractor(settings: Settings) -> Extractor | None:
    """Return the extractor of facts; None if extraction is turned off.

    It is Mem0 with the deployment's chat model, or with rules if that model is offline.

    Raises:
        ConfigurationError: the chat model cannot be created.
    """
    if not settings.memory_extract_facts:
        return None
    return Mem0Extractor(None if settings.offline_chat else chat_model(settings), settings.data_dir)


def fact_judge(settings: Settings) -> Judge | None:
    """Return the judge of contradicting facts, for those that rules cannot decide.

    None with the offline model, which cannot judge.

    Raises:
        ConfigurationError: the chat model cannot be created.
    """
    if settings.offline_chat or not settings.memory_extract_facts:
        return None
    return LLMJudge(chat_model(settings))


@asynccontextmanager
async def configured_adapters(settings: Settings) -> AsyncIterator[Outbound | None]:
    """Lend the adapters that are turned on; None if none is.

    Clients of adapters that are turned off are not imported.

    Raises:
        ConfigurationError: an adapter lacks a setting; the message names it.
    """
    async with AsyncExitStack() as stack:
        switched = []
        if settings.mem0_backend == "platform" and settings.mem0_api_key is None:
            log.warning(
                "MEM0_BACKEND=platform without MEM0_API_KEY: nothing is sent to hosted Mem0"
            )
        elif settings.mem0_backend == "platform" and settings.mem0_api_key:
            key = settings.mem0_api_key.get_secret_value()
            adapter = await stack.enter_async_context(
                mem0_adapter(key, settings.mem0_host, settings.data_dir)
            )
            switched.append(SwitchedAdapter(adapter, settings.mem0_mode))
        if settings.upstash_qstash_mode == "on":
            token, destination = settings.upstash_qstash_token, settings.upstash_qstash_destination
            if not (token and destination):
                raise ConfigurationError(
                    "UPSTASH_QSTASH_MODE=on needs UPSTASH_QSTASH_TOKEN, and "
                    "UPSTASH_QSTASH_DESTINATION, the URL to deliver events to."
                )
            qstash = qstash_adapter(
                token.get_secret_value(), settings.upstash_qstash_url, destination
            )
            switched.append(SwitchedAdapter(await stack.enter_async_context(qstash)))
        if settings.upstash_redis_mode == "on":
            url, rest_token = settings.upstash_redis_rest_url, settings.upstash_redis_rest_token
            if not (url and rest_token):
                raise ConfigurationError(
                    "UPSTASH_REDIS_MODE=on needs UPSTASH_REDIS_REST_URL and "
                    "UPSTASH_REDIS_REST_TOKEN."
                )
            redis = redis_adapter(url, rest_token.get_secret_value())
            switched.append(SwitchedAdapter(await stack.enter_async_context(redis)))
        yield _outbound(settings, switched)


def _outbound(settings: Settings, switched: list[SwitchedAdapter]) -> Outbound | None:
    if not switched:
        return None
    if settings.memory_hash_key is None:
        names = ", ".join(each.adapter.name for each in switched)
        raise ConfigurationError(
            f"MEMORY_HASH_KEY is missing, but {names} is turned on: adapters replace user ids by "
            "pseudonyms made with it. Set it to a random text of at least 16 characters and keep "
            "it: with another key, users no longer match the data that was sent before."
        )
    return Outbound(switched, settings.memory_hash_key.get_secret_value().encode())


def checkpoint_tasks(settings: Settings, pool: Pool) -> dict[str, Task]:
    """Return the job that prunes idle threads; none if MEMORY_CHECKPOINT_DAYS is 0."""
    if not (days := settings.memory_checkpoint_days):
        return {}
    work = partial(prune_idle, PostgresCheckpointer(pool), Database(pool), days)
    return {"prune_threads": Task(work, "57 3 * * *")}


def backup_tasks(settings: Settings, backups: Backups) -> dict[str, Task]:
    """Return the background jobs that make backups; none if MEMORY_BACKUP_TO is not set."""
    if not settings.memory_backup_to:
        return {}
    secret = settings.memory_backup_passphrase
    plan = Plan(
        folder(settings.memory_backup_to),
        settings.memory_backup_hour,
        settings.memory_backup_keep_days,
        secret.get_secret_value().encode() if secret else None,
    )
    return Schedule(backups, plan).tasks()
