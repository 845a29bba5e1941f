"""The MCP SDK's own client, as somebody."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from graphs.api.mcp import PATH


@asynccontextmanager
async def mcp_client(
    url: str, token: str | None = None, *, mode: str = "auto", app: Any = None
) -> AsyncIterator[Client]:
    """A connected client; of an app in this process, where one is given."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx2.ASGITransport(app) if app else None
    async with (
        httpx2.AsyncClient(headers=headers, transport=transport, timeout=30) as http,
        Client(streamable_http_client(url + PATH, http_client=http), mode=mode) as client,
    ):
        yield client


def text(result: Any) -> str:
    """What a tool said in words."""
    return "\n".join(block.text for block in result.content)
