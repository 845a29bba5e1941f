"""Thread state: LangGraph's conformance suite, and our additions to its checkpointer."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph

from graphs.checkpointer import PostgresCheckpointer, delete_runs_only_in
from graphs.deployment.pools import open_pool
from graphs.memory.errors import InvalidInput
from tests.support.pools import SlowToTakeBack
from tests.support.sql import cut_connections, rows


@pytest.fixture
async def checkpointer(database: str) -> AsyncIterator[PostgresCheckpointer]:
    async with open_pool(database) as pool:
        yield PostgresCheckpointer(pool)


async def test_it_conforms_with_every_capability(database: str) -> None:
    @checkpointer_test(name="PostgresCheckpointer")
    async def ours() -> AsyncGenerator[BaseCheckpointSaver[Any], None]:
        async with open_pool(database) as pool:
            yield PostgresCheckpointer(pool)

    report = await validate(ours)

    results = report.results
    assert len(results) == 8
    failed = {name: result.failures for name, result in results.items() if not result.passed}
    assert failed == {}
    assert all(result.detected for result in results.values())


def conversation(checkpointer: PostgresCheckpointer) -> Any:
    """Return a graph that answers, to make real checkpoints."""

    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"You said {state['messages'][-1].content}.")]}

    builder = StateGraph(MessagesState).add_node("answer", answer)
    return (
        builder.add_edge(START, "answer").add_edge("answer", END).compile(checkpointer=checkpointer)
    )


def on_thread(thread_id: str, **more: Any) -> Any:
    return {"configurable": {"thread_id": thread_id, **more}}


async def test_idle_threads_keep_their_last_state_only(
    checkpointer: PostgresCheckpointer, database: str
) -> None:
    graph = conversation(checkpointer)
    for thread in ("idle", "used"):
        for text in ("one", "two"):
            await graph.ainvoke({"messages": [HumanMessage(text)]}, on_thread(thread))
    old = "'0' || right(checkpoint_id, -1)"  # an id of long ago
    for table in ("checkpoints", "checkpoint_writes"):
        await rows(
            database,
            f"UPDATE langgraph.{table} SET checkpoint_id = {old} WHERE thread_id = 'idle'",
        )
    before = await graph.aget_state(on_thread("idle"))

    assert await checkpointer.prune_idle(1) == 1
    assert await checkpointer.prune_idle(1) == 0, "nothing is left to do"

    assert (await graph.aget_state(on_thread("idle"))).values == before.values
    assert len([c async for c in checkpointer.alist(on_thread("idle"))]) <= 2
    assert len([c async for c in checkpointer.alist(on_thread("used"))]) == 6
    said = await graph.ainvoke({"messages": [HumanMessage("three")]}, on_thread("idle"))
    assert [m.content for m in said["messages"]][::2] == ["one", "two", "three"]


async def test_deleting_a_run_leaves_the_thread_as_it_was_before(
    checkpointer: PostgresCheckpointer, database: str
) -> None:
    graph = conversation(checkpointer)
    await graph.ainvoke(
        {"messages": [HumanMessage("one")]}, on_thread("t") | {"metadata": {"run_id": "run-a"}}
    )
    before = (await graph.aget_state(on_thread("t"))).values
    blobs = await rows(database, "SELECT count(*) AS n FROM langgraph.checkpoint_blobs")
    await graph.ainvoke(
        {"messages": [HumanMessage("two")]}, on_thread("t") | {"metadata": {"run_id": "run-b"}}
    )

    await checkpointer.adelete_for_runs(["run-b"])

    assert (await graph.aget_state(on_thread("t"))).values == before
    assert await rows(database, "SELECT count(*) AS n FROM langgraph.checkpoint_blobs") == blobs
    writes = await rows(
        database,
        """SELECT 1 FROM langgraph.checkpoint_writes AS w WHERE NOT EXISTS (
          SELECT 1 FROM langgraph.checkpoints AS c WHERE c.checkpoint_id = w.checkpoint_id)""",
    )
    assert writes == []


async def test_nothing_of_a_run_that_was_rolled_back_comes_after(
    checkpointer: PostgresCheckpointer, database: str
) -> None:
    """Delete a cancelled run while LangGraph still writes its results."""
    graph = conversation(checkpointer)
    for round_ in range(20):
        config = on_thread("t") | {"metadata": {"run_id": f"run-{round_}"}}
        run = asyncio.create_task(graph.ainvoke({"messages": [HumanMessage("hi")]}, config))
        await asyncio.sleep(round_ * 0.001)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await checkpointer.adelete_for_runs([f"run-{round_}"])
    await asyncio.sleep(0.3)
    assert await rows(database, "SELECT checkpoint_id FROM langgraph.checkpoints") == []
    assert await checkpointer.aget_tuple(on_thread("t")) is None


async def test_a_run_that_is_named_in_a_thread_of_anothers_is_not_stopped(
    checkpointer: PostgresCheckpointer,
) -> None:
    """Delete a run in another thread, as the server does before it checks the owner of the run."""
    config = on_thread("hers", checkpoint_ns="") | {"metadata": {"run_id": "run-a"}}
    await asyncio.create_task(deleting(checkpointer, "mine", "run-a"))
    await checkpointer.aput(config, empty_checkpoint(), {"source": "input", "step": 0}, {})
    assert await checkpointer.aget_tuple(config)


async def deleting(checkpointer: PostgresCheckpointer, thread_id: str, run_id: str) -> None:
    delete_runs_only_in(thread_id)
    await checkpointer.adelete_for_runs([run_id])


async def test_a_copy_goes_its_own_way(checkpointer: PostgresCheckpointer) -> None:
    graph = conversation(checkpointer)
    await graph.ainvoke({"messages": [HumanMessage("one")]}, on_thread("source"))
    await checkpointer.acopy_thread("source", "target")
    await graph.ainvoke({"messages": [HumanMessage("two")]}, on_thread("target"))

    assert len((await graph.aget_state(on_thread("source"))).values["messages"]) == 2
    assert len((await graph.aget_state(on_thread("target"))).values["messages"]) == 4
    history = [state async for state in graph.aget_state_history(on_thread("target"))]
    assert {state.config["configurable"]["thread_id"] for state in history} == {"target"}


async def test_pruning_keeps_the_latest_state_and_nothing_else(
    checkpointer: PostgresCheckpointer, database: str
) -> None:
    graph = conversation(checkpointer)
    for text in ("one", "two", "three"):
        await graph.ainvoke({"messages": [HumanMessage(text)]}, on_thread("t"))
    latest = (await graph.aget_state(on_thread("t"))).values

    await checkpointer.aprune(["t"])

    assert (await graph.aget_state(on_thread("t"))).values == latest
    assert len(await rows(database, "SELECT 1 FROM langgraph.checkpoints")) == 1
    await graph.ainvoke({"messages": [HumanMessage("four")]}, on_thread("t"))
    assert len((await graph.aget_state(on_thread("t"))).values["messages"]) == 8

    await checkpointer.aprune(["t"], strategy="delete_all")
    for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
        assert await rows(database, f"SELECT 1 FROM langgraph.{table}") == []
    with pytest.raises(ValueError, match="strategy"):
        await checkpointer.aprune(["t"], strategy="some")


async def test_many_threads_at_once(checkpointer: PostgresCheckpointer) -> None:
    graph = conversation(checkpointer)
    await asyncio.gather(
        *(
            graph.ainvoke({"messages": [HumanMessage(f"{n}")]}, on_thread(f"t{n}"))
            for n in range(30)
        )
    )
    states = await asyncio.gather(*(graph.aget_state(on_thread(f"t{n}")) for n in range(30)))
    assert [state.values["messages"][-1].content for state in states] == [
        f"You said {n}." for n in range(30)
    ]


async def test_it_goes_on_after_its_connections_were_cut(
    checkpointer: PostgresCheckpointer, database: str
) -> None:
    graph = conversation(checkpointer)
    await graph.ainvoke({"messages": [HumanMessage("one")]}, on_thread("t"))
    await cut_connections(database)
    await graph.ainvoke({"messages": [HumanMessage("two")]}, on_thread("t"))
    assert len((await graph.aget_state(on_thread("t"))).values["messages"]) == 4


async def test_several_processes_may_set_it_up_at_once(empty_database: str) -> None:
    async def one() -> None:
        async with open_pool(empty_database) as pool:
            await PostgresCheckpointer(pool).setup()

    await asyncio.gather(*(one() for _ in range(4)))
    versions = await rows(
        empty_database, "SELECT v FROM langgraph.checkpoint_migrations ORDER BY v"
    )
    assert [row["v"] for row in versions] == list(range(len(PostgresCheckpointer.MIGRATIONS)))


async def test_listing_holds_no_connection_while_its_reader_works(database: str) -> None:
    async with open_pool(database, max_size=1) as pool:
        checkpointer = PostgresCheckpointer(pool)
        graph = conversation(checkpointer)
        await graph.ainvoke({"messages": [HumanMessage("one")]}, on_thread("t"))
        async with asyncio.timeout(10):
            async for found in checkpointer.alist(on_thread("t")):
                assert await checkpointer.aget_tuple(found.config) is not None


async def test_cancelling_a_run_never_costs_a_connection(database: str) -> None:
    async with open_pool(database, max_size=1) as pool:
        slow = SlowToTakeBack(pool)
        reading = asyncio.create_task(PostgresCheckpointer(slow).aget_tuple(on_thread("t")))
        await slow.giving_back.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert reading.cancelled()
        async with asyncio.timeout(5), pool.connection():
            pass


async def test_cancelling_runs_at_any_moment_leaves_a_checkpointer_that_works(
    checkpointer: PostgresCheckpointer,
) -> None:
    graph = conversation(checkpointer)
    say = {"messages": [HumanMessage("hi")]}
    for round_ in range(20):
        runs = [asyncio.create_task(graph.ainvoke(say, on_thread(f"t{n}"))) for n in range(6)]
        await asyncio.sleep(round_ * 0.001)
        for run in runs[::2]:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
    async with asyncio.timeout(20):
        await asyncio.gather(*(graph.ainvoke(say, on_thread(f"u{n}")) for n in range(4)))


async def test_a_checkpoint_that_cannot_be_stored_leaves_nothing_of_itself(
    checkpointer: PostgresCheckpointer, database: str
) -> None:
    """Send an invalid checkpoint after its channels, in the same transaction."""
    checkpoint = empty_checkpoint() | {
        "channel_values": {"list": ["kept apart"]},
        "channel_versions": {"list": "1"},
    }
    config = on_thread("t", checkpoint_ns="")
    unstorable: Any = {"source": "input", "step": 0, "said": "\ud800"}
    with pytest.raises(InvalidInput):
        await checkpointer.aput(config, checkpoint, unstorable, {"list": "1"})
    assert await rows(database, "SELECT channel FROM langgraph.checkpoint_blobs") == []

    await checkpointer.aput(config, checkpoint, {"source": "input", "step": 0}, {"list": "1"})
    stored = await checkpointer.aget_tuple(config)
    assert stored
    assert stored.checkpoint["channel_values"] == {"list": ["kept apart"]}


async def test_what_serialises_state_keeps_nobody_from_a_connection(database: str) -> None:
    """Use one connection: a put during the serialisation of another must not wait."""

    class Serialising(JsonPlusSerializer):
        """A serializer that waits until the other put is stored."""

        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            if obj == ["slow"]:
                assert other.result(timeout=10) is None
            return super().dumps_typed(obj)

    async with open_pool(database, max_size=1) as pool:
        checkpointer = PostgresCheckpointer(pool, serde=Serialising())
        config = on_thread("t", checkpoint_ns="", checkpoint_id="1")
        put = checkpointer.aput_writes(config, [("channel", "quick")], "task")
        other = asyncio.run_coroutine_threadsafe(put, asyncio.get_running_loop())
        slow = empty_checkpoint() | {
            "channel_values": {"list": ["slow"]},
            "channel_versions": {"list": "1"},
        }
        await checkpointer.aput(config, slow, {"source": "input", "step": 0}, {"list": "1"})
    for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
        assert len(await rows(database, f"SELECT thread_id FROM langgraph.{table}")) == 1


@pytest.mark.parametrize(
    "kept",
    [b"", b"raw \0 bytes", bytearray(b"\\x41 \0 mutable"), "é" * 700_000, {"deep": [1, None]}],
)
async def test_state_comes_back_as_it_was(checkpointer: PostgresCheckpointer, kept: Any) -> None:
    config, checkpoint = on_thread("t", checkpoint_ns=""), empty_checkpoint()
    checkpoint |= {
        "channel_values": {"kept": [kept], "alone": kept},
        "channel_versions": {"kept": "1", "alone": "1"},
    }
    put = await checkpointer.aput(
        config, checkpoint, {"source": "input", "step": 0}, {"kept": "1", "alone": "1"}
    )
    await checkpointer.aput_writes(put, [("kept", kept)], "task")
    stored = await checkpointer.aget_tuple(config)
    assert stored
    assert stored.checkpoint["channel_values"] == {"kept": [kept], "alone": kept}
    assert type(stored.checkpoint["channel_values"]["alone"]) is type(kept)
    assert stored.pending_writes == [("task", "kept", kept)]
