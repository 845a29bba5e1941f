"""Telemetry shows operations and their outcomes, but never the content of memories."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from graphs.deployment.pools import open_pool
from graphs.memory import telemetry
from graphs.memory.errors import (
    AccessDenied,
    EmbeddingFailed,
    GraphMemoryError,
    InvalidInput,
)
from graphs.memory.facts.conversation import Conversation, ExtractedFact
from graphs.memory.jobs.tasks import Timing
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.integration.test_memory import payload, turn
from tests.support.sql import rows
from tests.support.telemetry import Exported

SECRET = "xylophone"
"""A word in all contents, names and keys of these tests, and in nothing else."""


@pytest.fixture
def exported() -> Iterator[Exported]:
    everything = Exported()
    with everything.exporting():
        yield everything


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


async def do_everything(store: MemoryManager, user_id: str) -> None:
    """Call every operation, with secrets in every text."""
    scope = ("users", user_id, f"{SECRET} notes")
    await store.aput(scope, f"{SECRET} key", {"text": f"a {SECRET} in the value"})
    await store.aget(scope, f"{SECRET} key")
    await store.asearch(scope, query=f"where is the {SECRET}?", filter={"text": SECRET})
    await store.alist_namespaces(prefix=scope)
    session = {"session_id": f"{SECRET} session"}
    await store.write_memory(
        user_id, **session, payload=payload(user_id, f"A {SECRET}.", tags=[SECRET], **session)
    )
    await store.write_memory(
        user_id, **session, payload=turn(user_id, f"My {SECRET} is red.", SECRET, **session)
    )
    await store.load_context(user_id, f"{SECRET} session", query=f"my {SECRET}")
    await store.recall_memory(user_id, SECRET, [SECRET])
    await store.log_event(user_id, "played", {"what": SECRET})
    await store.jobs.run_pending()
    await store.adelete(scope, f"{SECRET} key")
    await store.seal_audit()
    await store.erase_user(user_id)


async def test_every_operation_is_a_span_without_an_error(
    store: MemoryManager, user_id: str, exported: Exported
) -> None:
    await do_everything(store, user_id)
    spans = exported.spans()
    store_calls = {"put", "get", "search", "list_namespaces", "delete"}
    calls = {
        *store_calls,
        "write_memory",
        "load_context",
        "recall_memory",
        "log_event",
        "seal_audit",
        "erase_user",
    }
    assert {f"memory.{call}" for call in calls} <= {span.name for span in spans}
    assert {"job extract_facts", "memory.extract_facts", "embeddings wordllama"} <= {
        span.name for span in spans
    }
    assert {span.status.status_code for span in spans} == {StatusCode.UNSET}
    assert not any("error.type" in (span.attributes or {}) for span in spans)


async def test_what_fails_is_a_span_with_the_kind_of_its_error_and_none_of_its_words(
    store: MemoryManager, user_id: str, exported: Exported
) -> None:
    with acting_as(Principal.user(user_id)), pytest.raises(AccessDenied):
        await store.recall_memory(str(uuid4()), SECRET)
    with pytest.raises(InvalidInput):
        await store.aput(("users", user_id), "k", {"text": f"{SECRET}\x00"})

    for name, kind in (("memory.recall_memory", "AccessDenied"), ("memory.put", "InvalidValue")):
        [span] = exported.spans(name)
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert (span.attributes or {})["error.type"] == kind
        assert not span.events
    failed = exported.values("memory.operation.duration", "error.type")
    assert {"AccessDenied": 1, "InvalidValue": 1}.items() <= failed.items()


async def test_spans_belong_to_the_span_of_whoever_calls(
    store: MemoryManager, exported: Exported
) -> None:
    with trace.get_tracer("tests").start_as_current_span("a node of a graph") as node:
        await store.aget(("users", "u1"), "k")
    [call] = exported.spans("memory.get")
    [query] = exported.spans("get postgresql")
    assert call.parent == node.get_span_context()
    assert query.parent == call.context
    assert (query.attributes or {})["db.system.name"] == "postgresql"


async def test_a_caller_that_leaves_has_not_failed(
    store: MemoryManager, exported: Exported
) -> None:
    async with store.access.database.pool.connection():
        calling = asyncio.create_task(store.load_context("u1", "s1"))
        await asyncio.sleep(0)
        calling.cancel()
        await asyncio.wait([calling])
    [span] = exported.spans("memory.load_context")
    assert span.status.status_code == StatusCode.UNSET


async def test_nothing_that_is_remembered_is_exported_or_logged(
    store: MemoryManager, user_id: str, exported: Exported, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await do_everything(store, user_id)
    assert "memory.operation.duration" in exported.text()
    assert SECRET not in exported.text()
    assert user_id not in exported.text()
    assert SECRET not in caplog.text


class Quoting:
    """An embedder and an extractor whose errors quote their input, as some services' errors do."""

    def __init__(self) -> None:
        self.fails = False

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self.fails:
            raise ValueError(f"cannot embed {texts}")
        return [[1.0, 0.0] for _ in texts]

    async def extract(self, conversation: Conversation) -> list[ExtractedFact]:
        raise ValueError(f"cannot read {[said.content for said in conversation.said]}")


async def test_nothing_that_is_remembered_is_exported_or_logged_where_it_fails(
    empty_database: str, user_id: str, exported: Exported, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    model = Quoting()
    index: Any = {"dims": 2, "embed": model.embed, "model": "quoting"}
    scope = ("users", user_id, f"{SECRET} notes")
    async with (
        open_pool(empty_database) as pool,
        MemoryManager(
            pool,
            index=index,
            principal=Principal.service(),
            extractor=model,
            extract_after=0,
            timing=Timing(attempts=1),
        ) as store,
    ):
        await store.setup()
        await store.write_memory(user_id, "s1", turn(user_id, f"My {SECRET} is red."))
        await store.jobs.run_pending()
        for text in (f"{SECRET}\x00", f"{SECRET}\ud800"):
            with pytest.raises(InvalidInput):
                await store.aput(scope, SECRET, {"text": text})
            with pytest.raises(GraphMemoryError):
                await store.aget(scope, text)
            with pytest.raises(GraphMemoryError):
                await store.recall_memory(user_id, text)
        with pytest.raises(InvalidInput):
            await store.write_memory(user_id, "s1", {**payload(user_id, SECRET), SECRET: SECRET})
        with pytest.raises(GraphMemoryError):
            await store.asearch(scope, filter={"text": {f"${SECRET}": SECRET}})
        model.fails = True
        with pytest.raises(EmbeddingFailed):
            await store.aput(scope, SECRET, {"text": SECRET})
        await rows(empty_database, "DROP TABLE memory.memories CASCADE")
        with pytest.raises(GraphMemoryError):
            await store.aput(scope, SECRET, {"text": SECRET}, index=False)

    failed = exported.values("memory.operation.duration", "error.type")
    assert {"EmbeddingFailed", "SetupRequired", "ContractError"} <= set(failed)
    assert exported.values("memory.job.duration", "error.type")["ValueError"] == 1
    assert SECRET not in exported.text()
    assert user_id not in exported.text()
    assert SECRET not in caplog.text


async def test_metrics_say_how_much_is_recalled_and_what_waits(
    store: MemoryManager, user_id: str, exported: Exported
) -> None:
    for text in ("The budget is 80k.", "The dog is called Rex."):
        await store.write_memory(user_id, "s1", payload(user_id, text))
    await store.recall_memory(user_id, "budget")
    [recalls] = exported.points("memory.recall.results")
    assert (recalls["count"], recalls["sum"]) == (1, 2)

    await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k."))
    await store.health.check()
    assert exported.values("memory.jobs", "memory.job.status") == {"todo": 1}
    assert exported.values("memory.index.pending", "") == {"": 4}
    assert exported.values("memory.job.workers", "") == {"": 0}
    assert exported.values("memory.health.status", "memory.health.part")["jobs"] == 1
    connections = exported.values("db.client.connection.count", "db.client.connection.state")
    assert connections["used"] == 0
    assert connections["idle"] >= 1


async def test_gauges_that_are_no_longer_true_are_not_told(
    store: MemoryManager, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.health.check()
    assert exported.points("memory.job.workers")
    monkeypatch.setattr(telemetry, "KEPT_SECONDS", 0)
    assert not exported.points("memory.job.workers")


async def test_an_adapter_is_measured_by_name_and_operation(exported: Exported) -> None:
    with telemetry.adapter_call("hosted_mem0", "add"):
        pass
    with pytest.raises(ConnectionError), telemetry.adapter_call("hosted_mem0", "search"):
        raise ConnectionError(SECRET)
    assert [span.status.status_code for span in exported.spans("hosted_mem0 add")] == [
        StatusCode.UNSET
    ]
    assert [span.status.status_code for span in exported.spans("hosted_mem0 search")] == [
        StatusCode.ERROR
    ]
    assert exported.values("memory.adapter.duration", "error.type") == {"": 1, "ConnectionError": 1}
    assert SECRET not in exported.text()
