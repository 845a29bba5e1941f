"""The memory's routes: a router that any FastAPI app can include.

`include_memory` adds them to an app that has its own sign-in.
"""

from fastapi import APIRouter, FastAPI

from graphs.api.limits import Limits
from graphs.api.principals import PrincipalOf
from graphs.api.routes import (
    brain,
    companies,
    health,
    memories,
    recall,
    relationships,
    rights,
    runs,
    sessions,
)
from graphs.memory_manager import MemoryManager

router = APIRouter(prefix="/memory")
for _routes in (
    health.router,
    health.signed_in,
    recall.router,
    runs.router,
    memories.router,
    relationships.router,
    sessions.router,
    brain.router,
    companies.router,
    rights.router,
    rights.jobs,
):
    router.include_router(_routes)


def include_memory(
    app: FastAPI, *, memory: MemoryManager, principal_of: PrincipalOf, limits: Limits | None = None
) -> None:
    """Serve a memory from an app of your own, below `/memory`. Nothing else in the app changes.

    Args:
        app: your app. If the memory is opened in its lifespan, call this there.
        memory: the memory; closing it remains your task.
        principal_of: identifies a request's sender, or raises `NotSignedIn`.
        limits: limits of one user's requests; by default those of `Limits`.
    """
    app.include_router(router)
    serve(app, memory, principal_of, limits)


def serve(
    app: FastAPI, memory: MemoryManager, principal_of: PrincipalOf, limits: Limits | None = None
) -> None:
    """Set the state that the routes need, in an app that already includes them."""
    app.state.memory = memory
    app.state.principal_of = principal_of
    app.state.limits = limits or Limits()
