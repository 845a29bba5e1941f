"""Failures of external services are retried, reported clearly, and recorded in the audit log."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig

from graphs.memory.audit import counting
from graphs.memory.contract import Exchange, MemoryPayload
from graphs.memory.errors import (
    AccessDenied,
    ConfigurationError,
    EmbeddingFailed,
    StoreUnavailable,
)
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings
from tests.support.sql import rows

NS = ("users", "u1", "notes")


class Unwell(Exception):
    """An error of a hosted model's client."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


class Moody:
    """An embedder that fails with given errors before it answers."""

    def __init__(self, *failures: Exception, vector: Sequence[float] = (1.0, 0.0)) -> None:
        self.failures = list(failures)
        self.vector = list(vector)
        self.asked = 0

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return [self.vector for _ in texts]


def index(embedder: Moody, dims: int = 2) -> Any:
    return {"dims": dims, "embed": embedder.embed, "model": "moody"}


@pytest.mark.parametrize(
    "failure", [Unwell(429), Unwell(503), ConnectionResetError(), TimeoutError()]
)
async def test_a_model_that_is_briefly_unwell_is_asked_again(
    empty_database: str, failure: Exception
) -> None:
    embedder = Moody(failure, failure)
    async with MemoryManager.from_conn_string(empty_database, index=index(embedder)) as store:
        await store.setup()
        await store.aput(NS, "k", {"text": "robot"})
        assert len(await store.asearch(NS, query="robot")) == 1
    assert embedder.asked == 4


@pytest.mark.parametrize(
    ("failure", "times"), [(Unwell(503), 4), (Unwell(401), 1), (ValueError("no such model"), 1)]
)
async def test_a_model_that_stays_unwell_is_a_clear_error_and_an_audit_record(
    empty_database: str, failure: Exception, times: int
) -> None:
    embedder = Moody(*[failure] * 9)
    async with MemoryManager.from_conn_string(empty_database, index=index(embedder)) as store:
        await store.setup()
        with pytest.raises(EmbeddingFailed, match="moody"):
            await store.aput(NS, "k", {"text": "robot"})
    assert embedder.asked == times
    assert await rows(empty_database, "SELECT 1 FROM memory.memories") == []
    audit = await rows(empty_database, "SELECT action, data FROM memory.audit_logs")
    assert str(failure) not in str(audit), "the error may quote the text to embed"
    assert [(a["action"], a["data"]["error"]) for a in audit] == [
        ("embedding.failed", "EmbeddingFailed")
    ]


@pytest.mark.parametrize(
    "vector", [(1.0,), (1.0, 0.0, 0.0), (float("nan"), 0.0), (float("inf"), 0.0)]
)
async def test_vectors_that_are_not_as_promised_are_refused(
    empty_database: str, vector: tuple[float, ...]
) -> None:
    async with MemoryManager.from_conn_string(
        empty_database, index=index(Moody(vector=vector))
    ) as store:
        await store.setup()
        with pytest.raises(ConfigurationError, match="moody"):
            await store.aput(NS, "k", {"text": "robot"})


async def test_what_is_denied_leaves_an_audit_record_about_who_tried(
    store: MemoryManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_NOTED_SECONDS", 60)
    intruder = str(uuid4())
    with acting_as(Principal.user(intruder)):
        with pytest.raises(AccessDenied):
            await store.aput(NS, "k", {"text": "mine"})
        with pytest.raises(AccessDenied):
            await store.recall_memory(str(uuid4()), "secrets")
    await store.access.finish()
    audit = await rows(database, "SELECT action, user_id FROM memory.audit_logs")
    assert audit == [{"action": "access.denied", "user_id": intruder}]


async def test_refusals_and_failures_of_a_caller_are_counted_not_listed(
    store: MemoryManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody may shorten the audit log: a caller must not be able to fill it."""
    monkeypatch.setattr(counting, "_NOTED_SECONDS", 60)
    intruder, other, victim = str(uuid4()), str(uuid4()), str(uuid4())
    with acting_as(Principal.user(intruder)):
        for _ in range(50):
            with pytest.raises(AccessDenied):
                await store.recall_memory(victim, "x")
            with pytest.raises(AccessDenied):
                await store.sessions.latest(victim)
    with acting_as(Principal.user(other)), pytest.raises(AccessDenied):
        await store.aput(("users", victim, "facts"), "k", {"text": "mine"})
    failing = EmbeddingFailed("away")
    for _ in range(3):
        store.access.reporter.embedding_failed(Principal.service(), "moody", failing)
    await store.access.finish()
    audit = await rows(database, "SELECT user_id, action, data FROM memory.audit_logs ORDER BY id")
    assert [(a["user_id"], a["action"], a["data"]["count"]) for a in audit] == [
        (intruder, "access.denied", 100),
        (other, "access.denied", 1),
        (None, "embedding.failed", 3),
    ]
    assert audit[0]["data"]["about"] == victim


async def test_refusals_wait_for_a_database_that_is_away(
    store: MemoryManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter, stranger = store.access.reporter, Principal.user(str(uuid4()))
    run_parts = store.access.database.run_parts
    for is_away in (True, False):
        reporter.denied(stranger, AccessDenied("no"))
        monkeypatch.setattr(store.access.database, "run_parts", _away if is_away else run_parts)
        await reporter.finish()
    assert await rows(database, "SELECT data -> 'count' AS n FROM memory.audit_logs") == [{"n": 2}]


async def _away(_: object) -> None:
    raise StoreUnavailable("away")


class Hanging(OfflineEmbeddings):
    """An embedding model whose calls never return, as long as it hangs."""

    def __init__(self) -> None:
        super().__init__(256)
        self.hangs = False
        self.asked = 0

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        return await super().aembed_documents(texts)

    async def aembed_query(self, text: str) -> list[float]:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        return await super().aembed_query(text)


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


@pytest.fixture
def hanging() -> Hanging:
    return Hanging()


@pytest.fixture
async def impatient(
    database: str, index: IndexConfig, hanging: Hanging
) -> AsyncIterator[MemoryManager]:
    """Yield a store that gives up its embedding model soon."""
    config: Any = {**index, "embed": hanging, "timeout": 0.5, "ranking": "hybrid"}
    async with MemoryManager.from_conn_string(database, index=config) as store:
        yield store


def turn(user_id: str, text: str, exchange: str = "e1") -> MemoryPayload:
    content = Exchange(id=exchange, user=text, assistant="Fine.")
    return fact(user_id, "x").model_copy(update={"type": "turn", "content": content})


def fact(user_id: str, text: str) -> MemoryPayload:
    return MemoryPayload(
        identity=user_id,
        timestamp=datetime.now(UTC),
        agent="assistant",
        session_id="s1",
        type="fact",
        content=text,
    )


async def test_later_writes_do_not_wait_for_a_call_that_hangs(
    impatient: MemoryManager, hanging: Hanging, user_id: str
) -> None:
    hanging.hangs = True
    with acting_as(Principal.user(user_id)):
        lost = asyncio.create_task(impatient.aput(("users", user_id, "notes"), "a", {"text": "a"}))
        while not hanging.asked:  # noqa: ASYNC110  the model is no event
            await asyncio.sleep(0)
        hanging.hangs = False
        async with asyncio.timeout(20):
            await impatient.aput(("users", user_id, "notes"), "b", {"text": "b"})
            with pytest.raises(EmbeddingFailed, match="no answer within"):
                await lost
        assert await impatient.aget(("users", user_id, "notes"), "a") is None


async def test_conversations_go_on_without_the_embedding_model(
    impatient: MemoryManager, hanging: Hanging, user_id: str, database: str
) -> None:
    await impatient.write_memory(user_id, "s1", fact(user_id, "The budget is 80k."))
    await impatient.write_memory(user_id, "s1", fact(user_id, "Rex is a dog."))
    hanging.hangs = True

    async with asyncio.timeout(20):
        context = await impatient.load_context(user_id, "s1", query="What is the budget?")
        asked = hanging.asked
        for _ in range(2):  # as a run that is retried does
            said = turn(user_id, "A second budget: 9k.")
            receipt = await impatient.write_memory(user_id, "s1", said)
        [first, *_] = await impatient.recall_memory(user_id, "the dog?")
    assert context.memories[0].content == "The budget is 80k."
    assert first.content == "Rex is a dog."
    assert hanging.asked == asked, "after a failure it is not asked at once again"
    assert (await impatient.load_context(user_id, "s1")).turns[0].content == "A second budget: 9k."
    embeddings = (await impatient.health.check()).parts["embeddings"]
    assert embeddings.status == "degraded"
    assert "offline:wordllama" in str(embeddings.advice)
    with pytest.raises(EmbeddingFailed):
        await impatient.write_memory(user_id, "s1", fact(user_id, "Lives in Porto."))

    hanging.hangs = False
    [job] = [job for job in await impatient.jobs.list() if job.task == "index_memories"]
    assert job.status == "todo"
    assert await impatient.index_memories() == len(receipt.memories) == 2
    [found, *_] = await impatient.recall_memory(user_id, "second budget", types=["turn"])
    assert found.content == "A second budget: 9k."
    vectors = "SELECT DISTINCT key FROM memory.memory_embeddings WHERE key LIKE 'e1:%'"
    assert len(await rows(database, vectors)) == 2
