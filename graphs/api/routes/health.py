"""Routes of health and of the principal who asks."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from graphs.api import examples
from graphs.api.models import Me, shown
from graphs.api.principals import acting, is_signed_in
from graphs.api.problems import Problem, problems
from graphs.api.routes.common import memory, routes
from graphs.api.routing import OpenRoute
from graphs.memory.principal import Principal
from graphs.memory.store.health import PartHealth
from graphs.memory_manager import MemoryManager

router = APIRouter(
    tags=["health"], route_class=OpenRoute, generate_unique_id_function=lambda route: route.name
)
signed_in = routes("health")


class Health(BaseModel):
    """The state of the memory and of its parts."""

    model_config = shown(examples.HEALTH)

    status: Literal["ok", "degraded", "unavailable"]
    parts: dict[str, PartHealth] | None = Field(
        default=None, description="Only for signed-in users."
    )


@router.get(
    "/health",
    response_model_exclude_none=True,
    responses={503: {"model": Health, "description": "The memory cannot be used."}},
)
async def memory_health(
    manager: Annotated[MemoryManager, Depends(memory)],
    is_known: Annotated[bool, Depends(is_signed_in)],
    response: Response,
) -> Health:
    """Return 200 if the memory can be used, even if a part is degraded, and 503 if it cannot.

    Only signed-in users see which part it is and what to do.
    """
    report = await manager.health.check()
    response.status_code = 503 if report.status == "unavailable" else 200
    return Health(status=report.status, parts=report.parts if is_known else None)


# One route names the model, so that the document contains the schema that all problems refer to.
@signed_in.get("/me", responses={401: {"model": Problem, **problems(401)[401]}})
async def who_am_i(principal: Annotated[Principal, Depends(acting)]) -> Me:
    """Return who is signed in."""
    return Me(user_id=principal.user_id, service=principal.user_id is None)
