"""Adapters for hosted Mem0 and Upstash, with their official clients and servers that fail."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig
from pydantic import SecretStr

from graphs.adapters import mem0_platform, upstash
from graphs.composition import configured_adapters
from graphs.deployment.pools import open_pool
from graphs.deployment.settings import Settings
from graphs.mem0.importing import import_mem0
from graphs.memory.errors import ConfigurationError
from graphs.memory.jobs.tasks import Timing
from graphs.memory.outbox.adapter import Pseudonyms
from graphs.memory.outbox.intents import SessionEnded
from graphs.memory.principal import Principal
from graphs.memory_manager import MemoryManager
from tests.integration.test_deliveries import fact
from tests.integration.test_memory import turn
from tests.support.outside import TOKEN, Fault, Mem0Stub, UpstashStub

KEY = SecretStr("a key of the tests, and no other")
PSEUDONYMS = Pseudonyms(KEY.get_secret_value().encode())
PERSONAL = "My name is secret, my address ann@example.com, my card 4111 1111 1111 1111."
REDACTED = "My name is secret, my address <email_1>, my card <card_1>."


@pytest.fixture
def mem0() -> Iterator[Mem0Stub]:
    with Mem0Stub().running() as stub:
        yield stub


@pytest.fixture
def upstash_stub() -> Iterator[UpstashStub]:
    with UpstashStub().running() as stub:
        yield stub


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


def of_mem0(stub: Mem0Stub, **more: Any) -> dict[str, Any]:
    return {
        "mem0_backend": "platform",
        "mem0_api_key": SecretStr(TOKEN),
        "mem0_host": stub.url,
        "memory_hash_key": KEY,
        **more,
    }


def edge(stub: UpstashStub, **more: Any) -> Settings:
    told = {
        "upstash_qstash_mode": "on",
        "upstash_qstash_token": SecretStr(TOKEN),
        "upstash_qstash_url": stub.url,
        "upstash_qstash_destination": "https://example.com/told",
        "upstash_redis_mode": "on",
        "upstash_redis_rest_url": stub.url,
        "upstash_redis_rest_token": SecretStr(TOKEN),
        "memory_hash_key": KEY,
    }
    return Settings(**{**told, **more})


@asynccontextmanager
async def opened(
    database: str, index: IndexConfig, settings: Settings
) -> AsyncIterator[MemoryManager]:
    """Yield a service store with adapters switched on by settings, which retries at once."""
    async with (
        open_pool(database) as pool,
        configured_adapters(settings) as outbound,
        MemoryManager(
            pool,
            index=index,
            principal=Principal.service(),
            timing=Timing(backoff=0),
            outbound=outbound,
        ) as store,
    ):
        yield store


@pytest.fixture
async def told(database: str, index: IndexConfig, mem0: Mem0Stub) -> AsyncIterator[MemoryManager]:
    """Yield a store with an adapter that keeps copies in hosted Mem0."""
    async with opened(database, index, Settings(**of_mem0(mem0))) as store:
        yield store


async def statuses(store: MemoryManager) -> list[str]:
    return [delivery.status for delivery in await store.deliveries.list()]


# Hosted Mem0 --------------------------------------------------------------------------------------


async def test_mem0_gets_each_memory_once_and_follows_it(
    told: MemoryManager, mem0: Mem0Stub, user_id: str
) -> None:
    scope = ("users", user_id, "facts")
    await told.aput(scope, "k", {"content": "Likes tea.", "type": "fact"})
    await told.jobs.run_pending()
    [copy] = mem0.memories.values()
    assert (copy["memory"], copy["user_id"]) == (
        "Likes tea.",
        PSEUDONYMS.of_user(user_id).text,
    )

    await told.aput(scope, "k", {"content": "Likes cake.", "type": "fact"})
    await told.jobs.run_pending()
    assert [(m["id"], m["memory"]) for m in mem0.memories.values()] == [(copy["id"], "Likes cake.")]

    await told.adelete(scope, "k")
    await told.jobs.run_pending()
    assert mem0.memories == {}
    assert await statuses(told) == ["delivered"] * 3


async def test_nothing_that_is_personal_reaches_a_service(
    database: str, index: IndexConfig, mem0: Mem0Stub, upstash_stub: UpstashStub, user_id: str
) -> None:
    async with opened(
        database, index, edge(upstash_stub, **of_mem0(mem0, mem0_mode="shadow"))
    ) as store:
        session = f"with-ann@example.com-{user_id}"
        said = turn(user_id, PERSONAL, "I see: ann@example.com.", "m1", session_id=session)
        scope = ("users", user_id, "facts", "ann@example%2Ecom")
        await store.write_memory(user_id, session, said)
        await store.aput(scope, "ann@example.com", {"content": PERSONAL, "type": "fact"})
        await store.recall_memory(user_id, "What is the card of ann@example.com?")
        await store.shadow.finish()
        await store.intents.emit(SessionEnded(user_id=user_id, session_id=session))
        await store.jobs.run_pending()
        await store.erase_user(user_id)
        await store.jobs.run_pending()
        assert {d.status for d in await store.deliveries.list()} == {"delivered"}
    for stub in (mem0, upstash_stub):
        heard = "\n".join(stub.heard)
        assert REDACTED in heard
        for personal in ("ann@example", "4111", user_id, user_id.replace("-", "")):
            assert personal not in heard
    assert "What is the card of <email_1>?" in "\n".join(mem0.heard)


@pytest.mark.parametrize("status", [500, 503, 404])
async def test_what_mem0_does_not_take_now_it_gets_later(
    told: MemoryManager, mem0: Mem0Stub, user_id: str, status: int
) -> None:
    mem0.faults = [Fault("POST /v3/memories/add/", status)] * 2
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    assert mem0.texts() == ["Likes tea."]
    assert await statuses(told) == ["delivered"]


async def test_mem0_says_how_long_to_wait(
    told: MemoryManager, mem0: Mem0Stub, user_id: str
) -> None:
    mem0.faults = [Fault("POST /v3/memories/add/", 429, (("Retry-After", "300"),))]
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    [job] = await told.jobs.list(task="deliver")
    assert job.scheduled_at is not None
    assert 200 < (job.scheduled_at - datetime.now(UTC)).total_seconds() <= 300


@pytest.mark.parametrize("status", [400, 401, 422])
async def test_what_mem0_will_never_take_is_a_dead_letter_at_once(
    told: MemoryManager, mem0: Mem0Stub, user_id: str, status: int
) -> None:
    mem0.faults = [Fault("POST /v3/memories/add/", status)]
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    [dead] = await told.deliveries.list(status="failed")
    assert str(status) in (dead.error or "")
    assert ("MEM0_API_KEY" in (dead.error or "")) == (status == 401)
    assert await told.deliveries.replay_all("mem0") == 1
    await told.jobs.run_pending()
    assert mem0.texts() == ["Likes tea."]


async def test_a_copy_that_was_deleted_behind_our_back_is_made_again(
    told: MemoryManager, mem0: Mem0Stub, user_id: str
) -> None:
    scope = ("users", user_id, "facts")
    await told.aput(scope, "k", {"content": "Likes tea.", "type": "fact"})
    await told.jobs.run_pending()
    mem0.memories.clear()
    await told.aput(scope, "k", {"content": "Likes cake.", "type": "fact"})
    await told.jobs.run_pending()
    assert mem0.texts() == ["Likes cake."]
    mem0.memories.clear()
    await told.adelete(scope, "k")
    await told.jobs.run_pending()
    assert await statuses(told) == ["delivered"] * 3


async def test_mem0_is_asked_until_it_has_made_the_memory(
    told: MemoryManager, mem0: Mem0Stub, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poll within an attempt and in later ones; the memory is added only once."""
    monkeypatch.setattr(mem0_platform, "POLL_SECONDS", (0.01,))
    mem0.polls = 5
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    assert mem0.texts() == ["Likes tea."]
    assert mem0.lines.count("POST /v3/memories/add/") == 1
    assert await statuses(told) == ["delivered"]


async def test_what_mem0_failed_to_make_is_added_again(
    told: MemoryManager, mem0: Mem0Stub, user_id: str
) -> None:
    mem0.fails = 1
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    assert mem0.texts() == ["Likes tea."]
    assert mem0.lines.count("POST /v3/memories/add/") == 2


@pytest.mark.parametrize(
    "line", ["POST /v3/memories/add/", "GET /v1/event/", "POST /v3/memories/\\?"]
)
async def test_an_answer_of_mem0_that_is_lost_doubles_nothing(
    told: MemoryManager, mem0: Mem0Stub, user_id: str, line: str
) -> None:
    mem0.faults = [Fault(line, lost=True)]
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    assert mem0.faults == []
    assert mem0.texts() == ["Likes tea."]
    assert mem0.lines.count("POST /v3/memories/add/") == 1
    assert await statuses(told) == ["delivered"]


async def test_what_was_made_twice_since_an_answer_was_lost_is_put_right_when_it_is_seen(
    told: MemoryManager, mem0: Mem0Stub, user_id: str
) -> None:
    """Lose the answer of an unfinished add: the service's API cannot prevent a duplicate."""
    mem0.polls = 1
    mem0.faults = [Fault("POST /v3/memories/add/", lost=True)]
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.jobs.run_pending()
    assert mem0.texts() == ["Likes tea."]
    for event_id in list(mem0._events):  # the first add is done by now, so there are two copies
        mem0._event(event_id)
    assert mem0.texts() == ["Likes tea.", "Likes tea."]
    [item] = await told.asearch(("users", user_id, "facts"))
    await told.adelete(item.namespace, item.key)
    await told.jobs.run_pending()
    assert mem0.texts() == []


async def test_an_answer_that_takes_too_long_is_a_failure_that_is_tried_again(
    database: str,
    index: IndexConfig,
    mem0: Mem0Stub,
    upstash_stub: UpstashStub,
    user_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mem0_platform, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(upstash, "TIMEOUT_SECONDS", 0.3)
    mem0.faults = [Fault("POST /v3/memories/add/", seconds=1)]
    upstash_stub.faults = [Fault("publish", seconds=1), Fault("multi-exec", seconds=1)]
    async with opened(database, index, edge(upstash_stub, **of_mem0(mem0))) as store:
        await store.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
        await store.jobs.run_pending()
        assert {(d.adapter, d.status, d.attempts) for d in await store.deliveries.list()} == {
            ("mem0", "delivered", 2),
            ("qstash", "delivered", 2),
            ("redis", "delivered", 2),
        }
    assert mem0.texts() == ["Likes tea."]
    assert len(upstash_stub.messages) == 1


WORKER = """
import asyncio, sys
from graphs.composition import configured_adapters
from graphs.memory.principal import Principal
from graphs.memory_manager import MemoryManager
from graphs.deployment.pools import open_pool
from graphs.deployment.settings import Settings
async def main():
    async with open_pool(sys.argv[1]) as pool, configured_adapters(Settings()) as outbound:
        async with MemoryManager(pool, principal=Principal.service(), outbound=outbound) as store:
            await store.jobs.run_pending()
asyncio.run(main())
"""


async def test_a_worker_killed_while_mem0_works_loses_nothing_and_doubles_nothing(
    database: str, index: IndexConfig, mem0: Mem0Stub, user_id: str, tmp_path: Path
) -> None:
    """Send kill -9 to a real process, during a request that the service completes anyway."""
    settings = Settings(**of_mem0(mem0))
    async with opened(database, index, settings) as store:
        await store.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
        await store.write_memory(user_id, "s1", fact(user_id, "Likes cake."))
    told = {
        "MEM0_BACKEND": "platform",
        "MEM0_API_KEY": TOKEN,
        "MEM0_HOST": mem0.url,
        "DATA_DIR": str(tmp_path),
    }
    environment = {**os.environ, **told, "MEMORY_HASH_KEY": KEY.get_secret_value()}
    mem0.faults = [Fault("POST /v3/memories/add/", seconds=3)]
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, database, env=environment
    )
    while not mem0.memories:  # noqa: ASYNC110  another process does the work
        await asyncio.sleep(0.02)
    worker.kill()
    await worker.wait()
    timing = Timing(backoff=0, stalled=0)
    async with (
        open_pool(database) as pool,
        configured_adapters(settings) as outbound,
        MemoryManager(
            pool, index=index, principal=Principal.service(), timing=timing, outbound=outbound
        ) as store,
    ):
        assert {job.status for job in await store.jobs.list(task="deliver")} == {"doing", "todo"}
        await store.jobs.rescue()
        await store.jobs.run_pending()
        assert await statuses(store) == ["delivered", "delivered"]
    assert mem0.texts() == ["Likes cake.", "Likes tea."]
    assert mem0.lines.count("POST /v3/memories/add/") == 2


async def test_an_erased_person_is_erased_at_mem0_and_nobody_else(
    told: MemoryManager, mem0: Mem0Stub, user_id: str
) -> None:
    await told.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await told.write_memory(other := str(uuid4()), "s1", fact(other, "Likes cake."))
    await told.jobs.run_pending()
    await told.erase_user(user_id)
    mem0.faults = [Fault("DELETE", 503)]
    await told.jobs.run_pending()
    assert mem0.texts() == ["Likes cake."]
    assert mem0.users == {memory["user_id"] for memory in mem0.memories.values()}


async def test_the_whole_account_is_out_of_reach(mem0: Mem0Stub, tmp_path: Path) -> None:
    import_mem0(tmp_path)
    async with mem0_platform.mem0_adapter(TOKEN, mem0.url, tmp_path) as adapter:
        client = adapter._client
        for call in (
            client.delete_all(),
            client.delete_all(user_id="*"),
            client.delete_users(),
            client.delete_users(""),
        ):
            with pytest.raises(ValueError, match="Give a user id"):
                await call
        with pytest.raises(NotImplementedError):
            await client.reset()
    assert mem0.lines == []


async def test_the_health_of_an_adapter_says_what_is_wrong(
    database: str, index: IndexConfig, mem0: Mem0Stub, upstash_stub: UpstashStub
) -> None:
    wrong = SecretStr("wrong")
    async with opened(
        database, index, edge(upstash_stub, **of_mem0(mem0, mem0_api_key=wrong))
    ) as store:
        health = {each.adapter: each for each in await store.deliveries.health()}
    assert {name: each.reachable for name, each in health.items()} == {
        "mem0": False,
        "qstash": True,
        "redis": True,
    }
    assert "MEM0_API_KEY" in (health["mem0"].problem or "")


# Upstash ------------------------------------------------------------------------------------------


@pytest.fixture
async def at_the_edge(
    database: str, index: IndexConfig, upstash_stub: UpstashStub
) -> AsyncIterator[MemoryManager]:
    """Yield a store with an adapter for QStash, and one that keeps copies in Redis."""
    async with opened(database, index, edge(upstash_stub)) as store:
        yield store


def cached(stub: UpstashStub) -> dict[str, list[str]]:
    return {
        key: sorted(json.loads(v)["text"] for v in found.values())
        for key, found in stub.hashes.items()
    }


async def test_upstash_gets_turns_and_memories_and_follows_them(
    at_the_edge: MemoryManager, upstash_stub: UpstashStub, user_id: str
) -> None:
    pseudonym = PSEUDONYMS.of_user(user_id).text
    scope = ("users", user_id, "facts")
    await at_the_edge.write_memory(user_id, "s1", turn(user_id, "What is this?", "A test.", "m1"))
    await at_the_edge.aput(scope, "k", {"content": "Likes tea.", "type": "fact"})
    await at_the_edge.jobs.run_pending()
    key = f"graph-memory:{pseudonym}"
    assert cached(upstash_stub) == {key: ["A test.", "Likes tea.", "What is this?"]}
    assert upstash_stub.expiring == {key: upstash.CACHE_SECONDS}
    kinds = [
        (m["kind"], m["user"], [(c["role"], c["text"]) for c in m["memories"]])
        for m in upstash_stub.messages.values()
    ]
    assert kinds == [
        ("turn_committed", pseudonym, [("user", "What is this?"), ("assistant", "A test.")]),
        ("memory_written", pseudonym, [(None, "Likes tea.")]),
    ]

    await at_the_edge.adelete(scope, "k")
    await at_the_edge.intents.emit(SessionEnded(user_id=user_id, session_id="s1"))
    await at_the_edge.jobs.run_pending()
    assert cached(upstash_stub) == {key: ["A test.", "What is this?"]}
    await at_the_edge.erase_user(user_id)
    await at_the_edge.jobs.run_pending()
    assert upstash_stub.hashes == {}
    assert [m["kind"] for m in upstash_stub.messages.values()][2:] == [
        "memory_forgotten",
        "session_ended",
        "user_erased",
    ]


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("line", ["publish", "multi-exec"])
async def test_what_upstash_does_not_take_now_it_gets_later_and_once(
    at_the_edge: MemoryManager, upstash_stub: UpstashStub, user_id: str, line: str, lost: bool
) -> None:
    upstash_stub.faults = [Fault(line, lost=lost)]
    await at_the_edge.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await at_the_edge.jobs.run_pending()
    assert upstash_stub.faults == []
    assert len(upstash_stub.messages) == 1
    assert [*cached(upstash_stub).values()] == [["Likes tea."]]
    assert await statuses(at_the_edge) == ["delivered", "delivered"]


async def test_what_qstash_will_never_take_is_a_dead_letter_at_once(
    at_the_edge: MemoryManager, upstash_stub: UpstashStub, user_id: str
) -> None:
    upstash_stub.faults = [Fault("publish", 401)]
    await at_the_edge.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await at_the_edge.jobs.run_pending()
    [dead] = await at_the_edge.deliveries.list(status="failed")
    assert (dead.adapter, dead.attempts) == ("qstash", 1)
    assert "401" in (dead.error or "")


async def test_qstash_says_when_to_come_back(
    at_the_edge: MemoryManager, upstash_stub: UpstashStub, user_id: str
) -> None:
    at = int(datetime.now(UTC).timestamp()) + 300
    upstash_stub.faults = [
        Fault("publish", 429, (("RateLimit-Limit", "1"), ("RateLimit-Reset", str(at))))
    ]
    await at_the_edge.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await at_the_edge.jobs.run_pending()
    [job] = [job for job in await at_the_edge.jobs.list(task="deliver") if job.status == "todo"]
    assert job.scheduled_at is not None
    assert abs(job.scheduled_at.timestamp() - at) < 30


# Settings -----------------------------------------------------------------------------------------


async def test_hosted_mem0_without_a_key_is_left_out_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with configured_adapters(Settings(mem0_backend="platform")) as outbound:
        assert outbound is None
    assert [line for line in caplog.messages if "MEM0_API_KEY" in line] == caplog.messages
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("setting", "settings"),
    [
        ("MEMORY_HASH_KEY", {"mem0_backend": "platform", "mem0_api_key": "k"}),
        ("UPSTASH_QSTASH_DESTINATION", {"upstash_qstash_mode": "on", "upstash_qstash_token": "t"}),
        ("UPSTASH_REDIS_REST_URL", {"upstash_redis_mode": "on"}),
    ],
)
async def test_what_an_adapter_lacks_is_said_by_name(
    setting: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=setting):
        async with configured_adapters(Settings(**settings, data_dir=tmp_path)):
            pass


def test_clients_are_imported_only_where_they_are_switched_on() -> None:
    script = """
import asyncio, sys
from graphs.composition import configured_adapters
from graphs.deployment.settings import Settings
import graphs.memory_manager
async def main():
    async with configured_adapters(Settings(_env_file=None)) as outbound:
        assert outbound is None
asyncio.run(main())
print(sorted({"mem0", "qstash", "upstash_redis", "posthog"} & sys.modules.keys()))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr


async def test_the_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, upstash_stub: UpstashStub
) -> None:
    for module in ("qstash", "upstash_redis.asyncio"):
        monkeypatch.setitem(sys.modules, module, None)
    for settings in (
        edge(upstash_stub, upstash_redis_mode="off"),
        edge(upstash_stub, upstash_qstash_mode="off"),
    ):
        with pytest.raises(ConfigurationError, match=r"graph-native-memory\[upstash\]"):
            async with configured_adapters(settings):
                pass
