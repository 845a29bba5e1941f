"""A server without sign-in answers this machine alone, and no foreign web page."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from graphs.api.local_only import ORIGINS, LocalOnly


async def ok(_: Request) -> Response:
    return PlainTextResponse("ok")


async def ask(headers: dict[str, str], *, local_only: bool | None, root_path: str = "") -> int:
    app = Starlette(
        routes=[Route("/", ok, methods=["GET", "POST"])], middleware=[Middleware(LocalOnly)]
    )
    if local_only is not None:
        app.state.local_only = local_only
    transport = httpx.ASGITransport(app, root_path=root_path)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:2024") as http:
        return (await http.post(f"{root_path}/", headers=headers)).status_code


OWN = [
    {},
    {"Host": "LOCALHOST"},
    {"Host": "127.0.0.1:2024"},
    {"Host": "[::1]:2024"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "https://127.0.0.1"},
    {"Origin": "https://smith.langchain.com"},
    {"Origin": "https://eu.smith.langchain.com"},
]
FOREIGN = [
    {"Host": "rebound.example"},
    {"Host": "localhost.rebound.example"},
    {"Host": "127.0.0.1.rebound.example:2024"},
    {"Host": ""},
    {"Origin": "https://page.example"},
    {"Origin": "https://localhost.page.example"},
    {"Origin": "https://page.example/localhost"},
    {"Origin": "https://fakesmith.langchain.com.page.example"},
    {"Origin": "http://smith.langchain.com"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", OWN)
async def test_this_machine_and_studio_are_answered(headers: dict[str, str]) -> None:
    assert await ask(headers, local_only=True) == 200


@pytest.mark.parametrize("headers", FOREIGN)
async def test_other_hosts_and_web_pages_are_refused_where_nobody_signs_in(
    headers: dict[str, str],
) -> None:
    assert await ask(headers, local_only=True) == 403
    assert await ask(headers, local_only=None) == 403, "until the app says that users sign in"
    assert await ask(headers, local_only=False) == 200


@pytest.mark.parametrize("headers", [*OWN, *FOREIGN])
async def test_websockets_of_other_web_pages_are_refused(headers: dict[str, str]) -> None:
    """Browsers let any page open them: LangGraph's start runs and stream what a thread holds."""

    async def greet(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app = Starlette(routes=[WebSocketRoute("/", greet)], middleware=[Middleware(LocalOnly)])
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    shown = {"Host": "localhost:2024"} | headers
    raw = [(name.lower().encode(), value.encode()) for name, value in shown.items()]
    scope = {"type": "websocket", "path": "/", "root_path": "", "headers": raw, "query_string": b""}
    await app(scope, receive, send)
    accepted = sent[0]["type"] == "websocket.accept"
    assert accepted == (headers in OWN)
    assert accepted or sent[0]["status"] == 403


async def test_the_servers_own_code_is_answered() -> None:
    assert await ask({"Host": "api"}, local_only=True, root_path="/noauth") == 200


def test_browsers_are_told_the_same_origins() -> None:
    """Compare with the server's own CORS, which allows any origin unless it is told otherwise."""
    cors = json.loads(Path("langgraph.json").read_text())["http"]["cors"]
    assert cors["allow_origin_regex"] == ORIGINS
    assert cors["allow_origins"] == [], "without the list, the server adds every origin"
