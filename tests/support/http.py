"""The memory routes in an app that is not ours, with its own sign-in, and clients for any user."""

from uuid import uuid4

import httpx
from fastapi import FastAPI, Request

from graphs.api.limits import Limits
from graphs.api.principals import NotSignedIn
from graphs.api.routes import include_memory
from graphs.memory.errors import AccessDenied
from graphs.memory.principal import Principal
from graphs.memory_manager import MemoryManager

UNLIMITED = Limits(rate=0)


async def by_name(request: Request) -> Principal:
    """Sign in as the token says, without a check: a user's id, or `the service`."""
    name = request.headers.get("authorization", "").removeprefix("Bearer ")
    try:
        return Principal.service() if name == "the service" else Principal.user(name)
    except AccessDenied:
        raise NotSignedIn("Say who you are.") from None


def app_of(memory: MemoryManager, limits: Limits = UNLIMITED) -> FastAPI:
    app = FastAPI()
    include_memory(app, memory=memory, principal_of=by_name, limits=limits)
    return app


def client(app: FastAPI, user_id: str | None = None, **headers: str) -> httpx.AsyncClient:
    """Return a client for a user; for a new user by default, or not signed in with ""."""
    who = str(uuid4()) if user_id is None else user_id
    signed_in = {"Authorization": f"Bearer {who}"} if who else {}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(
        transport=transport, base_url="http://memory", headers=signed_in | headers
    )
