"""What the routes have in common: whose memory it is, pages, versions, and how each is documented."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from langgraph.store.base import GetOp, Item

from graphs.api.models import ShortName, Text
from graphs.api.principals import acting
from graphs.api.problems import ProblemError, problems
from graphs.api.routing import MemoryRoute
from graphs.memory.errors import AccessDenied
from graphs.memory.principal import Principal
from graphs.memory.values import paging
from graphs.memory.values.namespaces import Address
from graphs.memory_manager import MemoryManager

_BEARER = HTTPBearer(
    auto_error=False, description="An access token, as the LangGraph server takes it."
)
_API_KEY = APIKeyHeader(
    name="X-Api-Key", auto_error=False, description="The same, for clients that send nothing else."
)


async def memory(request: Request) -> MemoryManager:
    """Return the deployment's memory, which the app's lifespan opened."""
    manager: MemoryManager = request.app.state.memory
    return manager


@dataclass(frozen=True, slots=True)
class Mine:
    """The memory, and whose part of it a request is about; while it is answered, they are acting."""

    memory: MemoryManager
    user_id: str

    async def values(self, addresses: Iterable[Address]) -> dict[Address, dict[str, Any]]:
        """Return what lies at addresses, in one query; what is gone, or not theirs to see, is left out."""
        asked = list(addresses)
        found = await self.memory.abatch([GetOp(*address, refresh_ttl=False) for address in asked])
        return {
            address: item.value
            for address, item in zip(asked, found, strict=True)
            if isinstance(item, Item)
        }


async def mine(
    manager: Annotated[MemoryManager, Depends(memory)],
    principal: Annotated[Principal, Depends(acting)],
    user_id: Annotated[
        UUID | None, Query(description="Whose memory; for the service, which has none itself.")
    ] = None,
) -> Mine:
    """Return whose memory a request is about: the person's who sends it; the service has to say whose.

    Raises:
        AccessDenied: a person names another.
        ProblemError: the service names nobody.
    """
    named = str(user_id) if user_id else None
    if principal.user_id and named not in (None, principal.user_id):
        raise AccessDenied(
            "`user_id` is for the service: people use their own memory and no other.", named
        )
    if not (whose := principal.user_id or named):
        missing = "must say whose memory, since the service has none of its own"
        raise ProblemError(422, "invalid-request", f"user_id: {missing}.", {"user_id": missing})
    return Mine(manager, whose)


MineDep = Annotated[Mine, Depends(mine)]

PageLimit = Annotated[int, Query(ge=1, le=paging.MOST, description="How many at most.")]
Cursor = Annotated[Text | None, Query(description="`next` of the page before; none for the first.")]
NameQuery = Annotated[ShortName | None, Query()]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="`ETag` of what was read, to change only that; `*` for whatever there is.",
    ),
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def etag(updated_at: datetime) -> str:
    """Return the `ETag` of a memory that changed last at this time: microseconds since 1970."""
    return f'"{(updated_at - _EPOCH) // _MICROSECOND}"'


def version(if_match: str) -> datetime | None:
    """Return the time that an `If-Match` stands for, None for `*`.

    Raises:
        ProblemError: 412; no version has it.
    """
    if if_match.strip() == "*":
        return None
    try:
        expected = _EPOCH + int(if_match.strip().strip('"')) * _MICROSECOND
        is_one = etag(expected) == if_match.strip()
    except (ValueError, OverflowError):
        is_one = False
    if not is_one:
        raise ProblemError(
            412, "version-conflict", "`If-Match` is no version's `ETag`: read the memory again."
        )
    return expected


def routes(tag: str, prefix: str = "") -> APIRouter:
    """Return a router for signed-in people's routes about one noun.

    Args:
        tag: the noun.
        prefix: what all its paths begin with.
    """
    return APIRouter(
        prefix=prefix,
        tags=[tag],
        route_class=MemoryRoute,
        dependencies=[Security(_BEARER), Security(_API_KEY)],
        responses=problems(401, 403, 422, 429, 503),
        generate_unique_id_function=lambda route: route.name,
    )


def answered(
    status: int, documented: dict[str, Any], *statuses: int
) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of a route's answer, and of the problems that it has beside those of its router."""
    return {status: documented, **problems(*statuses)}
