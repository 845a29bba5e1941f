"""Memory of concurrent, interrupted, rolled-back and cancelled runs."""

import asyncio
from typing import Any

import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError

from tests.support.chat import facts, says, talk


async def start_slow_run(client: LangGraphClient, thread_id: str, text: str) -> str:
    """Start a run that takes three seconds; return its id once it has loaded its context."""
    run = await client.runs.create(thread_id, "slow", input=says(text))
    for _ in range(100):
        state: Any = await client.threads.get_state(thread_id)
        if "respond" in state["next"]:
            return str(run["run_id"])
        await asyncio.sleep(0.1)
    raise AssertionError("the run did not start")


async def human_messages(client: LangGraphClient, thread_id: str) -> list[str]:
    state: Any = await client.threads.get_state(thread_id)
    return [m["content"] for m in state["values"]["messages"] if m["type"] == "human"]


async def test_reject_refuses_the_second_run_and_leaves_the_first_alone(
    client: LangGraphClient,
) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run_id = await start_slow_run(client, thread_id, "My first car is red.")

    with pytest.raises(ConflictError):
        await client.runs.create(
            thread_id, "assistant", input=says("Second"), multitask_strategy="reject"
        )

    await client.runs.join(thread_id, run_id)
    assert await human_messages(client, thread_id) == ["My first car is red."]


async def test_interrupt_keeps_what_was_said_and_goes_on(client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run_id = await start_slow_run(client, thread_id, "My first car is red.")

    await client.runs.wait(
        thread_id, "assistant", input=says("Second"), multitask_strategy="interrupt"
    )

    assert (await client.runs.get(thread_id, run_id))["status"] == "interrupted"
    assert await human_messages(client, thread_id) == ["My first car is red.", "Second"]


async def test_rollback_leaves_no_trace_of_the_run_it_replaces(client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await start_slow_run(client, thread_id, "My first car is red.")

    await client.runs.wait(
        thread_id, "assistant", input=says("Second"), multitask_strategy="rollback"
    )

    assert await human_messages(client, thread_id) == ["Second"]
    history = await client.threads.get_history(thread_id, limit=100)
    assert "My first car" not in str(history)


async def test_a_run_cancelled_half_way_stores_nothing_and_the_store_goes_on(
    client: LangGraphClient,
) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run_id = await start_slow_run(client, thread_id, "My first car is red.")

    await client.runs.cancel(thread_id, run_id, wait=True)

    assert (await client.store.search_items(()))["items"] == []
    await talk(client, "My second car is blue.")
    assert await facts(client) == ["My second car is blue."]
    assert "blue" in await talk(client, "what colour is my second car?")


async def test_a_copied_thread_has_the_state_of_the_original(client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await talk(client, "My first car is red.", thread_id)

    await client.threads.copy(thread_id)

    threads = await client.threads.search(metadata={"graph_id": "assistant"}, limit=10)
    copied = next(t for t in threads if t["thread_id"] != thread_id)
    assert await human_messages(client, copied["thread_id"]) == ["My first car is red."]


async def test_what_was_said_before_an_interrupt_is_remembered_by_the_next_run(
    client: LangGraphClient,
) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run = await client.runs.wait(
        thread_id,
        "assistant",
        input=says("My cat is called Tom."),
        interrupt_before=["write_memory"],
    )
    assert run
    await talk(client, "My dog is called Rex.", thread_id)

    assert await facts(client, 2) == ["My cat is called Tom.", "My dog is called Rex."]


async def test_a_run_that_jumps_over_load_context_answers_without_memories(
    client: LangGraphClient,
) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    command: Any = {"goto": "respond", "update": says("what is my budget?")}
    result: Any = await client.runs.wait(thread_id, "assistant", command=command)
    assert "do not know" in result["messages"][-1]["content"]
