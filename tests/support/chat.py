"""Conversations with an agent over the SDK."""

import asyncio
from typing import Any

from langgraph_sdk.client import LangGraphClient


def says(text: str, **more: Any) -> dict[str, Any]:
    """Return the input of a run: one message of the user."""
    return {"messages": [{"role": "human", "content": text, **more}]}


async def talk(
    client: LangGraphClient, text: str, thread_id: str | None = None, agent: str = "assistant"
) -> str:
    """Send a message, in a new thread unless one is given, and return the answer."""
    thread_id = thread_id or (await client.threads.create())["thread_id"]
    result: Any = await client.runs.wait(thread_id, agent, input=says(text))
    return str(result["messages"][-1]["content"])


async def facts(client: LangGraphClient, count: int = 1) -> list[str]:
    """Wait until the user has `count` facts, which a job extracts, and return them."""
    found: list[Any] = []
    for _ in range(240):
        found = list(
            (await client.store.search_items((), filter={"type": "fact"}, limit=100))["items"]
        )
        if len(found) >= count:
            break
        await asyncio.sleep(0.25)
    return sorted(item["value"]["content"] for item in found)
