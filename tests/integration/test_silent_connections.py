"""Connections that go silent: no call waits for them, and nothing is stored twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.store.base import IndexConfig, Item
from procrastinate.exceptions import ConnectorException

from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.pools import open_pool
from graphs.memory.database.database import Pool
from graphs.memory.errors import StatementTimeout
from graphs.memory.principal import Principal
from graphs.memory_manager import MemoryManager
from tests.integration.test_checkpointer import conversation
from tests.support.silent_proxy import SilentProxy
from tests.support.sql import rows

NS = ("users", "u1", "notes")


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[SilentProxy]:
    async with SilentProxy(database) as proxy:
        yield proxy


@pytest.fixture
async def pool(proxy: SilentProxy) -> AsyncIterator[Pool]:
    async with open_pool(proxy.url, min_size=3, max_size=5, answer_seconds=1) as pool:
        yield pool


async def test_calls_on_silent_connections_are_answered_over_new_ones(
    proxy: SilentProxy, pool: Pool, index: IndexConfig
) -> None:
    checkpointer = PostgresCheckpointer(pool)
    graph, thread = conversation(checkpointer), {"configurable": {"thread_id": "t1"}}
    async with (
        MemoryManager(pool, index=index, principal=Principal.service()) as store,
        asyncio.timeout(30),
    ):
        await store.aput(NS, "k", {"text": "robot"})
        await graph.ainvoke({"messages": [HumanMessage("hello", id="1")]}, thread)

        proxy.go_silent()
        item, state, searched, *_, job = await asyncio.gather(
            store.aget(NS, "k"),
            checkpointer.aget_tuple(thread),  # type: ignore[arg-type]
            store.asearch(NS, query="robot"),
            store.aput(NS, "k2", {"text": "arm"}),
            store.jobs.run_pending(),
            return_exceptions=True,
        )
        assert isinstance(item, Item)
        assert item.value == {"text": "robot"}
        assert isinstance(state, CheckpointTuple)
        assert isinstance(searched, list)
        assert isinstance(job, ConnectorException | None), "a worker restarts after it"
        await store.jobs.run_pending()
        assert await store.aget(NS, "k2")


async def test_a_slow_statement_is_cancelled_and_not_repeated(
    database: str, proxy: SilentProxy, pool: Pool
) -> None:
    async with MemoryManager(pool, principal=Principal.service()) as store, asyncio.timeout(30):
        await store.aput(NS, "k", {"text": "robot"})
        async with open_pool(database) as other, other.connection() as conn, conn.transaction():
            await conn.execute("LOCK TABLE memory.memories")
            with pytest.raises(StatementTimeout):
                await store.aput(NS, "k", {"text": "arm"})
            waiting = await rows(
                database,
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock'",
            )
        found = await store.aget(NS, "k")

    assert waiting == []
    assert found is not None
    assert found.value == {"text": "robot"}


async def test_a_lost_connection_is_noticed_by_default_and_the_urls_parameters_go_first(
    proxy: SilentProxy,
) -> None:
    async def parameters(url: str) -> dict[str, str]:
        async with open_pool(url) as pool, pool.connection() as conn:
            return conn.info.get_parameters()

    found = await parameters(proxy.url)
    assert found["tcp_user_timeout"] == "10000"
    assert [found[f"keepalives_{name}"] for name in ("idle", "interval", "count")] == [
        "5",
        "2",
        "3",
    ]
    assert found["connect_timeout"] == "10"

    found = await parameters(f"{proxy.url} tcp_user_timeout=7000 keepalives_idle=9")
    assert (found["tcp_user_timeout"], found["keepalives_idle"]) == ("7000", "9")
    assert found["keepalives_count"] == "3"
