"""Webhooks of hosted Mem0: at a secret URL, idempotent, and never overwriting our own memories."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from langgraph.store.base import IndexConfig

from graphs.api.webhooks import MOST_BYTES, router
from graphs.deployment.pools import open_pool
from graphs.memory.jobs.tasks import Timing
from graphs.memory.principal import Principal
from graphs.memory_manager import MemoryManager
from tests.integration.test_deliveries import fact
from tests.support.adapters import Notebook, outbound_to
from tests.support.sql import rows

SECRET = "only mem0 and we know it"
EVENTS = "SELECT user_id, data FROM memory.audit_logs WHERE action = 'adapter.told'"


@pytest.fixture
def mem0() -> Notebook:
    return Notebook("mem0")


@pytest.fixture
async def store(database: str, index: IndexConfig, mem0: Notebook) -> AsyncIterator[MemoryManager]:
    options: Any = {
        "principal": Principal.service(),
        "timing": Timing(backoff=0),
        "outbound": outbound_to(mem0),
    }
    async with open_pool(database) as pool, MemoryManager(pool, index=index, **options) as store:
        yield store


@pytest.fixture
async def http(store: MemoryManager) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(router)
    app.state.memory, app.state.mem0_webhook_secret = store, SECRET
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://server"
    ) as http:
        yield http


def told(event: str, external_id: str, text: str = "anything") -> bytes:
    return json.dumps(
        {"event_details": {"id": external_id, "data": {"memory": text}, "event": event}}
    ).encode()


async def send(http: httpx.AsyncClient, body: bytes, secret: str = SECRET) -> httpx.Response:
    return await http.post(f"/memory/webhooks/mem0/{quote(secret)}", content=body)


@pytest.fixture
async def copy(store: MemoryManager, database: str) -> tuple[str, str]:
    """Return a user, and the service's id for its copy of the user's only memory."""
    user_id = str(uuid4())
    await store.write_memory(user_id, "s1", fact(user_id, "Likes tea."))
    await store.jobs.run_pending()
    [known] = await rows(database, "SELECT external_id FROM memory.external_copies")
    return user_id, known["external_id"]


async def test_what_was_deleted_there_and_is_kept_here_is_told_again(
    http: httpx.AsyncClient,
    store: MemoryManager,
    database: str,
    mem0: Notebook,
    copy: tuple[str, str],
) -> None:
    user_id, external_id = copy
    mem0.copies.clear()
    for _ in range(3):
        answer = await send(http, told("DELETE", external_id))
        assert answer.status_code == 200
    assert await rows(database, "SELECT 1 FROM memory.external_copies") == []
    await store.jobs.run_pending()
    assert mem0.texts == {"Likes tea."}
    assert [item.value["content"] for item in await store.asearch(("users", user_id))] == [
        "Likes tea."
    ]
    assert [event["user_id"] for event in await rows(database, EVENTS)] == [user_id]


async def test_what_was_changed_there_changes_nothing_here(
    http: httpx.AsyncClient, store: MemoryManager, database: str, copy: tuple[str, str]
) -> None:
    user_id, external_id = copy
    answer = await send(http, told("UPDATE", external_id, "Hates tea."))
    assert answer.json() == {"status": "noted"}
    assert [item.value["content"] for item in await store.asearch(("users", user_id))] == [
        "Likes tea."
    ]
    assert "Hates" not in str(await rows(database, EVENTS))


async def test_a_copy_that_is_not_ours_is_unknown(http: httpx.AsyncClient, database: str) -> None:
    assert (await send(http, told("ADD", "somebody else's"))).json() == {"status": "unknown"}
    assert await rows(database, EVENTS) == []


@pytest.mark.parametrize("secret", ["another secret", SECRET.upper(), "é", " "])
async def test_at_another_url_nobody_is_heard(
    http: httpx.AsyncClient, database: str, copy: tuple[str, str], secret: str
) -> None:
    assert (await send(http, told("DELETE", copy[1]), secret)).status_code == 404
    assert len(await rows(database, "SELECT 1 FROM memory.external_copies")) == 1


@pytest.mark.parametrize("event", ["CATEGORIZE", "memory:categorize", "add"])
async def test_events_that_are_not_about_a_memorys_text_are_accepted_and_ignored(
    http: httpx.AsyncClient, database: str, copy: tuple[str, str], event: str
) -> None:
    answer = await send(http, told(event, copy[1]))
    assert (answer.status_code, answer.json()) == (200, {"status": "ignored"})
    assert await rows(database, EVENTS) == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"event_details": {"id": "", "event": "ADD"}}', b"\xff"]
)
async def test_what_is_no_event_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    assert (await send(http, body)).status_code == 422


async def test_an_event_that_is_too_long_is_not_read(http: httpx.AsyncClient) -> None:
    assert (await send(http, b" " * (MOST_BYTES + 1))).status_code == 413


@pytest.mark.parametrize("secret", [SECRET, "an-earlier-secret"])
async def test_the_servers_log_of_requests_does_not_get_the_secret(
    store: MemoryManager, secret: str
) -> None:
    """The server logs the path of a request, and what it stands for, after the answer."""
    app, logged = FastAPI(), []
    app.include_router(router)
    app.state.memory, app.state.mem0_webhook_secret = store, SECRET

    async def logging_app(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        logged.append({name: scope.get(name) for name in ("path", "path_params", "query_string")})

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(logging_app), base_url="http://server"
    ) as http:
        await send(http, told("ADD", "x"), secret)
    assert len(logged) == 1
    assert secret not in str(logged)


async def test_without_a_secret_there_is_no_webhook(store: MemoryManager) -> None:
    app = FastAPI()
    app.include_router(router)
    app.state.memory = store
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://server"
    ) as http:
        assert (await send(http, told("ADD", "x"))).status_code == 404
