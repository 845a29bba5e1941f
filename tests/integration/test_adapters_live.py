"""The real services, where their keys are set, without leaving data behind.

The keys are LIVE_MEM0_API_KEY; LIVE_UPSTASH_REDIS_REST_URL and …_TOKEN; LIVE_UPSTASH_QSTASH_TOKEN
and …_DESTINATION.
"""

import asyncio
import os
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig
from pydantic import SecretStr

from graphs.deployment.settings import Settings
from tests.integration.test_adapters import KEY, opened
from tests.integration.test_deliveries import fact

SERVICES = {
    "mem0": {"mem0_api_key": "LIVE_MEM0_API_KEY"},
    "redis": {
        "upstash_redis_rest_url": "LIVE_UPSTASH_REDIS_REST_URL",
        "upstash_redis_rest_token": "LIVE_UPSTASH_REDIS_REST_TOKEN",
    },
    "qstash": {
        "upstash_qstash_token": "LIVE_UPSTASH_QSTASH_TOKEN",
        "upstash_qstash_destination": "LIVE_UPSTASH_QSTASH_DESTINATION",
    },
}
SWITCHES = {
    "mem0": {"mem0_backend": "platform"},
    "redis": {"upstash_redis_mode": "on"},
    "qstash": {"upstash_qstash_mode": "on"},
}


@pytest.mark.parametrize("service", SERVICES)
async def test_a_memory_goes_to_the_real_service_and_away_again(
    service: str, database: str, index: IndexConfig
) -> None:
    given = {name: os.environ.get(variable) for name, variable in SERVICES[service].items()}
    if not all(given.values()):
        pytest.skip(f"needs {' and '.join(SERVICES[service].values())}")
    settings = Settings.model_validate(
        {**given, **SWITCHES[service], "memory_hash_key": SecretStr(KEY.get_secret_value())}
    )
    async with opened(database, index, settings) as store:
        [health] = await store.deliveries.health()
        assert health.reachable, health.problem
        user_id = str(uuid4())
        await store.write_memory(user_id, "s1", fact(user_id, "Likes tea, says ann@example.com."))
        await store.jobs.run_pending()
        await asyncio.sleep(5)
        await store.erase_user(user_id)
        await store.jobs.run_pending()
        assert {d.status for d in await store.deliveries.list()} == {"delivered"}
