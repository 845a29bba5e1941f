"""Health reports name the unhealthy part, and what to do."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig

from graphs.deployment.pools import open_pool
from graphs.memory.errors import StorageFailed, StoreUnavailable
from graphs.memory.facts.conversation import Conversation, ExtractedFact
from graphs.memory.jobs.tasks import Timing
from graphs.memory.principal import Principal
from graphs.memory.store import health
from graphs.memory.store.health import HealthReport, PartHealth
from graphs.memory_manager import MemoryManager
from graphs.operations.operations import Operations
from tests.integration.test_memory import turn
from tests.support.postgres import OwnPostgres
from tests.support.sql import fill_disk, make_read_only, rows
from tests.support.storage_stub import StorageStub

QUEUE = "procrastinate.procrastinate"


@pytest.fixture
async def working(
    store: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MemoryManager]:
    """Yield a store with a background worker, whose health is not cached."""
    monkeypatch.setattr(health, "FRESH_SECONDS", 0)
    async with store.jobs.working():
        await until(store, "jobs", "ok")
        yield store


async def until(store: MemoryManager, part: str, status: str) -> HealthReport:
    """Wait until a part has a status, and return the report; workers start with a delay."""
    for _ in range(400):
        if (report := await store.health.check()).parts[part].status == status:
            return report
        await asyncio.sleep(0.05)
    raise AssertionError(report)


def advice(report: HealthReport, part: str) -> str:
    told = report.parts[part].advice
    assert told is not None
    return told


async def test_a_memory_that_is_well_is_ok_in_every_part(working: MemoryManager) -> None:
    report = await working.health.check()
    assert report.status == "ok"
    assert {name: part.status for name, part in report.parts.items()} == {
        "database": "ok",
        "schema": "ok",
        "embeddings": "ok",
        "jobs": "ok",
        "index": "ok",
        "audit": "ok",
        "storage": "off",
        "adapters": "off",
    }
    assert not any(part.advice for part in report.parts.values())


async def test_without_a_worker_the_jobs_are_degraded(store: MemoryManager, database: str) -> None:
    assert "MEMORY_WORKER" in advice(await store.health.check(), "jobs")


async def test_a_worker_that_died_is_missed(working: MemoryManager, database: str) -> None:
    """Plant a worker's row with an old heartbeat, as a dead worker leaves it."""
    await rows(
        database, f"UPDATE {QUEUE}_workers SET last_heartbeat = now() - interval '31 seconds'"
    )
    report = await working.health.check()
    assert report.status == "degraded"
    assert "MEMORY_WORKER" in advice(report, "jobs")


async def test_a_job_that_is_late_is_told(
    store: MemoryManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = str(uuid4())
    await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k."))
    await rows(database, f"INSERT INTO {QUEUE}_workers DEFAULT VALUES")
    assert (await store.health.check()).parts["jobs"].status == "ok"

    monkeypatch.setattr(health, "FRESH_SECONDS", 0)
    await rows(database, f"UPDATE {QUEUE}_jobs SET scheduled_at = now() - interval '301 seconds'")
    told = advice(await store.health.check(), "jobs")
    assert "has been due" in told
    assert user_id not in told


class Moody:
    is_well = False

    async def extract(self, conversation: Conversation) -> list[ExtractedFact]:
        if not self.is_well:
            raise ValueError
        return []


async def test_a_job_that_failed_is_told_until_it_is_tried_again(
    database: str, index: IndexConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 0)
    user_id = str(uuid4())
    extractor = Moody()
    options: Any = {"principal": Principal.service(), "extractor": extractor, "extract_after": 0}
    async with (
        open_pool(database) as pool,
        MemoryManager(pool, index=index, timing=Timing(attempts=1, poll=0.05), **options) as store,
    ):
        await store.write_memory(user_id, "s1", turn(user_id, "My budget is 80k."))
        await store.jobs.run_pending()
        async with store.jobs.working():
            # A live worker, without the delay of its start.
            await rows(database, f"INSERT INTO {QUEUE}_workers DEFAULT VALUES")
            told = advice(await store.health.check(), "jobs")
            assert told.startswith("Failed jobs: 1.")
            assert user_id not in told
            extractor.is_well = True
            [failed] = await store.jobs.list(status="failed")
            await store.jobs.retry(failed.id)
            assert (await until(store, "jobs", "ok")).status == "ok"


async def test_another_schema_than_that_of_the_code_is_told(
    working: MemoryManager, database: str
) -> None:
    await rows(database, "INSERT INTO memory.schema_versions (digest) VALUES ('another')")
    report = await working.health.check()
    assert report.status == "degraded"
    assert "graph-memory setup" in advice(report, "schema")


async def test_a_database_without_the_schema_cannot_be_used(empty_database: str) -> None:
    async with MemoryManager.from_conn_string(empty_database) as store:
        report = await store.health.check()
    assert report.status == "unavailable"
    assert report.parts["database"].status == "ok"
    assert "graph-memory setup" in advice(report, "schema")


async def test_another_model_than_the_configured_one_is_told(
    working: MemoryManager, database: str
) -> None:
    await rows(database, "UPDATE memory.embedding_models SET name = 'openai:other'")
    report = await working.health.check()
    assert report.status == "degraded"
    assert "openai:other" in advice(report, "embeddings")
    assert "reembed" in advice(report, "embeddings")


async def test_vectors_that_are_not_indexed_are_told(
    working: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MANY_PENDING", 1)
    for n in range(2):
        await working.aput(("users", "u1"), str(n), {"text": f"robot {n}"})
    assert "rebuild_index" in advice(await working.health.check(), "index")


async def test_records_that_nobody_seals_are_told(
    working: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "UNSEALED_SECONDS", 0)
    await working.aput(("users", "u1"), "k", {"text": "robot"})
    await working.adelete(("users", "u1"), "k")
    assert "seal_audit" in advice(await working.health.check(), "audit")
    await working.seal_audit()
    assert (await working.health.check()).parts["audit"].status == "ok"


async def test_a_database_that_is_away_makes_the_memory_unavailable_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 0)
    with OwnPostgres(tmp_path / "own") as postgres:
        async with MemoryManager.from_conn_string(postgres.url) as store:
            await store.setup()
            assert (await store.health.check()).parts["database"].status == "ok"
            postgres.stop()
            began = datetime.now(UTC)
            report = await store.health.check()
            assert report.status == "unavailable"
            assert "DATABASE_URL" in advice(report, "database")
            assert postgres.url not in report.model_dump_json()
            assert datetime.now(UTC) - began < timedelta(seconds=30)
            postgres.start()
            await until(store, "database", "ok")


async def test_a_read_only_database_is_told_and_goes_on_to_be_read(
    working: MemoryManager, database: str
) -> None:
    user, notes = str(uuid4()), ("users", "u", "notes")
    await working.write_memory(user, "s1", turn(user, "My budget is 80k.", "Noted.", "m1"))
    await working.jobs.run_pending()
    await make_read_only(database)
    with pytest.raises(StoreUnavailable, match=r"read-only.*free space") as refused:
        await working.aput(notes, "k", {"a": 1})
    assert refused.value.advice
    assert [m.content for m in await working.recall_memory(user, "budget")] == ["My budget is 80k."]
    await rows(
        database,
        f"SET TRANSACTION READ WRITE; DELETE FROM {QUEUE}_workers",
    )
    report = await until(working, "jobs", "degraded")
    assert "free space" in advice(report, "database")
    assert report.parts["jobs"].advice is None, "no server that is started could do them"
    async with MemoryManager.from_conn_string(database, index=working.index_config) as another:
        await another.setup()
        assert await another.aget(notes, "k") is None
        for check in await Operations(another).checks.verify():
            assert "migration" not in str(check.advice)
    await make_read_only(database, "off")
    await working.aput(notes, "k", {"a": 1})
    await until(working, "jobs", "ok")


async def test_a_full_disk_is_told_once_it_has_refused_a_write(
    working: MemoryManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_disk(database)
    with pytest.raises(StoreUnavailable, match=r"disk of the database is full.*Enlarge"):
        await working.aput(("users", "u", "notes"), "k", {"a": 1})
    report = await working.health.check()
    assert (report.status, report.parts["database"].status) == ("degraded", "degraded")
    assert "Enlarge the disk" in advice(report, "database")
    monkeypatch.setattr(health, "REFUSED_SECONDS", 0)
    assert (await working.health.check()).parts["database"].status == "ok"


async def test_storage_is_ok_where_there_is_one(database: str) -> None:
    async with open_pool(database) as pool:
        storage: Any = StorageStub
        async with MemoryManager(pool, supabase=storage) as store:
            assert (await store.health.check()).parts["storage"].status == "ok"


async def test_an_adapter_tells_how_it_is_and_one_that_cannot_is_degraded(
    working: MemoryManager,
) -> None:
    async def paused() -> PartHealth:
        return PartHealth(status="degraded", advice="Deliveries are paused: resume them.")

    async def broken() -> PartHealth:
        raise StorageFailed("a bucket")

    working.health.add("hosted_mem0", paused)
    working.health.add("queue", broken)
    report = await working.health.check()
    assert report.status == "degraded"
    assert report.parts["hosted_mem0"] == PartHealth(
        status="degraded", advice="Deliveries are paused: resume them."
    )
    assert advice(report, "queue") == "The state of queue cannot be told (StorageFailed)."


async def test_however_many_ask_the_database_is_looked_at_once(
    store: MemoryManager, database: str
) -> None:
    first = await store.health.check()
    await rows(database, "DROP TABLE memory.audit_seals CASCADE")
    assert await asyncio.gather(*(store.health.check() for _ in range(20))) == [first] * 20
