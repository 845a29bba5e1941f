"""The deployment's Supabase client. Only this module creates one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from graphs.deployment.settings import Settings
from graphs.memory.extras import extra


@asynccontextmanager
async def supabase_client(settings: Settings) -> AsyncIterator[Any]:
    """Lend a client with the service key; None if the project's URL or the key is not set."""
    if not (settings.supabase_url and settings.supabase_service_role_key):
        yield None
        return
    http = await asyncio.to_thread(httpx.AsyncClient, timeout=60)
    async with http:
        yield await asyncio.to_thread(
            _make_client,
            settings.supabase_url,
            settings.supabase_service_role_key.get_secret_value(),
            http,
        )


def _make_client(url: str, key: str, http: httpx.AsyncClient) -> Any:
    """Create the client. It reads files and its import takes 0.5 s: call it in a thread."""
    with extra("server"):
        from supabase import AsyncClient, AsyncClientOptions

    return AsyncClient(
        url,
        key,
        AsyncClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False),
    )
