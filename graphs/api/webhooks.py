"""Webhooks: events from services that hold copies of our memories, each processed once."""

import hashlib
import hmac
import logging
import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graphs.api.problems import ProblemError, problems
from graphs.api.routes.common import memory
from graphs.api.routing import OpenRoute
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager

log = logging.getLogger(__name__)

router = APIRouter(
    prefix="/memory/webhooks",
    tags=["webhooks"],
    route_class=OpenRoute,
    generate_unique_id_function=lambda route: f"webhook_of_{route.name}",
)

MOST_BYTES = 64 * 1024
"""Longest event that is read."""

_NAMESPACE = uuid.UUID("6f0d9f2c-6a0e-4f0b-9a3e-3b1f5f0a7d21")
"""Namespace of event ids, which are made from the content: a repeated event has the same id."""


class EventDetails(BaseModel):
    """An event of a memory at the service. Its text is ignored: our text is authoritative."""

    model_config = ConfigDict(extra="ignore")

    id: str = Field(min_length=1, max_length=200, description="The memory's id at the service.")
    event: str = Field(min_length=1, max_length=100, description="ADD, UPDATE, DELETE, or other.")


class Mem0Event(BaseModel):
    """An event of hosted Mem0, as its webhooks send it."""

    model_config = ConfigDict(extra="ignore")

    event_details: EventDetails


class Heard(BaseModel):
    """The outcome of an event."""

    status: Literal["noted", "unknown", "ignored"] = Field(
        description="`unknown` if it is no copy of a memory of ours, `ignored` if the event is not "
        "about a memory's text."
    )


def _hide_from_log(request: Request) -> None:
    """Hide the secret from the server, which logs each request's path after its answer."""
    request.scope["path"] = f"{router.prefix}/mem0/…"
    request.scope["path_params"] = {}


async def _body_of(request: Request) -> bytes:
    """Return a request's body.

    Raises:
        ProblemError: 413.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise ProblemError(413, "body-too-long", f"An event has at most {MOST_BYTES} bytes.")
    return body


@router.post("/mem0/{secret}", responses=problems(404, 413, 422, 503))
async def mem0(
    request: Request,
    secret: Annotated[str, Path(description="MEM0_WEBHOOK_SECRET. Mem0 signs nothing.")],
    manager: Annotated[MemoryManager, Depends(memory)],
) -> Heard:
    """Receive an event of hosted Mem0, at a URL that only Mem0 knows.

    If a memory was deleted there and is kept here, it is delivered there again.
    """
    _hide_from_log(request)
    expected = getattr(request.app.state, "mem0_webhook_secret", None)
    if not expected or not hmac.compare_digest(expected.encode(), secret.encode()):
        raise ProblemError(
            404,
            "not-found",
            "There is no such webhook: its URL ends with MEM0_WEBHOOK_SECRET, which must be set.",
        )
    body = await _body_of(request)
    try:
        event = Mem0Event.model_validate_json(body).event_details
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    if event.event not in ("ADD", "UPDATE", "DELETE"):
        log.info("An event of hosted Mem0 was ignored: %s", event.event)
        return Heard(status="ignored")
    event_id = uuid.uuid5(_NAMESPACE, hashlib.sha256(body).hexdigest())
    with acting_as(Principal.service()):
        known = await manager.deliveries.heard("mem0", event.id, event.event, event_id)
    return Heard(status="noted" if known else "unknown")
