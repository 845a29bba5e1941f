"""Dependencies and documentation that the routes share: user, pages and versions."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from langgraph.store.base import GetOp, Item

from graphs.api.models import ShortName, Text
from graphs.api.principals import acting
from graphs.api.problems import ProblemError, problems
from graphs.api.routing import MemoryRoute
from graphs.memory.errors import AccessDenied
from graphs.memory.moment import as_of
from graphs.memory.principal import Principal
from graphs.memory.values import paging
from graphs.memory.values.namespaces import Address
from graphs.memory_manager import MemoryManager

_BEARER = HTTPBearer(auto_error=False, description="An access token, as for the LangGraph server.")
_API_KEY = APIKeyHeader(
    name="X-Api-Key",
    auto_error=False,
    description="The same token, for clients that can send only this header.",
)


async def memory(request: Request) -> MemoryManager:
    """Return the deployment's memory, which the app's lifespan opened."""
    manager: MemoryManager = request.app.state.memory
    return manager


@dataclass(frozen=True, slots=True)
class Mine:
    """The memory and the user a request is about. The sender is acting while it is answered."""

    memory: MemoryManager
    user_id: str

    async def values(self, addresses: Iterable[Address]) -> dict[Address, dict[str, Any]]:
        """Return the visible values among these addresses, in one query."""
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
        UUID | None,
        Query(description="The user; only for the service, which has no memory itself."),
    ] = None,
) -> Mine:
    """Return the user a request is about: the one signed in, or the one that the service names.

    Raises:
        AccessDenied: a user names another user.
        ProblemError: the service names no user.
    """
    named = str(user_id) if user_id else None
    if principal.user_id and named not in (None, principal.user_id):
        raise AccessDenied(
            "Only the service may send `user_id`: leave it out to use your own memory.", named
        )
    if not (whose := principal.user_id or named):
        missing = "is required, because the service has no memory of its own"
        raise ProblemError(422, "invalid-request", f"user_id: {missing}.", {"user_id": missing})
    return Mine(manager, whose)


async def _reads_as_of(
    response: Response,
    moment: Annotated[
        datetime | None,
        Query(
            alias="as_of",
            description="Read memory as it stood at this time, which has a time zone; by default, "
            "as it is. What was forgotten since is not there.",
        ),
    ] = None,
) -> AsyncIterator[None]:
    if moment:
        response.headers["Memory-As-Of"] = moment.isoformat()
    with as_of(moment):
        yield


AS_OF = Depends(_reads_as_of)
"""Lets a route read a moment of the past, `?as_of=`."""

MineDep = Annotated[Mine, Depends(mine)]

PageLimit = Annotated[int, Query(ge=1, le=paging.MOST, description="Most items to return.")]
Cursor = Annotated[
    Text | None, Query(description="`next` of the previous page; omit it for the first page.")
]
NameQuery = Annotated[ShortName | None, Query()]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="The `ETag` that you read, to change only that version; `*` for any version.",
    ),
]

ForGood = Annotated[
    bool,
    Query(
        description="Erase it for good: with its earlier versions, and the queries of the recalls "
        "that found it. That also works for a memory that was forgotten."
    ),
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def etag(updated_at: datetime) -> str:
    """Return the `ETag` of a memory last changed at this time: microseconds since 1970."""
    return f'"{(updated_at - _EPOCH) // _MICROSECOND}"'


def version(if_match: str) -> datetime | None:
    """Return the time that an `If-Match` header stands for, or None for `*`.

    Raises:
        ProblemError: 412; it is not an `ETag` of ours.
    """
    if if_match.strip() == "*":
        return None
    try:
        expected = _EPOCH + int(if_match.strip().strip('"')) * _MICROSECOND
        is_one = etag(expected) == if_match.strip()  # no other spelling of the number counts
    except (ValueError, OverflowError):
        is_one = False
    if not is_one:
        raise ProblemError(
            412,
            "version-conflict",
            "`If-Match` is not an `ETag` of this API. Read the memory again and send its `ETag`.",
        )
    return expected


def routes(tag: str, prefix: str = "") -> APIRouter:
    """Return a router for signed-in users' routes about one noun.

    Args:
        tag: the noun.
        prefix: the beginning of all its paths.
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
    """Return the documentation of a route's response, and of problems that its router lacks."""
    return {status: documented, **problems(*statuses)}
