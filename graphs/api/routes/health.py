"""How the memory is."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from graphs.api.principals import is_signed_in
from graphs.api.routes.common import memory
from graphs.memory.health import Part
from graphs.memory_manager import MemoryManager

router = APIRouter(prefix="/memory", tags=["health"])


class Health(BaseModel):
    """Whether the memory can be used, and which part of it is unwell."""

    status: Literal["ok", "degraded", "unavailable"]
    parts: dict[str, Part] | None = Field(default=None, description="For those who are signed in.")


@router.get("/health", response_model_exclude_none=True)
async def health(
    manager: Annotated[MemoryManager, Depends(memory)],
    signed_in: Annotated[bool, Depends(is_signed_in)],
    response: Response,
) -> Health:
    """Tell how the memory is: 200 if it can be used, also where a part is degraded; 503 if it cannot.

    Everybody learns that much; which part it is, and what to do, those who are signed in.
    """
    report = await manager.health.check()
    response.status_code = 503 if report.status == "unavailable" else 200
    return Health(status=report.status, parts=report.parts if signed_in else None)
