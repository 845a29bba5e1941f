"""An agent remembers its user across threads, restarts and clients."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import PermissionDeniedError

from tests.support.chat import facts, says, talk
from tests.support.server import Server, sign_in


async def test_a_run_begins_with_load_context_and_ends_with_write_memory(
    client: LangGraphClient,
) -> None:
    thread = await client.threads.create()

    nodes, tokens = [], []
    async for part in client.runs.stream(
        thread["thread_id"],
        "assistant",
        input=says("My budget is 80k."),
        stream_mode=["updates", "messages-tuple"],
    ):
        data: Any = part.data
        if part.event == "updates":
            nodes += list(data)
        elif part.event.startswith("messages"):
            tokens.append(data[0]["content"])

    assert nodes == ["load_context", "respond", "write_memory"]
    assert len(tokens) > 5, "the answer is streamed in parts"
    assert "offline model" in "".join(tokens), "the model says that it is the offline model"


async def test_a_second_thread_knows_what_the_first_one_was_told(client: LangGraphClient) -> None:
    await talk(client, "My budget is 80k for a welding robot.")
    await facts(client)
    assert "80k" in await talk(client, "what is my budget?")


async def test_another_user_knows_nothing_of_it(client: LangGraphClient, server: Server) -> None:
    await talk(client, "My budget is 80k for a welding robot.")
    assert await facts(client)
    stranger = server.client(sign_in())
    assert "80k" not in await talk(stranger, "what is my budget?")


async def test_the_caller_cannot_choose_whose_memory_it_is(
    client: LangGraphClient, server: Server
) -> None:
    victim_id = str(uuid4())
    victim = server.client(sign_in(victim_id))
    await talk(victim, "My budget is 80k for a welding robot.")
    assert await facts(victim)
    thread = await client.threads.create()

    for name in ("user_id", "identity", "langgraph_auth_user_id"):
        result: Any = await client.runs.wait(
            thread["thread_id"],
            "assistant",
            input={**says("what is my budget?"), "user_id": victim_id},
            config={"configurable": {name: victim_id}},
        )
        assert result["memory"]["user_id"] != victim_id
        assert "80k" not in str(result)


async def test_the_store_routes_see_the_same_memories(client: LangGraphClient) -> None:
    await talk(client, "My favourite colour is teal.")
    await facts(client)

    found = await client.store.search_items((), query="favourite colour", filter={"type": "fact"})

    fact = found["items"][0]
    assert fact["value"]["content"] == "My favourite colour is teal."
    item = await client.store.get_item(fact["namespace"], fact["key"])
    assert item["value"] == fact["value"]
    namespaces = await client.store.list_namespaces(prefix=["users"])
    assert fact["namespace"] in namespaces["namespaces"]


async def test_the_store_routes_refuse_what_belongs_to_another(
    client: LangGraphClient, server: Server
) -> None:
    stranger_id = str(uuid4())
    stranger = server.client(sign_in(stranger_id))
    await stranger.store.put_item(["users", stranger_id, "notes"], "n", {"secret": "swordfish"})

    assert await client.store.get_item(["users", stranger_id, "notes"], "n") is None
    with pytest.raises(PermissionDeniedError):
        await client.store.put_item(["users", stranger_id, "notes"], "n", {"secret": "mine now"})
    assert "swordfish" not in str(await client.store.search_items(()))
    assert "swordfish" not in str(await client.store.search_items(("users", stranger_id)))


async def test_twenty_runs_at_once_all_succeed(client: LangGraphClient) -> None:
    answers = await asyncio.gather(
        *(talk(client, f"My robot number {n} is called R{n}.") for n in range(20))
    )

    assert len(answers) == 20
    assert len(await facts(client, 20)) == 20


async def test_recent_turns_are_in_the_state_of_the_next_run(client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await talk(client, "My name is Ada.", thread_id)
    result: Any = await client.runs.wait(thread_id, "assistant", input=says("And what now?"))

    turns = [(turn["role"], turn["content"]) for turn in result["memory"]["turns"]]
    assert turns[0] == ("user", "My name is Ada.")
    assert turns[1][0] == "assistant"
    assert result["written"]["memories"], "the state names the memories written by the run"


async def test_a_conversation_of_ten_turns_becomes_facts_that_are_true_and_name_their_turns(
    client: LangGraphClient,
) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    for text in (
        "Hello! My name is Ada.",
        "My budget is 80k for a welding robot.",
        "My brother's budget is 50k.",
        "What can you tell me about welding?",
        "I like tea.",
        "I like coffee, too.",
        "my budget is 80,000 for a welding robot",
        "Actually, my budget is 120k for a welding robot.",
        "In 2019 I lived in Rome.",
        "I like tea!",
    ):
        await talk(client, text, thread_id)

    expected = {
        "My brother's budget is 50k.",
        "I like coffee, too.",
        "In 2019 I lived in Rome.",
        "My name is Ada.",
    }
    for _ in range(120):
        found = (await client.store.search_items((), filter={"type": "fact"}, limit=100))["items"]
        values = {item["value"]["content"]: item["value"] for item in found}
        if (
            any("120k" in text for text in values)
            and expected <= values.keys()
            and len(values["I like tea."]["sources"]) > 1
        ):
            break
        await asyncio.sleep(0.25)
    assert values.keys() - expected == {
        "Actually, my budget is 120k for a welding robot.",
        "I like tea.",
    }
    turns = (await client.store.search_items((), filter={"type": "turn"}, limit=100))["items"]
    exchanges = {item["key"].partition(":")[0] for item in turns}
    assert all(
        source["exchange"] in exchanges for value in values.values() for source in value["sources"]
    )
    assert "120k" in await talk(client, "what is my budget?")


async def test_a_call_of_the_store_reads_as_of_the_time_in_its_header(
    client: LangGraphClient,
) -> None:
    """4.5: every method of the SDK's store takes headers."""
    scope = ("users", (await client.http.get("/memory/me"))["user_id"], "notes")
    await client.store.put_item(scope, "tea", {"content": "Likes tea."})
    then = (await client.store.get_item(scope, "tea"))["updated_at"]
    await client.store.put_item(scope, "tea", {"content": "Likes coffee."})
    headers = {"Memory-As-Of": str(then)}
    item = await client.store.get_item(scope, "tea", headers=headers)
    assert item["value"]["content"] == "Likes tea."
    found = await client.store.search_items(scope, headers=headers)
    assert [item["value"]["content"] for item in found["items"]] == ["Likes tea."]
    assert (await client.store.get_item(scope, "tea"))["value"]["content"] == "Likes coffee."


async def test_a_fork_over_the_sdk_reads_the_past_and_moves_the_head(
    client: LangGraphClient,
) -> None:
    """1.1, 3.1, 6.1: edit a message of a thread, as chat clients do."""
    thread_id = (await client.threads.create())["thread_id"]
    await talk(client, "My budget is 80k.", thread_id)
    assert await facts(client) == ["My budget is 80k."]
    end = (await client.threads.get_state(thread_id))["checkpoint"]
    await talk(client, "My dog is called Rex.", thread_id)
    assert len(await facts(client, 2)) == 2
    result: Any = await client.runs.wait(
        thread_id,
        "assistant",
        input=says("What do you know?"),
        checkpoint_id=end["checkpoint_id"],
    )
    known = [memory["content"] for memory in result["memory"]["memories"]]
    assert "My budget is 80k." in known
    assert "My dog is called Rex." not in known
    assert result["memory"]["as_of"]
    runs = (await client.http.get(f"/memory/runs?thread_id={thread_id}"))["items"]
    assert [run["status"] for run in runs] == ["kept", "left", "kept"]
    assert await facts(client) == ["My budget is 80k."]


async def test_a_run_that_is_deleted_never_happened(client: LangGraphClient) -> None:
    """2.1, 2.3, 2.7: over the server's own API."""
    thread_id = (await client.threads.create())["thread_id"]
    await talk(client, "My budget is 80k.", thread_id)
    assert await facts(client) == ["My budget is 80k."]
    await talk(client, "My budget is 120k now.", thread_id)
    for _ in range(40):
        if await facts(client) == ["My budget is 120k now."]:
            break
        await asyncio.sleep(0.25)
    [run, _] = await client.runs.list(thread_id)
    await client.runs.delete(thread_id, run["run_id"])
    assert await facts(client) == ["My budget is 80k."]
    turns = (await client.http.get(f"/memory/sessions/{thread_id}/turns"))["items"]
    assert "120k" not in str(turns)
