"""Thread state: LangGraph's conformance suite, and our additions to its checkpointer."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.utils.uuid import uuid7
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph
from typing_extensions import TypedDict

from graphs.checkpointer import PostgresCheckpointer, delete_runs_only_in
from graphs.checkpoints.idle import prune_idle
from graphs.deployment.development_server import DeletionJournal
from graphs.deployment.pools import open_pool
from graphs.memory.database.database import Database
from graphs.memory.errors import InvalidInput, RunDeleted
from graphs.memory_manager import MemoryManager
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


def conversation(checkpointer: PostgresCheckpointer, until: asyncio.Event | None = None) -> Any:
    """Return a graph that answers, to make real checkpoints; if asked, not before an event."""

    async def answer(state: MessagesState) -> dict[str, Any]:
        if until:
            await until.wait()
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

    assert await prune_idle(checkpointer, Database(checkpointer.pool), 1) == 1
    assert await prune_idle(checkpointer, Database(checkpointer.pool), 1) == 0, (
        "nothing is left to do"
    )

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


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later, from a journal"])
async def test_a_deleted_thread_does_not_come_back(
    database: str, tmp_path: Path, later: bool
) -> None:
    """Delete 30 threads while their first answer is under way."""
    threads = [f"t{n}" for n in range(30)]
    async with open_pool(database) as pool:
        journal = DeletionJournal(tmp_path / "journal") if later else None
        checkpointer = PostgresCheckpointer(pool, journal=journal)
        answering = asyncio.Event()
        graph = conversation(checkpointer, until=answering)
        runs = [
            asyncio.create_task(
                graph.ainvoke(
                    {"messages": [HumanMessage("hi")]},
                    on_thread(thread) | {"metadata": {"run_id": f"run-{thread}"}},
                )
            )
            for thread in threads
        ]
        await asyncio.sleep(0.2)
        await asyncio.gather(*(checkpointer.adelete_thread(thread) for thread in threads))
        answering.set()
        await asyncio.gather(*runs)
        if checkpointer.deletions:
            await checkpointer.deletions.wait_for_all()
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            assert await rows(database, f"SELECT thread_id FROM langgraph.{table}") == []

        # A thread of the same name may begin again.
        state = await graph.ainvoke(
            {"messages": [HumanMessage("again")]},
            on_thread("t0") | {"metadata": {"run_id": "another"}},
        )
        assert state == (await graph.aget_state(on_thread("t0"))).values
        assert [message.content for message in state["messages"]] == ["again", "You said again."]


async def test_with_a_journal_deleting_a_thread_never_suspends_and_survives_a_crash(
    database: str, tmp_path: Path
) -> None:
    path = tmp_path / "of the server" / "journal"
    async with open_pool(database) as pool:
        graph = conversation(PostgresCheckpointer(pool))
        for thread in ("kept", "deleted"):
            await graph.ainvoke({"messages": [HumanMessage("one")]}, on_thread(thread))
        server = PostgresCheckpointer(pool, journal=DeletionJournal(path))
        before = asyncio.all_tasks()
        with pytest.raises(StopIteration):  # it returned before it was suspended
            server.adelete_thread("deleted").send(None)
        for task in asyncio.all_tasks() - before:
            task.cancel()  # as a crash does, before anything was deleted
        await asyncio.sleep(0)

        after = PostgresCheckpointer(pool, journal=DeletionJournal(path))
        assert after.deletions
        after.deletions.resume()
        assert await after.aget_tuple(on_thread("deleted")) is None
        assert await after.aget_tuple(on_thread("kept")) is not None
        await after.deletions.wait_for_all()
    assert path.read_text() == ""


async def test_what_a_deleted_run_remembers_is_refused(database: str) -> None:
    """Delete the thread of a run that then writes to memory, as `write_memory` would."""
    async with MemoryManager.from_conn_string(database) as store, open_pool(database) as pool:
        checkpointer = PostgresCheckpointer(pool)

        async def remember(_: Any) -> dict[str, Any]:
            await store.aput(("before",), "key", {"of": "the run"})
            await checkpointer.adelete_thread("t")
            await store.aput(("after",), "key", {"of": "the run"})
            return {}

        untyped: Any = StateGraph(MessagesState)
        builder = untyped.add_node("remember", remember)
        graph = builder.add_edge(START, "remember").compile(checkpointer=checkpointer, store=store)
        config = on_thread("t") | {"metadata": {"run_id": "run-a"}, "run_id": "run-a"}
        with pytest.raises(RunDeleted):
            await graph.ainvoke({"messages": [HumanMessage("hi")]}, config)
        assert await store.aget(("before",), "key")
        assert await store.aget(("after",), "key") is None
        assert await rows(database, "SELECT thread_id FROM langgraph.checkpoints") == []


class Differences(TypedDict):
    items: Annotated[list[str], DeltaChannel(lambda items, writes: [*items, *chain(*writes)])]


async def test_a_run_that_later_runs_build_upon_by_differences_is_not_deleted(
    checkpointer: PostgresCheckpointer,
) -> None:
    """Delete runs of a thread with a DeltaChannel: the last one goes, an earlier one does not."""

    def answer(state: Differences) -> dict[str, Any]:
        return {"items": [f"{len(state['items'])}"]}

    untyped: Any = StateGraph(Differences)
    builder = untyped.add_node("answer", answer)
    graph = builder.add_edge(START, "answer").compile(checkpointer=checkpointer)
    for run in ("a", "b"):
        await graph.ainvoke({"items": [run]}, on_thread("t") | {"metadata": {"run_id": run}})

    with pytest.raises(InvalidInput, match="Delete the later runs first"):
        await checkpointer.adelete_for_runs(["a"])
    assert (await graph.aget_state(on_thread("t"))).values == {"items": ["a", "1", "b", "3"]}
    await checkpointer.adelete_for_runs(["b"])
    assert (await graph.aget_state(on_thread("t"))).values == {"items": ["a", "1"]}
    await graph.ainvoke({"items": ["c"]}, on_thread("t") | {"metadata": {"run_id": "c"}})
    assert (await graph.aget_state(on_thread("t"))).values == {"items": ["a", "1", "c", "3"]}
    await checkpointer.adelete_for_runs(["a", "c"])
    assert await checkpointer.aget_tuple(on_thread("t")) is None


@pytest.mark.parametrize("killed", [False, True], ids=["after its end", "before its answer"])
async def test_a_run_that_is_carried_out_again_is_in_its_thread_once(
    database: str, killed: bool
) -> None:
    """Do as a server does that did not note a run's end before it crashed."""

    class Killed(BaseException):
        """An end that no graph handles, as by kill -9."""

    kill = False

    async def answer(_: MessagesState) -> dict[str, Any]:
        if kill:
            raise Killed
        return {"messages": [AIMessage("Hello.")]}

    untyped: Any = StateGraph(MessagesState)
    builder = untyped.add_node("answer", answer).add_edge(START, "answer")

    async with open_pool(database) as pool:

        async def run(run_id: str, text: str) -> list[str]:
            """Run on a server that has just started."""
            graph = builder.compile(checkpointer=PostgresCheckpointer(pool))
            config = on_thread("t") | {"metadata": {"run_id": run_id}}
            say = {"messages": [{"role": "user", "content": text}]}
            return [m.content for m in (await graph.ainvoke(say, config))["messages"]]

        first, second = str(UUID(int=1)), str(UUID(int=2))
        await run(first, "One.")
        kill = killed
        with suppress(Killed):
            await run(second, "Two.")
        kill = False
        assert await run(second, "Two.") == ["One.", "Hello.", "Two.", "Hello."]
        assert await run(first, "One.") == ["One.", "Hello."], "its own end, and nothing done twice"
        assert await run(str(uuid7()), "Three.") == [
            *("One.", "Hello.", "Two.", "Hello."),
            *("Three.", "Hello."),
        ]


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
