"""The adapters that the settings switch on."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from graphs.adapters.mem0_platform import mem0_adapter
from graphs.adapters.upstash import qstash_adapter, redis_adapter
from graphs.deployment.settings import Settings
from graphs.memory.errors import ConfigurationError
from graphs.memory.outbox.adapter import Outbound, Switched

log = logging.getLogger(__name__)


@asynccontextmanager
async def configured_adapters(settings: Settings) -> AsyncIterator[Outbound | None]:
    """Lend the adapters that are switched on; None if there are none, and then no client is imported either.

    Raises:
        ConfigurationError: one of them lacks a setting; the message names it.
    """
    async with AsyncExitStack() as stack:
        switched = []
        if settings.mem0_backend == "platform" and settings.mem0_api_key is None:
            log.warning("MEM0_BACKEND=platform without MEM0_API_KEY: nothing is told to hosted Mem0")
        elif settings.mem0_backend == "platform" and settings.mem0_api_key:
            key = settings.mem0_api_key.get_secret_value()
            adapter = await stack.enter_async_context(mem0_adapter(key, settings.mem0_host, settings.data_dir))
            switched.append(Switched(adapter, settings.mem0_mode))
        if settings.upstash_qstash_mode == "on":
            token, destination = settings.upstash_qstash_token, settings.upstash_qstash_destination
            if not (token and destination):
                raise ConfigurationError(
                    "UPSTASH_QSTASH_MODE=on needs UPSTASH_QSTASH_TOKEN and UPSTASH_QSTASH_DESTINATION, the URL to tell."
                )
            qstash = qstash_adapter(token.get_secret_value(), settings.upstash_qstash_url, destination)
            switched.append(Switched(await stack.enter_async_context(qstash)))
        if settings.upstash_redis_mode == "on":
            url, rest_token = settings.upstash_redis_rest_url, settings.upstash_redis_rest_token
            if not (url and rest_token):
                raise ConfigurationError(
                    "UPSTASH_REDIS_MODE=on needs UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN."
                )
            redis = redis_adapter(url, rest_token.get_secret_value())
            switched.append(Switched(await stack.enter_async_context(redis)))
        yield _outbound(settings, switched)


def _outbound(settings: Settings, switched: list[Switched]) -> Outbound | None:
    if not switched:
        return None
    if settings.memory_hash_key is None:
        names = ", ".join(each.adapter.name for each in switched)
        raise ConfigurationError(
            f"MEMORY_HASH_KEY is missing, and {names} is switched on: what leaves goes under pseudonyms made with it. "
            "Write a random text of at least 16 characters, and keep it: with another one, nobody finds theirs again."
        )
    return Outbound(switched, settings.memory_hash_key.get_secret_value().encode())
