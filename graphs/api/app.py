"""The HTTP app that the LangGraph server mounts beside its own API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from langgraph_sdk import get_client

from graphs.api import mcp, problems
from graphs.api.inspector.routes import router as inspector
from graphs.api.limits import Limits
from graphs.api.local_only import LocalOnly
from graphs.api.routes import router, serve
from graphs.api.webhooks import router as webhooks
from graphs.composition import working_store
from graphs.deployment.settings import load_settings


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the deployment's store for the routes, and run background jobs while the server runs."""
    # Imported late: outside a LangGraph server the module refuses to be imported.
    from graphs.api.auth import principal_of

    settings = await asyncio.to_thread(load_settings)
    secret = settings.mem0_webhook_secret
    limits = Limits(
        settings.memory_http_body_bytes, settings.memory_http_rate, settings.memory_http_burst
    )
    app.state.local_only = not settings.supabase_auth
    async with (
        working_store() as memory,
        mcp.serving(memory, limits) as app.state.mcp,
    ):
        serve(app, memory, principal_of, limits)
        app.state.langgraph = get_client()  # of this server, without a network
        app.state.mem0_webhook_secret = secret.get_secret_value() if secret else None
        yield


app = FastAPI(title="Graph-Native Memory", lifespan=lifespan)
app.add_middleware(LocalOnly)
app.include_router(router)
app.include_router(webhooks)
app.include_router(inspector)
app.router.routes.append(mcp.route)
problems.answer_plainly(app)
