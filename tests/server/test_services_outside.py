"""A deployment that tells services outside, as it is served: what is said arrives there, and nothing blocks."""

import asyncio
from pathlib import Path

from tests.conftest import as_url, create_database
from tests.support.chat import talk
from tests.support.outside import TOKEN, Mem0Stub, UpstashStub
from tests.support.server import Server


async def test_what_is_said_in_a_thread_arrives_at_mem0_and_upstash_redacted(
    project: Path, postgres: str, template: str
) -> None:
    with Mem0Stub().running() as mem0, UpstashStub().running() as upstash:
        told = {
            "DATABASE_URL": as_url(
                postgres, create_database(postgres, template)
            ),  # other servers' workers would skip it
            "MEMORY_HASH_KEY": "a key of the tests, and no other",
            "MEM0_BACKEND": "platform",
            "MEM0_API_KEY": TOKEN,
            "MEM0_HOST": mem0.url,
            "MEM0_MODE": "shadow",
            "UPSTASH_QSTASH_MODE": "on",
            "UPSTASH_QSTASH_TOKEN": TOKEN,
            "UPSTASH_QSTASH_URL": upstash.url,
            "UPSTASH_QSTASH_DESTINATION": "https://example.com/told",
            "UPSTASH_REDIS_MODE": "on",
            "UPSTASH_REDIS_REST_URL": upstash.url,
            "UPSTASH_REDIS_REST_TOKEN": TOKEN,
        }
        server = await asyncio.to_thread(Server(project, told).start)
        try:
            await talk(server.client(), "My address is ann@example.com.")
            for _ in range(300):
                if mem0.memories and len(upstash.messages) >= 2 and upstash.hashes:
                    break
                await asyncio.sleep(0.1)
            await talk(server.client(), "What is my address?")
        finally:
            server.stop()
        assert mem0.texts() == ["My address is <email_1>."]
        assert {message["kind"] for message in upstash.messages.values()} >= {"turn_committed", "memory_written"}
        assert "ann@example.com" not in "".join(mem0.heard + upstash.heard)
        log = server.log.read_text()
        assert "BlockingError" not in log
        assert "Traceback" not in log
