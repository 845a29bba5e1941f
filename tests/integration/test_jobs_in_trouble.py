"""Background jobs under erasure, zombie workers, lost connections, and odd answers of models."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from langchain_core.language_models import FakeListChatModel
from langgraph.store.base import IndexConfig

from graphs.deployment.pools import open_pool
from graphs.mem0.extractor import MOST_FACTS, Mem0Extractor
from graphs.memory.facts.conversation import Conversation, ExtractedFact, Extractor
from graphs.memory.jobs.tasks import Timing
from graphs.memory.principal import Principal
from graphs.memory_manager import MemoryManager
from tests.integration.test_jobs import FAST, facts_of, opened, until_done
from tests.integration.test_memory import turn
from tests.support.sql import rows


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


class Gated:
    """An extractor that waits for a gate, before or after it has read the turns."""

    def __init__(self, otherwise: Extractor, only: str, after: bool) -> None:
        self.reached, self.gate = asyncio.Event(), asyncio.Event()
        self._otherwise, self._only, self._after = otherwise, only, after

    async def extract(self, conversation: Conversation) -> list[ExtractedFact]:
        if not self._after:
            await self._wait(conversation)
        found = await self._otherwise.extract(conversation)
        if self._after:
            await self._wait(conversation)
        return found

    async def _wait(self, conversation: Conversation) -> None:
        if conversation.user_id == self._only:
            self.reached.set()
            await self.gate.wait()


@pytest.fixture
async def loop_troubles() -> AsyncIterator[list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    yield told
    asyncio.get_running_loop().set_exception_handler(None)


async def mentions(database: str, text: str) -> list[str]:
    """Return every table of ours and of procrastinate's with a row that contains a text."""
    tables = await rows(
        database,
        "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace::regnamespace::text IN ('memory', 'procrastinate', 'langgraph')",
    )
    return [
        t["name"]
        for t in tables
        if await rows(
            database, f"SELECT 1 FROM {t['name']} AS t WHERE t::text LIKE %s LIMIT 1", f"%{text}%"
        )
    ]


@pytest.mark.parametrize("after", [False, True])
async def test_nothing_of_a_person_comes_back_who_is_erased_while_facts_are_made(
    database: str,
    index: IndexConfig,
    extractor: Extractor,
    user_id: str,
    after: bool,
    loop_troubles: list[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    gated = Gated(extractor, user_id, after)
    async with opened(database, index, gated) as store:
        await store.write_memory(user_id, "s1", turn(user_id, "My secret is swordfish."))
        async with store.jobs.working():
            await asyncio.wait_for(gated.reached.wait(), 20)
            await store.erase_user(user_id)
            gated.gate.set()
            await asyncio.sleep(0.5)
            other = str(uuid4())
            await store.write_memory(other, "s1", turn(other, "My budget is 80k."))
            await until_done(store)
            assert await facts_of(store, other) == ["My budget is 80k."]
    gc.collect()
    assert await mentions(database, user_id) == []
    assert await mentions(database, "swordfish") == []
    assert loop_troubles == []
    assert "swordfish" not in caplog.text
    assert user_id not in caplog.text


@pytest.mark.parametrize(
    "text",
    ["My secret is sword\u0000fish", "My secret is sword\ud800fish"],
    ids=["NUL", "surrogate"],
)
async def test_what_postgres_cannot_store_of_a_models_answer_is_left_out(
    database: str,
    index: IndexConfig,
    user_id: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    text: str,
) -> None:
    answer = json.dumps({"memory": [{"text": text}, {"text": "User has a budget of 80k"}]})
    async with opened(
        database, index, Mem0Extractor(FakeListChatModel(responses=[answer]), tmp_path)
    ) as store:
        await store.write_memory(user_id, "s1", turn(user_id, "My secret is swordfish."))
        await store.jobs.run_pending()
        jobs = await store.jobs.list()
        assert "User has a budget of 80k" in await facts_of(store, user_id)
        assert "secret" not in str(jobs)
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        ([f"Number {n} is {n * 7}." for n in range(3000)], MOST_FACTS),
        (["My budget is " + "very " * 200_000 + "large", "My dog is called Rex."], 1),
        (["My dog is called Rex."] * 2000, 1),
        (["   ", "", "My dog is called Rex."], 1),
    ],
    ids=["thousands", "huge", "same", "blank"],
)
async def test_an_answer_out_of_measure_becomes_as_many_facts_as_can_be_meant(
    database: str, index: IndexConfig, user_id: str, tmp_path: Path, texts: list[str], kept: int
) -> None:
    answer = json.dumps({"memory": [{"text": text} for text in texts]})
    async with opened(
        database, index, Mem0Extractor(FakeListChatModel(responses=[answer]), tmp_path)
    ) as store:
        await store.write_memory(user_id, "s1", turn(user_id, "Listen!"))
        await store.jobs.run_pending()
        assert len(await facts_of(store, user_id)) == kept
        assert await store.jobs.list(status="failed") == []


async def test_a_conversation_that_cannot_be_read_does_not_hold_up_others_of_the_person(
    database: str, index: IndexConfig, extractor: Extractor, user_id: str
) -> None:
    class Picky:
        async def extract(self, conversation: Conversation) -> list[ExtractedFact]:
            if "poison" in conversation.said[0].content:
                raise RuntimeError
            return await extractor.extract(conversation)

    async with open_pool(database) as pool:
        options: Any = {
            "principal": Principal.service(),
            "extract_after": 0,
            "timing": Timing(backoff=300),
        }
        async with MemoryManager(pool, index=index, extractor=Picky(), **options) as store:
            await store.write_memory(user_id, "s1", turn(user_id, "My poison."))
            await store.jobs.run_pending()
            await store.write_memory(
                user_id, "s2", turn(user_id, "My budget is 80k.", session_id="s2")
            )
            await store.jobs.run_pending()
            assert await facts_of(store, user_id) == ["My budget is 80k."]


async def test_a_zombie_worker_does_nothing_twice(
    database: str, index: IndexConfig, extractor: Extractor, user_id: str, loop_troubles: list[Any]
) -> None:
    gated = Gated(extractor, user_id, True)
    async with open_pool(database) as pool:
        options: Any = {
            "principal": Principal.service(),
            "extract_after": 0,
            "timing": Timing(poll=0.05, heartbeat=60, stalled=1.0, backoff=0, attempts=3),
        }
        async with (
            MemoryManager(pool, index=index, extractor=gated, **options) as zombie,
            opened(database, index, extractor) as store,
        ):
            await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k."))
            async with zombie.jobs.working(concurrency=1):
                await asyncio.wait_for(gated.reached.wait(), 20)
                await asyncio.sleep(1.2)
                async with store.jobs.working():
                    for _ in range(100):
                        if await facts_of(store, user_id):
                            break
                        await asyncio.sleep(0.05)
                    await until_done(store)
                    gated.gate.set()
                    await asyncio.sleep(0.5)
                    other = str(uuid4())
                await store.write_memory(other, "s1", turn(other, "My budget is 90k."))
                await until_done(store)
            assert await facts_of(store, user_id) == ["My budget is 80k."]
            assert await facts_of(store, other) == ["My budget is 90k."]
            assert {(j.status, j.error) for j in await store.jobs.list(task="extract_facts")} == {
                ("succeeded", None)
            }
    gc.collect()
    assert loop_troubles == []


async def test_a_fact_stored_while_an_erasure_begins_is_erased_too(
    database: str, index: IndexConfig, extractor: Extractor, user_id: str
) -> None:
    async with opened(database, index, extractor) as store:
        await store.write_memory(user_id, "s1", turn(user_id, "My secret is swordfish."))
        async with await psycopg.AsyncConnection.connect(database) as conn:
            await conn.execute(
                """SELECT memory.mark_read(
                  t.user_id, t.session_id, ARRAY[t.exchange], ARRAY[t.role], ARRAY[m.updated_at])
                FROM memory.turns AS t JOIN memory.memories AS m USING (namespace, key)
                WHERE t.role = 'user'"""
            )
            erasing = asyncio.create_task(store.erase_user(user_id))
            await asyncio.sleep(0.5)
            await conn.execute(
                """INSERT INTO memory.memories (namespace, key, value, document)
                VALUES (%s, 'k', '{"content": "swordfish"}', '')""",
                [f"users.{user_id}.facts."],
            )
            await conn.commit()
            await asyncio.wait_for(erasing, 20)
    assert await mentions(database, user_id) == []


class Losing:
    """A pool that loses the connection once, at a given statement."""

    def __init__(self, pool: Any, at: str) -> None:
        self._pool, self._at, self.lost = pool, at, 0
        self._watched: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        async with self._pool.connection() as conn:
            yield self._watched.setdefault(conn, _Watched(conn, self))


class _Watched:
    def __init__(self, conn: Any, losing: Losing) -> None:
        self.__dict__.update(_conn=conn, _losing=losing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    async def execute(self, query: Any, *args: Any, **more: Any) -> Any:
        if self._losing._at in str(query) and not self._losing.lost:
            self._losing.lost += 1
            raise psycopg.OperationalError("the connection is lost")
        return await self._conn.execute(query, *args, **more)

    def __hash__(self) -> int:
        return hash(self._conn)


@pytest.mark.parametrize(
    "at",
    ["procrastinate_finish_job", "procrastinate_fetch_job", "heartbeat", "procrastinate_retry_job"],
)
async def test_a_connection_lost_at_any_statement_of_the_queue_leaves_no_job_undone(
    database: str,
    index: IndexConfig,
    extractor: Extractor,
    user_id: str,
    at: str,
    loop_troubles: list[Any],
) -> None:
    failed: list[int] = []

    class Once:
        async def extract(self, conversation: Conversation) -> list[ExtractedFact]:
            if at == "procrastinate_retry_job" and not failed:
                failed.append(1)
                raise RuntimeError("My secret is swordfish.")
            return await extractor.extract(conversation)

    async with open_pool(database) as pool:
        losing = Losing(pool, at)
        options: Any = {"principal": Principal.service(), "extract_after": 0, "timing": FAST}
        async with MemoryManager(losing, index=index, extractor=Once(), **options) as store:
            await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k."))
            async with store.jobs.working():
                for _ in range(100):
                    if (await store.jobs.counts()).get("extract_facts") == {
                        "succeeded": 1
                    } and losing.lost:
                        break
                    await asyncio.sleep(0.05)
                assert losing.lost
                assert (await store.jobs.counts())["extract_facts"] == {"succeeded": 1}
    gc.collect()
    assert loop_troubles == []


@pytest.mark.parametrize("seconds", ["-1e11", "1e12", "-Infinity", "Infinity", "NaN"])
async def test_whoever_queues_a_job_at_an_impossible_time_holds_up_nobody(
    database: str, index: IndexConfig, extractor: Extractor, user_id: str, seconds: str
) -> None:
    async with opened(database, index, extractor) as store:
        async with await psycopg.AsyncConnection.connect(database) as conn:
            await conn.execute(
                "SELECT set_config('role', 'authenticated', true), "
                "set_config('request.jwt.claims', %s, true)",
                [json.dumps({"sub": user_id, "role": "authenticated"})],
            )
            await conn.execute(
                "SELECT memory.queue_facts(%s, 's1', %s::float8)", [user_id, seconds]
            )
        other = str(uuid4())
        await store.write_memory(other, "s1", turn(other, "My budget is 80k."))
        await store.jobs.run_pending()
        assert await facts_of(store, other) == ["My budget is 80k."]
        assert {job.args["user_id"] for job in await store.jobs.list()} == {user_id, other}


async def test_what_is_queued_is_a_session_and_no_document(database: str, user_id: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="too long"):
        await rows(
            database,
            "SET ROLE service_role; SELECT memory.queue_facts('u', repeat('x', 100000), 0)",
        )
