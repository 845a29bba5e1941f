"""The HTTP app that the LangGraph server mounts beside its own API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from graphs.api.routes import router
from graphs.memory.errors import AccessDenied, GraphMemoryError, InvalidInput, SetupRequired, StoreUnavailable
from graphs.memory_manager import deployment_store

_STATUS: dict[type[GraphMemoryError], int] = {
    InvalidInput: 422,
    AccessDenied: 403,
    SetupRequired: 503,
    StoreUnavailable: 503,
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep the deployment's memory at hand for the routes, on the pool that the server's store uses."""
    from graphs.api.auth import is_known  # the server has it already; elsewhere it refuses to be imported

    async with deployment_store() as memory:
        app.state.memory = memory
        app.state.is_signed_in = is_known
        yield


app = FastAPI(title="Graph-Native Memory", lifespan=lifespan)
app.include_router(router)


async def explain_error(_: Request, error: Exception) -> JSONResponse:
    """Answer with what the error says; the LangGraph API's own routes get the same answers."""
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"detail": str(error)}, status_code=status)


for _kind in _STATUS:
    app.add_exception_handler(_kind, explain_error)
