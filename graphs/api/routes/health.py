"""How the memory is, and who asks."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from graphs.api import examples
from graphs.api.models import Me, shown
from graphs.api.principals import acting, is_signed_in
from graphs.api.problems import Problem, problems
from graphs.api.routes.common import memory, routes
from graphs.api.routing import OpenRoute
from graphs.memory.health import PartHealth
from graphs.memory.principal import Principal
from graphs.memory_manager import MemoryManager

router = APIRouter(
    tags=["health"], route_class=OpenRoute, generate_unique_id_function=lambda route: route.name
)
signed_in = routes("health")


class Health(BaseModel):
    """Whether the memory can be used, and which part of it is unwell."""

    model_config = shown(examples.HEALTH)

    status: Literal["ok", "degraded", "unavailable"]
    parts: dict[str, PartHealth] | None = Field(
        default=None, description="For those who are signed in."
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
    """Tell how the memory is: 200 if it can be used, also where a part is degraded; 503 if it cannot.

    Everybody learns that much; which part it is, and what to do, those who are signed in.
    """
    report = await manager.health.check()
    response.status_code = 503 if report.status == "unavailable" else 200
    return Health(status=report.status, parts=report.parts if is_known else None)


# The model is named once, so that the document has the schema to which all descriptions of problems point.
@signed_in.get("/me", responses={401: {"model": Problem, **problems(401)[401]}})
async def who_am_i(principal: Annotated[Principal, Depends(acting)]) -> Me:
    """Tell who is signed in."""
    return Me(user_id=principal.user_id, service=principal.user_id is None)
