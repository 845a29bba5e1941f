"""Real chat clients: blocks of content, a checkpoint on every message, answers made again."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient

from tests.support.chat import facts
from tests.support.server import Server, sign_in


def block_message(text: str) -> Any:
    """Return a user's message as chat clients send it: with its own id, and a list of blocks."""
    return {"id": str(uuid4()), "type": "human", "content": [{"type": "text", "text": text}]}


async def turns_of(client: LangGraphClient) -> list[tuple[str, str]]:
    """Return all stored turns of the user, oldest first."""
    found = (await client.store.search_items((), filter={"type": "turn"}, limit=100))["items"]
    return [(item["value"]["role"], item["value"]["content"]) for item in reversed(found)]


async def test_content_as_blocks_is_remembered_as_text(client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await client.runs.wait(
        thread_id, "assistant", input={"messages": [block_message("My dog is called Rex.")]}
    )

    assert await facts(client) == ["My dog is called Rex."]


async def test_later_messages_with_a_checkpoint_continue_the_conversation(
    client: LangGraphClient,
) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await client.runs.wait(
        thread_id, "assistant", input={"messages": [block_message("My dog is called Rex.")]}
    )
    state = await client.threads.get_state(thread_id)

    result: Any = await client.runs.wait(
        thread_id,
        "assistant",
        input={"messages": [block_message("What is my dog called?")]},
        checkpoint=state["checkpoint"],
    )

    assert "Rex" in result["messages"][-1]["content"]
    assert len(result["messages"]) == 4


@pytest.mark.parametrize("begin_again_at", ["load_context", "respond", "write_memory"])
async def test_an_answer_made_again_takes_the_place_of_the_old_one(
    client: LangGraphClient, begin_again_at: str
) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await client.runs.wait(
        thread_id, "assistant", input={"messages": [block_message("My dog is called Rex.")]}
    )
    before = await turns_of(client)
    assert await facts(client) == ["My dog is called Rex."]

    history: Any = await client.threads.get_history(thread_id, limit=100)
    fork = next(s for s in history if s["next"] == [begin_again_at])
    await client.runs.wait(thread_id, "assistant", input=None, checkpoint=fork["checkpoint"])

    after = await turns_of(client)
    assert [role for role, _ in before] == [role for role, _ in after] == ["user", "assistant"]
    await asyncio.sleep(4)  # the job reads the turns again
    assert await facts(client) == ["My dog is called Rex."]


async def test_a_history_that_comes_along_is_read_but_not_stored_again(
    client: LangGraphClient,
) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    history: list[Any] = [
        block_message("My dog is called Rex."),
        {"type": "ai", "content": "Noted."},
    ]
    result: Any = await client.runs.wait(
        thread_id,
        "assistant",
        input={"messages": [*history, block_message("What is my dog called?")]},
    )

    assert "Rex" in result["messages"][-1]["content"]
    assert [content for role, content in await turns_of(client) if role == "user"] == [
        "What is my dog called?"
    ]


async def test_a_client_that_only_sends_an_api_key_can_put_its_token_there(server: Server) -> None:
    headers = {"X-Api-Key": sign_in()}
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
        created = await http.post("/threads", json={"metadata": {"graph_id": "assistant"}})
        found = await http.post("/threads/search", json={"metadata": {"graph_id": "assistant"}})

    assert created.status_code == httpx.codes.OK
    assert [thread["thread_id"] for thread in found.json()] == [created.json()["thread_id"]]


async def test_a_browser_on_another_origin_may_talk_to_the_server(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        preflight = await http.options(
            "/threads",
            headers={"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"},
        )

    assert preflight.status_code == httpx.codes.OK
    assert preflight.headers["access-control-allow-origin"] in ("*", "http://localhost:3000")


async def test_studio_is_told_what_can_be_configured(client: LangGraphClient) -> None:
    assistant = (await client.assistants.search(graph_id="assistant"))[0]
    schemas: Any = await client.assistants.get_schemas(assistant["assistant_id"])
    graph: Any = await client.assistants.get_graph(assistant["assistant_id"])

    assert "messages" in schemas["input_schema"]["properties"], "chat mode needs messages"
    assert set(schemas["input_schema"]["properties"]) == {"messages"}
    fields = schemas["context_schema"]["properties"]
    assert set(fields) == {
        "system_prompt",
        "model",
        "memory_limit",
        "memory_tokens",
        "message_tokens",
    }
    assert all(field["description"] for field in fields.values())
    named = [node["id"] for node in graph["nodes"]]
    assert named == ["__start__", "load_context", "respond", "write_memory", "__end__"]
