"""A user's memory as a LangChain retriever."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, TypedDict

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import IndexConfig

from graphs.deployment.pools import open_pool
from graphs.memory.errors import AccessDenied, InvalidInput, PrincipalRequired
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.retriever import MemoryRetriever

ANN, BOB = "a0000000-0000-4000-8000-00000000000a", "b0000000-0000-4000-8000-00000000000b"
SAID: Any = {"session_id": "s1", "agent": "sales"}


@pytest.fixture
async def store(database: str, index: IndexConfig) -> AsyncIterator[MemoryManager]:
    """Yield a store that acts for nobody by default, with a memory of Ann about robots."""
    hybrid: Any = {**index, "ranking": "hybrid"}
    async with open_pool(database) as pool, MemoryManager(pool, index=hybrid) as store:
        with acting_as(Principal.user(ANN)):
            await store.beliefs.hold(
                ANN, "Robots that weld pay for themselves.", confidence=0.7, tags=["money"], **SAID
            )
            await store.reflections.write(ANN, "Robots come up whenever money does.", **SAID)
            await store.goals.set(ANN, "Buy robots.", session_id="s2", agent="financing")
        yield store


def contents(documents: list[Document]) -> list[str]:
    return sorted(document.page_content for document in documents)


async def test_what_do_we_believe_about_robots(store: MemoryManager) -> None:
    retriever = MemoryRetriever(memory=store, types=["belief", "reflection"])
    with acting_as(Principal.user(ANN)):
        found = await retriever.ainvoke("What do we believe about robots?")
        assert contents(found) == [
            "Robots come up whenever money does.",
            "Robots that weld pay for themselves.",
        ]
        [belief] = await MemoryRetriever(memory=store, memory_tags=["money"]).ainvoke("robots")
        [goal] = await MemoryRetriever(memory=store, agent="financing").ainvoke("robots")
        [best] = await MemoryRetriever(memory=store, limit=1).ainvoke("buy")
    assert goal.page_content == best.page_content == "Buy robots."

    about = belief.metadata
    assert json.loads(json.dumps(about)) == about, "all metadata is JSON"
    assert (about["namespace"], about["type"], about["tags"]) == (
        ["users", ANN, "beliefs"],
        "belief",
        ["money"],
    )
    assert about["confidence"] == 0.7
    assert about["provenance"] == {"agent": "sales", "session_id": "s1"}
    assert 0 < about["score"] < 1.5
    assert {"similarity", "keywords"} <= about["explanation"].keys()
    assert "confidence" not in goal.metadata
    assert belief.id == f"users.{ANN}.beliefs.{about['key']}"


async def test_a_superseded_belief_is_not_retrieved(store: MemoryManager) -> None:
    with acting_as(Principal.user(ANN)):
        [old] = await store.beliefs.of(ANN)
        await store.beliefs.revise(
            ANN, old.key, "Robots that weld cost more than they earn.", **SAID
        )
        found = await MemoryRetriever(memory=store, types=["belief"]).ainvoke("robots that weld")
    assert contents(found) == ["Robots that weld cost more than they earn."]


async def test_it_is_invoked_from_other_threads_and_loops_as_whoever_acts_there(
    store: MemoryManager,
) -> None:
    retriever = MemoryRetriever(memory=store, types=["goal"])
    with acting_as(Principal.user(ANN)):
        assert contents(await asyncio.to_thread(retriever.invoke, "robots")) == ["Buy robots."]
        assert contents(await asyncio.to_thread(asyncio.run, retriever.ainvoke("robots"))) == [
            "Buy robots."
        ]
        chain = retriever | RunnableLambda(lambda documents: len(documents))
        assert await chain.ainvoke("robots") == await asyncio.to_thread(chain.invoke, "robots") == 1
        with pytest.raises(asyncio.InvalidStateError):
            retriever.invoke("robots")


async def test_nobody_retrieves_from_anothers_memory(store: MemoryManager) -> None:
    with acting_as(Principal.user(BOB)):
        assert await MemoryRetriever(memory=store).ainvoke("robots") == []
        with pytest.raises(AccessDenied):
            await MemoryRetriever(memory=store, user_id=ANN).ainvoke("robots")
    with pytest.raises(PrincipalRequired):
        await MemoryRetriever(memory=store).ainvoke("robots")
    with acting_as(Principal.service()):
        with pytest.raises(PrincipalRequired):
            await MemoryRetriever(memory=store).ainvoke("robots")
        assert len(await MemoryRetriever(memory=store, user_id=ANN).ainvoke("robots")) == 3
    with acting_as(Principal.user(ANN)), pytest.raises(InvalidInput):
        await MemoryRetriever(memory=store, types=["opinion"]).ainvoke("robots")


class State(TypedDict, total=False):
    found: list[Document]


async def test_in_a_node_it_tells_which_run_wrote_what_it_found(store: MemoryManager) -> None:
    async def node(state: State, runtime: Runtime[Any]) -> State:
        assert isinstance(runtime.store, MemoryManager)
        await runtime.store.goals.set(ANN, "Weld at night.", **SAID)
        return {
            "found": await MemoryRetriever(memory=runtime.store, types=["goal"]).ainvoke(
                "weld at night"
            )
        }

    graph = (
        StateGraph(State)
        .add_node(node)
        .add_edge(START, "node")
        .add_edge("node", END)
        .compile(store=store)
    )
    with acting_as(Principal.user(ANN)):
        result = await graph.ainvoke({})
        [receipt] = await store.recall_receipts(ANN)
    [found] = [d for d in result["found"] if d.page_content == "Weld at night."]
    assert found.metadata["provenance"]["task_id"]
    assert receipt.query == "weld at night"
