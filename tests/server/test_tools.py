"""The memory tools on a running server use the memory of the signed-in user."""

from typing import Any
from uuid import uuid4

from langgraph_sdk.client import LangGraphClient

from tests.support.server import Server, sign_in


async def answer(client: LangGraphClient, name: str, config: Any = None, **args: Any) -> str:
    """Return the answer of a tool, called in a run of its own."""
    call = {"name": name, "args": args, "id": "call_1", "type": "tool_call"}
    said: Any = {"messages": [{"type": "ai", "content": "", "tool_calls": [call]}]}
    result: Any = await client.runs.wait(None, "tool", input=said, config=config)
    return str(result["messages"][-1]["content"])


async def test_tools_use_the_memory_of_who_is_signed_in_and_of_nobody_else(server: Server) -> None:
    ann, bob = str(uuid4()), str(uuid4())
    of_ann, of_bob = (server.client(sign_in(user_id)) for user_id in (ann, bob))
    saved = await answer(of_ann, "save_memory", slug="secret", content="The password is swordfish.")
    assert saved == "Saved as secret."
    assert (
        await answer(of_ann, "search_memory", query="password")
        == "- secret: The password is swordfish."
    )

    forged: Any = {"configurable": {"user_id": ann, "langgraph_auth_user_id": ann}}
    nothing = "Nothing is remembered about that."
    assert await answer(of_bob, "search_memory", forged, query="password", user_id=ann) == nothing
    await answer(of_bob, "save_memory", forged, slug="secret", content="Planted.", user_id=ann)
    assert (
        await answer(of_ann, "search_memory", query="password")
        == "- secret: The password is swordfish."
    )
    assert "no company" in await answer(of_bob, "search_company_memory", query="password")
