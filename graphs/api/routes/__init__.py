"""Routes of the memory; a router that any FastAPI app can include.

`include_memory` brings them into an app, with its own sign-in.
"""

from fastapi import APIRouter, FastAPI

from graphs.api.limits import Limits
from graphs.api.principals import PrincipalOf
from graphs.api.routes import (
    brain,
    health,
    memories,
    recall,
    relationships,
    rights,
    sessions,
)
from graphs.memory_manager import MemoryManager

router = APIRouter(prefix="/memory")
for _routes in (
    health.router,
    health.signed_in,
    recall.router,
    memories.router,
    relationships.router,
    sessions.router,
    brain.router,
    rights.router,
    rights.jobs,
):
    router.include_router(_routes)


def include_memory(
    app: FastAPI, *, memory: MemoryManager, principal_of: PrincipalOf, limits: Limits | None = None
) -> None:
    """Serve a memory from an app of your own, below `/memory`. Nothing else in the app changes.

    Args:
        app: your app. Where the memory opens with it, call this in its lifespan.
        memory: the memory; it stays yours to close.
        principal_of: tells who sends a request, or raises `NotSignedIn`.
        limits: how much one person may ask for; the usual limits unless given.
    """
    app.include_router(router)
    serve(app, memory, principal_of, limits)


def serve(
    app: FastAPI, memory: MemoryManager, principal_of: PrincipalOf, limits: Limits | None = None
) -> None:
    """Give an app that has the routes already what they work with."""
    app.state.memory = memory
    app.state.principal_of = principal_of
    app.state.limits = limits or Limits()
