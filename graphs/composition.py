"""The composition root: the one place where settings become objects."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields

from langgraph.store.base import TTLConfig

from graphs.adapters.mem0_platform import mem0_adapter
from graphs.adapters.upstash import qstash_adapter, redis_adapter
from graphs.deployment.clients.supabase import supabase_client
from graphs.deployment.models import chat_model, index_config
from graphs.deployment.observability import export_measurements
from graphs.deployment.pools import shared_pool
from graphs.deployment.settings import Settings, load_settings
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.brain.entities import NORMALISERS
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

log = logging.getLogger(__name__)


@asynccontextmanager
async def unprepared_store() -> AsyncIterator[MemoryManager]:
    """Lend the deployment's memory without applying the schema or checking the embedding model; for operators.

    Raises:
        ConfigurationError: a setting is wrong, or what it points at.
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
            keeping=Keeping(settings.memory_retention_days, settings.memory_decay_days),
            outbound=outbound,
            shadow_weights=shadow_weights(settings),
            entities={"company": NORMALISERS[settings.memory_company_ids]},
        ) as store,
    ):
        store.jobs.add(backup_tasks(settings, store.operations.backups))
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
    """Open the deployment's store; what `langgraph.json` names. Each event loop that runs graphs has one.

    Raises:
        ConfigurationError: a setting is wrong, or what it points at.
    """
    await asyncio.to_thread(export_measurements)
    async with deployment_store() as store:
        yield store


@asynccontextmanager
async def working_store() -> AsyncIterator[MemoryManager]:
    """Lend the deployment's memory, and do its background jobs meanwhile, unless MEMORY_WORKER is false.

    For an event loop that runs as long as the server does; those of runs stand still between two runs.

    Raises:
        ConfigurationError: a setting is wrong, or what it points at.
    """
    settings = await asyncio.to_thread(load_settings)
    async with open_store() as store, store.health.watching(), AsyncExitStack() as stack:
        if settings.memory_worker:
            await stack.enter_async_context(store.jobs.working())
        yield store


def shadow_weights(settings: Settings) -> Weights | None:
    """Return the weights of a ranking that is to be compared with the one in use.

    Raises:
        ConfigurationError: they are none.
    """
    if settings.memory_shadow_weights is None:
        return None
    try:
        return Weights(**settings.memory_shadow_weights)
    except TypeError:
        names = ", ".join(field.name for field in fields(Weights))
        raise ConfigurationError(
            f"MEMORY_SHADOW_WEIGHTS: may name {names}, and nothing else."
        ) from None


def fact_extractor(settings: Settings) -> Extractor | None:
    """Return what makes facts of talk: Mem0 with the deployment's chat model, or with rules where that is offline.

    Raises:
        ConfigurationError: the chat model cannot be made.
    """
    if not settings.memory_extract_facts:
        return None
    return Mem0Extractor(None if settings.offline_chat else chat_model(settings), settings.data_dir)


def fact_judge(settings: Settings) -> Judge | None:
    """Return what says of facts that meet which still holds, where rules cannot; None with the offline model.

    Raises:
        ConfigurationError: the chat model cannot be made.
    """
    if settings.offline_chat or not settings.memory_extract_facts:
        return None
    return LLMJudge(chat_model(settings))


@asynccontextmanager
async def configured_adapters(settings: Settings) -> AsyncIterator[Outbound | None]:
    """Lend the adapters that are switched on; None if there are none, and then no client is imported either.

    Raises:
        ConfigurationError: one of them lacks a setting; the message names it.
    """
    async with AsyncExitStack() as stack:
        switched = []
        if settings.mem0_backend == "platform" and settings.mem0_api_key is None:
            log.warning(
                "MEM0_BACKEND=platform without MEM0_API_KEY: nothing is told to hosted Mem0"
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
                    "UPSTASH_QSTASH_MODE=on needs UPSTASH_QSTASH_TOKEN and UPSTASH_QSTASH_DESTINATION, the URL to tell."
                )
            qstash = qstash_adapter(
                token.get_secret_value(), settings.upstash_qstash_url, destination
            )
            switched.append(SwitchedAdapter(await stack.enter_async_context(qstash)))
        if settings.upstash_redis_mode == "on":
            url, rest_token = settings.upstash_redis_rest_url, settings.upstash_redis_rest_token
            if not (url and rest_token):
                raise ConfigurationError(
                    "UPSTASH_REDIS_MODE=on needs UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN."
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
            f"MEMORY_HASH_KEY is missing, and {names} is switched on: what leaves goes under pseudonyms made with it. "
            "Write a random text of at least 16 characters, and keep it: with another one, nobody finds theirs again."
        )
    return Outbound(switched, settings.memory_hash_key.get_secret_value().encode())


def backup_tasks(settings: Settings, backups: Backups) -> dict[str, Task]:
    """Return the background jobs that make backups, if the settings say where to."""
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
