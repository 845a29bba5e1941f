"""Routes of the memory; a router that any FastAPI app can include."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from graphs.memory.errors import StoreUnavailable
from graphs.memory_manager import MemoryManager

router = APIRouter(prefix="/memory", tags=["memory"])


class Health(BaseModel):
    """Whether the memory can be used."""

    status: Literal["ok"] = "ok"


def memory(request: Request) -> MemoryManager:
    """Return the deployment's memory, which the app's lifespan opened."""
    manager: MemoryManager = request.app.state.memory
    return manager


@router.get("/health")
async def health(manager: Annotated[MemoryManager, Depends(memory)]) -> Health:
    """Answer ok if the database answers within two seconds; 503 otherwise."""
    try:
        async with asyncio.timeout(2):
            await manager.ping()
    except TimeoutError:
        raise StoreUnavailable("The database did not answer within two seconds.") from None
    return Health()
