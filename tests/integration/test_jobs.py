"""Background jobs: queued with their cause, done once, and visible if they fail."""

import asyncio
import json
import re
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.language_models import FakeListChatModel
from langgraph.store.base import IndexConfig
from pydantic import Field

from graphs.deployment.pools import open_pool
from graphs.mem0 import extractor as extractor_module
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.errors import AccessDenied, JobNotFound
from graphs.memory.facts.conversation import Conversation, ExtractedFact, Extractor
from graphs.memory.jobs.tasks import Timing
from graphs.memory.principal import Principal, acting_as
from graphs.memory.rights.retention import Keeping
from graphs.memory_manager import MemoryManager
from tests.integration.test_memory import payload, turn
from tests.support import dying_worker
from tests.support.pooler import Pooler
from tests.support.sql import rows

FAST = Timing(poll=0.05, heartbeat=0.2, stalled=1.0, backoff=0, attempts=3)


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


@asynccontextmanager
async def opened(
    database: str, index: IndexConfig, extractor: Extractor
) -> AsyncIterator[MemoryManager]:
    """Yield a service store with short delays between jobs."""
    async with open_pool(database) as pool:
        options: Any = {"principal": Principal.service(), "extract_after": 0, "timing": FAST}
        async with MemoryManager(pool, index=index, extractor=extractor, **options) as store:
            yield store


async def facts_of(store: MemoryManager, user_id: str) -> list[str]:
    return sorted(
        item.value["content"]
        for item in await store.asearch(("users", user_id, "facts"), limit=1000)
    )


async def until_done(store: MemoryManager) -> None:
    for _ in range(1600):
        if not {"todo", "doing"} & set((await store.jobs.counts()).get("extract_facts", {})):
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"still at work: {await store.jobs.counts()}")


class Broken:
    """An extractor that raises a given error, until the error is removed."""

    def __init__(self, error: Exception, otherwise: Extractor) -> None:
        self.error: Exception | None = error
        self.asked = 0
        self._otherwise = otherwise

    async def extract(self, conversation: Conversation) -> list[ExtractedFact]:
        self.asked += 1
        if self.error:
            raise self.error
        return await self._otherwise.extract(conversation)


async def test_a_job_that_goes_on_failing_is_kept_with_its_reason_and_can_be_replayed(
    database: str,
    index: IndexConfig,
    extractor: Extractor,
    user_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = Broken(RuntimeError("quotes My secret is swordfish."), extractor)
    async with opened(database, index, broken) as store:
        await store.write_memory(user_id, "s1", turn(user_id, "My secret is swordfish."))
        await store.jobs.run_pending()
        [failed] = await store.jobs.list(status="failed")
        assert (failed.task, failed.attempts, failed.error) == ("extract_facts", 3, "RuntimeError")
        assert broken.asked == 3
        assert failed.args == {"user_id": user_id, "session_id": "s1"}
        assert await facts_of(store, user_id) == []

        broken.error = None
        await store.jobs.retry(failed.id)
        await store.jobs.run_pending()
        assert await facts_of(store, user_id) == ["My secret is swordfish."]
        assert await store.jobs.list(status="failed") == []
        with pytest.raises(JobNotFound, match="There is no failed job"):
            await store.jobs.retry(failed.id)
    assert "swordfish" not in caplog.text


@pytest.mark.parametrize(
    "answer", ["I cannot help with that.", '{"memory": "none"}', '{"memory": [{"id": 1}]}', "[]"]
)
async def test_an_answer_that_is_no_list_of_facts_changes_nothing_and_is_told(
    database: str, index: IndexConfig, user_id: str, tmp_path: Path, answer: str
) -> None:
    model = FakeListChatModel(responses=[answer])
    async with opened(database, index, Mem0Extractor(model, tmp_path)) as store:
        await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k."))
        await store.jobs.run_pending()
        [failed] = await store.jobs.list(status="failed")
        assert failed.error == "The model that extracts facts did not return a list of facts."
        assert await facts_of(store, user_id) == []
        unread = await rows(database, "SELECT 1 FROM memory.turns WHERE extracted_at IS NULL")
        assert len(unread) == 2


class Choosy(FakeListChatModel):
    """A model that refuses a given word, and otherwise repeats what the user said."""

    refused: str = "poison"

    def _call(self, messages: Any, *_: Any, **__: Any) -> str:
        new = messages[-1].content.split("## New Messages")[1].split("## Observation Date")[0]
        if self.refused in new:
            return "I cannot help with that."
        said = re.findall(r"^user: (.+)$", new, re.MULTILINE)
        return json.dumps({"memory": [{"id": str(n), "text": text} for n, text in enumerate(said)]})


async def test_a_turn_that_a_model_refuses_does_not_keep_the_others_from_being_read(
    database: str, index: IndexConfig, user_id: str, tmp_path: Path
) -> None:
    model = Choosy(responses=[])
    async with opened(database, index, Mem0Extractor(model, tmp_path)) as store:
        for n, text in enumerate(
            ("My name is Ada.", "I like poison.", "My dog is called Rex.", "My cat is called Tom.")
        ):
            await store.write_memory(user_id, "s1", turn(user_id, text, None, f"m{n}"))
        await store.jobs.run_pending()
        known = ["My cat is called Tom.", "My dog is called Rex.", "My name is Ada."]
        assert await facts_of(store, user_id) == known
        failed = await store.jobs.list(status="failed")
        assert failed
        unread = await rows(
            database, "SELECT exchange FROM memory.turns WHERE extracted_at IS NULL"
        )
        assert unread == [{"exchange": "m1"}]

        model.refused = "nothing"
        await store.jobs.retry(failed[0].id)
        await store.jobs.run_pending()
        assert await facts_of(store, user_id) == sorted([*known, "I like poison."])


class Silent(FakeListChatModel):
    """A model that never answers, and records its cancellation."""

    given_up: list[bool] = Field(default_factory=list)

    async def _agenerate(self, *_: Any, **__: Any) -> Any:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.given_up.append(True)
            raise


async def test_a_model_that_does_not_answer_fails_the_job_and_holds_up_nothing(
    database: str, index: IndexConfig, user_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extractor_module, "LONGEST_ANSWER", 0.2)
    model = Silent(responses=[])
    async with opened(database, index, Mem0Extractor(model, tmp_path)) as store:
        await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k."))
        await store.jobs.run_pending()
        [failed] = await store.jobs.list(status="failed")
        assert failed.error == "The model that extracts facts did not answer (TimeoutError)."
        assert len(model.given_up) == FAST.attempts


async def test_a_worker_that_is_stopped_does_not_wait_for_a_model(
    database: str, index: IndexConfig, user_id: str, tmp_path: Path
) -> None:
    model = Silent(responses=[])
    threads = threading.active_count()
    async with opened(database, index, Mem0Extractor(model, tmp_path)) as store:
        await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k."))
        async with store.jobs.working():
            for _ in range(400):
                if (await store.jobs.list(user_id=user_id))[
                    0
                ].status == "doing" and threading.active_count() > threads:
                    break
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
        assert model.given_up == [True]
        assert [job.status for job in await store.jobs.list(user_id=user_id)] == ["todo"]


async def test_what_a_model_extracts_is_stored_with_the_turns_it_comes_from(
    database: str, index: IndexConfig, user_id: str, tmp_path: Path
) -> None:
    answer = (
        'Here it is:\n```json\n{"memory": '
        '[{"id": "0", "text": "User has a budget of 80k for a robot"}]}\n```'
    )
    async with opened(
        database, index, Mem0Extractor(FakeListChatModel(responses=[answer]), tmp_path)
    ) as store:
        await store.write_memory(user_id, "s1", turn(user_id, "Good morning!", "Hello.", "m1"))
        await store.write_memory(
            user_id, "s1", turn(user_id, "For the robot I have 80k, no more.", "I see.", "m2")
        )
        await store.jobs.run_pending()
        [fact] = await store.asearch(("users", user_id, "facts"))
        assert fact.value["content"] == "User has a budget of 80k for a robot"
        assert fact.value["sources"] == [{"session_id": "s1", "exchange": "m2"}]


async def test_nothing_is_queued_for_a_write_that_is_refused_or_was_stored_before(
    store: MemoryManager, database: str, user_id: str
) -> None:
    with acting_as(Principal.user(str(uuid4()))), pytest.raises(AccessDenied):
        await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k."))
    await store.write_memory(
        user_id, "s1", {**turn(user_id, "x"), "type": "fact", "content": "A fact is no turn."}
    )
    assert await rows(database, "SELECT 1 FROM procrastinate.procrastinate_jobs") == []


async def test_people_see_their_own_jobs_and_only_the_service_sees_all(
    store: MemoryManager, user_id: str
) -> None:
    await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k."))
    with acting_as(Principal.user(user_id)):
        assert [job.status for job in await store.jobs.list(user_id=user_id)] == ["todo"]
        for refused in (
            store.jobs.list(),
            store.jobs.counts(),
            store.jobs.retry(1),
            store.jobs.queue("sweep_ttl"),
        ):
            with pytest.raises(AccessDenied):
                await refused
    with acting_as(Principal.user(str(uuid4()))), pytest.raises(AccessDenied):
        await store.jobs.list(user_id=user_id)


async def test_two_workers_share_the_queue_and_read_each_turn_once(
    database: str, index: IndexConfig, extractor: Extractor
) -> None:
    people = [str(uuid4()) for _ in range(6)]
    async with (
        opened(database, index, extractor) as one,
        opened(database, index, extractor) as other,
    ):
        async with one.jobs.working(), other.jobs.working():
            for n in range(5):
                writes = [
                    one.write_memory(
                        who,
                        f"s{n % 2}",
                        turn(who, f"My number is {n}0.", None, f"m{n}", session_id=f"s{n % 2}"),
                    )
                    for who in people
                ]
                await asyncio.gather(*writes)
            await until_done(one)
        for who in people:
            assert await facts_of(one, who) == [f"My number is {n}0." for n in range(5)]
    history = await rows(
        database, "SELECT 1 FROM memory.memory_history WHERE namespace LIKE '%%facts%%'"
    )
    assert history == []
    events = await rows(
        database,
        "SELECT sum((data ->> 'turns')::int) AS n FROM memory.audit_logs "
        "WHERE action = 'facts.extracted'",
    )
    assert events == [{"n": 30}]


@pytest.mark.parametrize("point", dying_worker.POINTS)
async def test_a_worker_killed_at_any_point_loses_nothing_and_does_nothing_twice(
    database: str,
    index: IndexConfig,
    extractor: Extractor,
    user_id: str,
    tmp_path: Path,
    point: str,
) -> None:
    async with opened(database, index, extractor) as store:
        await store.write_memory(
            user_id, "s1", turn(user_id, "My budget is 80k. My dog is called Rex.")
        )
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.dying_worker", database, point, str(tmp_path)
        )
        assert await asyncio.wait_for(worker.wait(), 60) == -9
        assert [job.status for job in await store.jobs.list(task="extract_facts")] == ["doing"]

        await asyncio.sleep(FAST.stalled + 0.2)
        await store.jobs.rescue()
        await store.jobs.run_pending()
        assert await facts_of(store, user_id) == ["My budget is 80k.", "My dog is called Rex."]
        assert [job.status for job in await store.jobs.list(task="extract_facts")] == ["succeeded"]
    events = await rows(
        database, "SELECT data FROM memory.audit_logs WHERE action = 'facts.extracted'"
    )
    assert [event["data"]["turns"] for event in events] == [2]
    written = await rows(
        database,
        "SELECT key FROM memory.audit_logs "
        "WHERE action = 'memory.insert' AND namespace LIKE '%%facts%%'",
    )
    assert len(written) == 2


async def test_jobs_are_done_behind_a_transaction_pooler(
    postgres: str, database: str, index: IndexConfig, extractor: Extractor, user_id: str
) -> None:
    with Pooler(postgres) as pooler:
        async with (
            opened(pooler.url_for(database), index, extractor) as store,
            store.jobs.working(),
        ):
            for n in range(8):
                await store.write_memory(
                    user_id, "s1", turn(user_id, f"My number is {n}0.", None, f"m{n}")
                )
            await until_done(store)
            assert len(await facts_of(store, user_id)) == 8


async def test_a_worker_does_what_is_due_periodically(
    database: str, index: IndexConfig, extractor: Extractor
) -> None:
    async with opened(database, index, extractor) as store:
        await store.aput(("a",), "k", {"text": "short"}, ttl=0.0005)
        await asyncio.sleep(0.05)  # until it has expired
        async with store.jobs.working():
            for _ in range(200):
                if (await store.jobs.counts()).get("seal_audit") == {"succeeded": 1}:
                    break
                await asyncio.sleep(0.05)
    assert await rows(database, "SELECT 1 FROM memory.memories") == []
    assert await rows(database, "SELECT 1 FROM memory.audit_seals") != []


async def test_turns_go_after_their_retention_and_important_ones_become_episodes(
    store: MemoryManager, database: str, user_id: str
) -> None:
    await store.write_memory(user_id, "s1", turn(user_id, "Good morning!", "Hello.", "m1"))
    await store.write_memory(
        user_id, "s1", turn(user_id, "I was promoted today!", "Great.", "m2", importance=0.9)
    )
    await rows(
        database, "UPDATE memory.turns SET created_at = now() - interval '40 days' RETURNING 1"
    )
    await store.write_memory(user_id, "s1", turn(user_id, "Good evening!", "Hello again.", "m3"))

    with acting_as(Principal.user(user_id)), pytest.raises(AccessDenied):
        await store.expire_turns(30)
    assert await store.expire_turns(30) == 4
    context = await store.load_context(user_id, "s1")
    assert [t.content for t in context.turns] == ["Good evening!", "Hello again."]
    episodes = await store.asearch(("users", user_id, "episodes"))
    assert {item.value["content"] for item in episodes} == {"I was promoted today!", "Great."}
    assert (await store.recall_memory(user_id, "promoted"))[0].type == "episode"
    assert await store.expire_turns(30) == 0


async def test_what_is_kept_for_how_long_is_a_matter_of_jobs(
    database: str, index: IndexConfig, user_id: str
) -> None:
    async with open_pool(database) as pool:
        options: Any = {"index": index, "principal": Principal.service(), "timing": FAST}
        async with MemoryManager(
            pool, keeping=Keeping(retention_days=30, decay_days=7), **options
        ) as store:
            await store.write_memory(user_id, "s1", payload(user_id, "The weather was fine."))
            await store.write_memory(user_id, "s1", turn(user_id, "Good morning!"))
            await rows(
                database,
                "UPDATE memory.turns SET created_at = now() - interval '40 days' RETURNING 1",
            )
            await rows(database, "ALTER TABLE memory.memories DISABLE TRIGGER ALL")
            await rows(
                database,
                "UPDATE memory.memories SET updated_at = now() - interval '8 days' RETURNING 1",
            )
            await rows(database, "ALTER TABLE memory.memories ENABLE TRIGGER ALL")
            for task in ("expire_turns", "decay_memory"):
                await store.jobs.queue(task)
            await store.jobs.run_pending()
            assert await store.asearch(("users", user_id)) == []


async def test_jobs_of_one_person_follow_one_another_without_waiting_for_the_next_poll(
    database: str, index: IndexConfig, extractor: Extractor, user_id: str
) -> None:
    async with open_pool(database) as pool:
        options: Any = {
            "principal": Principal.service(),
            "extract_after": 0,
            "timing": Timing(poll=60),
        }
        async with MemoryManager(pool, index=index, extractor=extractor, **options) as store:
            for n in range(5):
                said = turn(user_id, f"My robot number {n} is called R{n}.", session_id=f"s{n}")
                await store.write_memory(user_id, f"s{n}", said)
            async with store.jobs.working():
                await until_done(store)
            assert len(await facts_of(store, user_id)) == 5
