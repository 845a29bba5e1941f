"""The MCP SDK's own client, signed in as a user."""

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
    """Yield a connected client, over the network or to an app in this process."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = httpx2.ASGITransport(app) if app else None
    async with (
        httpx2.AsyncClient(headers=headers, transport=transport, timeout=30) as http,
        Client(streamable_http_client(url + PATH, http_client=http), mode=mode) as client,
    ):
        yield client


def text(result: Any) -> str:
    """Return the text of a tool's result."""
    return "\n".join(block.text for block in result.content)
