"""The memory's MCP tools: the SDK's client, the app in this process, and a real database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI, Request
from langgraph.store.base import IndexConfig

from graphs.api import mcp
from graphs.api.limits import Limits
from graphs.api.principals import NotSignedIn
from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.pools import open_pool
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.principal import Principal, acting_as
from graphs.memory.values.ids import to_id
from graphs.memory_manager import MemoryManager
from tests.support.branching import Thread
from tests.support.mcp_client import mcp_client, text

URL = "http://127.0.0.1:8000"
MODES = ("auto", "legacy")
"""Both generations of the protocol: single requests, and a handshake before them."""


async def by_token(request: Request) -> Principal:
    """Sign in with a user's id as the token."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token == "service":
        return Principal.service()
    try:
        return Principal.user(str(UUID(token)))
    except ValueError:
        raise NotSignedIn("Sign in.") from None


@pytest.fixture
async def store(database: str, index: IndexConfig) -> AsyncIterator[MemoryManager]:
    """Yield a store that acts for nobody by default, like that of a deployment."""
    ranked: Any = {**index, "ranking": "hybrid"}
    async with open_pool(database) as pool, MemoryManager(pool, index=ranked) as store:
        yield store


@asynccontextmanager
async def serving(store: MemoryManager) -> AsyncIterator[FastAPI]:
    """Yield an app with the tools; not a fixture, since the SDK must be closed by the same task."""
    app = FastAPI()
    app.state.principal_of = by_token
    app.router.routes.append(mcp.route)
    async with mcp.serving(store, Limits()) as app.state.mcp:
        yield app


async def test_a_model_is_told_what_the_tools_are_for_what_they_take_and_what_they_do(
    store: MemoryManager,
) -> None:
    async with serving(store) as app, mcp_client(URL, str(uuid4()), app=app) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert "memory" in (client.instructions or "")
    assert tools.keys() == {"search_memory", "save_memory", "forget_memory", "explain_memory"}
    hints = {name: tool.annotations for name, tool in tools.items() if tool.annotations}
    assert {name for name, hint in hints.items() if hint.read_only_hint} == {
        "search_memory",
        "explain_memory",
    }
    assert {name for name, hint in hints.items() if hint.destructive_hint} == {"forget_memory"}
    for tool in tools.values():
        assert tool.description
        assert tool.output_schema
        assert "user" not in str(tool.input_schema["properties"].keys()), (
            "no tool takes a user, so no model can name one"
        )
        assert all(
            "description" in argument for argument in tool.input_schema["properties"].values()
        )


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_saved_is_found_explained_and_forgotten(
    store: MemoryManager, mode: str
) -> None:
    async with serving(store) as app, mcp_client(URL, str(uuid4()), app=app, mode=mode) as client:

        async def call(tool: str, **arguments: Any) -> tuple[Any, str]:
            result: Any = await client.call_tool(tool, arguments)
            assert not result.is_error, text(result)
            return result.structured_content, text(result)

        first, said = await call(
            "save_memory", content="She likes green tea.", slug="favourite_drink"
        )
        assert (first["outcome"], said) == (
            "created",
            f"Saved as favourite_drink. (id: {first['id']})",
        )
        second, _ = await call(
            "save_memory", content="She likes black tea.", slug="favourite_drink"
        )
        assert second == {"id": first["id"], "outcome": "updated"}
        fact, _ = await call("save_memory", content="She lives in Valparaíso.")
        again, _ = await call("save_memory", content="she lives in  Valparaíso")
        assert again == fact, "the same words again give the same memory"

        found, said = await call("search_memory", query="what tea does she like?", limit=1)
        [memory] = found["memories"]
        assert (memory["id"], memory["slug"], memory["type"]) == (
            first["id"],
            "favourite_drink",
            "fact",
        )
        assert said == f"- favourite_drink: She likes black tea. (id: {first['id']})"
        assert (await call("search_memory", query="tea", types=["goal"]))[0] == {"memories": []}

        why, said = await call("explain_memory", id=first["id"])
        assert why["recall"]["query"] == "what tea does she like?"
        assert sum(why["recall"]["parts"].values()) == pytest.approx(
            why["recall"]["score"], abs=0.01
        )
        assert [version["content"] for version in why["history"]] == ["She likes green tea."]
        assert "Until" in said
        where, _ = await call("explain_memory", query="Valparaíso")
        assert (where["id"], where["agent"], where["session_id"]) == (fact["id"], "mcp", "mcp")

        assert (await call("forget_memory", id=fact["id"]))[0] == {"id": fact["id"]}
        found, said = await call("search_memory", query="Valparaíso", types=["fact"])
        assert fact["id"] not in said
        gone = await client.call_tool("forget_memory", {"id": fact["id"]})
        assert (gone.is_error, text(gone)) == (
            True,
            "There is no such memory, or it was forgotten.",
        )
        _, said = await call("forget_memory", id=fact["id"], for_good=True)
        assert said == "Erased for good."
        gone = await client.call_tool("forget_memory", {"id": fact["id"], "for_good": True})
        assert gone.is_error, "nothing is left of it"


async def test_a_fact_names_the_turns_it_was_taken_from(
    database: str, index: IndexConfig, extractor: Mem0Extractor, store: MemoryManager
) -> None:
    user_id = str(uuid4())
    async with (
        open_pool(database) as pool,
        MemoryManager(pool, index=index, extractor=extractor) as taking,
    ):
        with acting_as(Principal.user(user_id)):
            turn = {"id": "m1", "user": "My budget is 80k for a robot.", "assistant": "Noted."}
            payload = {
                "identity": user_id,
                "timestamp": "2026-01-01T00:00:00Z",
                "agent": "sales",
                "session_id": "s1",
            }
            await taking.write_memory(user_id, "s1", payload | {"type": "turn", "content": turn})
            await taking.extract_facts(user_id, "s1")
    async with serving(store) as app, mcp_client(URL, user_id, app=app) as client:
        result: Any = await client.call_tool("explain_memory", {"query": "what is the budget?"})
    told = [(turn["role"], turn["content"]) for turn in result.structured_content["turns"]]
    assert told == [("user", "My budget is 80k for a robot."), ("assistant", "Noted.")]
    assert "Extracted from what the user said" in text(result)


async def test_a_value_whose_run_was_undone_is_told_as_such(
    database: str, index: IndexConfig, extractor: Mem0Extractor, store: MemoryManager
) -> None:
    async with (
        open_pool(database) as pool,
        MemoryManager(pool, index=index, extractor=extractor) as taking,
    ):
        thread = Thread(taking, PostgresCheckpointer(pool), user_id := str(uuid4()))
        with acting_as(Principal.user(user_id)):
            for said in ("My budget is 80k.", "My budget is 120k now."):
                run_id = await thread.say(said)
                await taking.extract_facts(user_id, thread.thread_id)
            await taking.runs.undo(user_id, run_id)
    async with serving(store) as app, mcp_client(URL, user_id, app=app) as client:
        result: Any = await client.call_tool("explain_memory", {"query": "what is the budget?"})
    told = result.structured_content
    assert (told["content"], told["run_status"]) == ("My budget is 80k.", "kept")
    assert ("My budget is 120k now.", "undone") in {
        (version["content"], version["run_status"]) for version in told["history"]
    }
    assert "My budget is 120k now. (its run is undone)" in text(result)


async def test_what_a_model_can_put_right_it_is_told_in_words(store: MemoryManager) -> None:
    ann, bob = str(uuid4()), str(uuid4())
    async with serving(store) as app, mcp_client(URL, ann, app=app) as client:
        for tool, arguments, words in (
            ("save_memory", {"content": "x", "slug": "Not a slug"}, "lower-case letter"),
            ("save_memory", {"content": " "}, "must not be blank"),
            ("search_memory", {"query": "x", "limit": 1000}, "less than or equal to 20"),
            ("forget_memory", {"id": "nonsense"}, "not a memory's id"),
            ("forget_memory", {"id": to_id(("users", bob, "facts"), "x")}, "no such memory"),
            ("explain_memory", {}, "Give the id of a memory, or a query."),
            ("explain_memory", {"query": "anything"}, "Nothing is remembered about that."),
        ):
            result = await client.call_tool(tool, arguments)
            assert result.is_error, arguments
            assert words in text(result), arguments


async def test_of_many_people_at_once_each_uses_their_own_memory(store: MemoryManager) -> None:
    """Run all tools of all users concurrently: a principal that got lost would show."""

    async def talk(app: FastAPI, n: int, person: str) -> str:
        async with mcp_client(URL, person, app=app, mode=MODES[n % 2]) as client:
            await asyncio.gather(
                *(
                    client.call_tool("save_memory", {"content": f"Number {m} of {person}."})
                    for m in range(3)
                ),
                client.call_tool(
                    "save_memory", {"content": f"The secret of {person}.", "slug": "secret"}
                ),
            )
            found = await asyncio.gather(
                *(
                    client.call_tool("search_memory", {"query": "the secret number", "limit": 20})
                    for _ in range(3)
                )
            )
            return "\n".join(map(text, found))

    people = [str(uuid4()) for _ in range(40)]
    async with serving(store) as app:
        shown = await asyncio.gather(*(talk(app, n, person) for n, person in enumerate(people)))
    for person, said in zip(people, shown, strict=True):
        assert said.count(f"Number 2 of {person}.") == 3
        assert said.count(f"The secret of {person}.") == 3
        assert not [other for other in people if other != person and other in said]


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
JSON = {"Accept": "application/json, text/event-stream"}


async def test_strangers_are_refused_before_anything_of_mcp_runs(store: MemoryManager) -> None:
    async with (
        serving(store) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as http,
    ):
        app.state.mcp = None  # any request that gets this far fails
        for body in (LIST, "no JSON at all"):
            refused = await http.post(
                mcp.PATH, json=body, headers=JSON | {"Authorization": "Bearer x"}
            )
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        service = await http.post(
            mcp.PATH, json=LIST, headers=JSON | {"Authorization": "Bearer service"}
        )
        assert service.status_code == 403
        assert (await http.get(mcp.PATH)).status_code == 405
