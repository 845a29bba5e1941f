"""Failures of external services are retried, reported clearly, and recorded in the audit log."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from graphs.memory.audit import counting
from graphs.memory.errors import (
    AccessDenied,
    ConfigurationError,
    EmbeddingFailed,
    StoreUnavailable,
)
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
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


class Silent(Moody):
    """An embedder that does not answer for a while."""

    silent = False

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self.silent:
            await asyncio.sleep(60)
        return await super().embed(texts)


async def test_a_model_that_hangs_holds_up_no_later_write_and_recall_goes_on_by_words(
    empty_database: str,
) -> None:
    embedder, user = Silent(), str(uuid4())
    config = index(embedder) | {"timeout": 0.2, "ranking": "hybrid", "fields": ["text"]}
    namespace = ("users", user, "notes")
    async with MemoryManager.from_conn_string(empty_database, index=config) as store:
        await store.setup()
        for key, text in (("a", "a robot welds"), ("b", "the weather"), ("c", "tea is hot")):
            await store.aput(namespace, key, {"text": text, "content": text})
        embedder.silent = True
        with pytest.raises(EmbeddingFailed, match=r"within 0\.2 s"):
            await store.aput(namespace, "lost", {"text": "lost"})
        found = await store.recall_memory(user, "which robot welds?")
        context = await store.load_context(user, "s1", query="is the tea hot?")
        assert (found[0].key, context.memories[0].key) == ("a", "c")

        embedder.silent = False
        await store.aput(namespace, "later", {"text": "later"})
        assert await store.aget(namespace, "later")


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
