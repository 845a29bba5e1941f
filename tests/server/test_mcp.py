"""The memory's MCP tools on a running server with sign-in, beside LangGraph's own `/mcp`."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx

from graphs.api.mcp import PATH
from tests.support.chat import facts, talk
from tests.support.mcp_client import mcp_client, text
from tests.support.server import Server, sign_in


async def test_two_people_with_any_mcp_client_each_use_the_memory_that_their_agents_have(
    server: Server,
) -> None:
    ann, bob = sign_in(str(uuid4())), sign_in(str(uuid4()))
    agent = server.client(ann)
    await talk(agent, "My budget is 80k for a welding robot.")
    assert await facts(agent)

    async with (
        mcp_client(server.url, ann) as of_ann,
        mcp_client(server.url, bob, mode="legacy") as of_bob,
    ):
        found, nothing = await asyncio.gather(
            *(
                client.call_tool("search_memory", {"query": "what is the budget?"})
                for client in (of_ann, of_bob)
            )
        )
        assert "80k" in text(found)
        assert text(nothing) == "Nothing is remembered about that."
        fact: Any = found.structured_content["memories"][0]
        why: Any = await of_ann.call_tool("explain_memory", {"id": fact["id"]})
        assert (why.structured_content["agent"], why.structured_content["recall"]["query"]) == (
            "assistant",
            "what is the budget?",
        )
        assert (
            why.structured_content["turns"][0]["content"] == "My budget is 80k for a welding robot."
        )

        for tool in ("explain_memory", "forget_memory"):
            refused = await of_bob.call_tool(tool, {"id": fact["id"]})
            assert refused.is_error
            assert "80k" not in text(refused)
        await of_bob.call_tool("save_memory", {"content": "Bob's budget is 5k.", "slug": "budget"})
        assert "5k" not in text(
            await of_ann.call_tool("search_memory", {"query": "budget", "limit": 20})
        )

        await of_ann.call_tool("forget_memory", {"id": fact["id"]})
        assert "80k" not in text(await of_ann.call_tool("search_memory", {"query": "budget"}))


async def test_strangers_are_refused_and_told_how_to_sign_in(server: Server) -> None:
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    forged = sign_in(aud="somebody else")
    async with httpx.AsyncClient(base_url=server.url) as http:
        for headers in ({}, {"Authorization": f"Bearer {forged}"}, {"X-Api-Key": "x"}):
            refused = await http.post(PATH, json=listing, headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        key = {"X-Api-Key": sign_in()}
        assert "forget_memory" in (await http.post(PATH, json=listing, headers=key)).text
        theirs = await http.post(
            "/mcp", json=listing, headers=key | {"Accept": "application/json, text/event-stream"}
        )
        assert "assistant" in theirs.text, (
            "the LangGraph server's own tools are its graphs, and still exist"
        )
