"""The HTTP app that the LangGraph server mounts beside its own API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from graphs.api import mcp
from graphs.api.inspector import router as inspector
from graphs.api.limits import Limits
from graphs.api.problems import STATUS
from graphs.api.routes import router, serve
from graphs.api.webhooks import router as webhooks
from graphs.composition import working_store
from graphs.deployment.settings import load_settings


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep the deployment's memory at hand for the routes, and do its background jobs while the server runs."""
    from graphs.api.auth import (
        principal_of,  # the server has it already; elsewhere it refuses to be imported
    )

    settings = await asyncio.to_thread(load_settings)
    secret = settings.mem0_webhook_secret
    limits = Limits(
        settings.memory_http_body_bytes, settings.memory_http_rate, settings.memory_http_burst
    )
    async with (
        working_store() as memory,
        mcp.serving(memory, limits, signs_in=settings.supabase_auth) as app.state.mcp,
    ):
        serve(app, memory, principal_of, limits)
        app.state.mem0_webhook_secret = secret.get_secret_value() if secret else None
        yield


app = FastAPI(title="Graph-Native Memory", lifespan=lifespan)
app.include_router(router)
app.include_router(webhooks)
app.include_router(inspector)
app.router.routes.append(mcp.route)


async def explain_error(_: Request, error: Exception) -> JSONResponse:
    """Answer with what the error says; the LangGraph API's own routes get the same answers."""
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"detail": str(error)}, status_code=status)


for _kind in STATUS:
    app.add_exception_handler(_kind, explain_error)
