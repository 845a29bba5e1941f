"""Memories: written, listed, and one by one."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Header, Query, Response

from graphs.api import examples
from graphs.api.examples import answer
from graphs.api.ids import PathId
from graphs.api.models import (
    Change,
    MemoryView,
    NewMemory,
    OriginView,
    ShortName,
    TurnView,
    Written,
)
from graphs.api.problems import ProblemError
from graphs.api.routes.common import (
    Cursor,
    IfMatch,
    MineDep,
    NameQuery,
    PageLimit,
    answered,
    etag,
    routes,
    version,
)
from graphs.memory.contract import MemoryType
from graphs.memory.errors import MemoryNotFound
from graphs.memory.knowledge.memories import Version
from graphs.memory.values.ids import from_id
from graphs.memory.values.paging import Page

router = routes("memories", "/memories")

_ETAG = {"ETag": "Its version, for `If-Match`."}

IdempotencyKey = Annotated[
    ShortName | None,
    Header(
        description="Your own name for this write. Sent again, it gives the same answer and writes nothing twice.",
    ),
]


@router.post(
    "",
    status_code=201,
    responses=answered(
        201,
        answer(
            examples.WRITTEN,
            "It is remembered.",
            Idempotent_Replayed="`true` if its key was used before.",
        ),
        413,
        415,
    ),
)
async def write_memory(
    mine: MineDep, new: NewMemory, response: Response, idempotency_key: IdempotencyKey = None
) -> Written:
    """Remember something: items, vectors, log and audit commit together or not at all.

    A `turn` stores both sides of an exchange, and facts are taken from it a little later (`GET /memory/jobs`). The same
    `Idempotency-Key` with another body is refused with 422.
    """
    payload: dict[str, Any] = dict(new) | {
        "identity": mine.user_id,
        "idempotency_key": idempotency_key,
    }
    payload["timestamp"] = new.timestamp or datetime.now(UTC)
    receipt = await mine.memory.write_memory(mine.user_id, new.session_id, payload)
    if receipt.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return Written.of(receipt)


@router.get(
    "", responses=answered(200, answer(examples.page(examples.MEMORY), "A page of memories."))
)
async def list_memories(
    mine: MineDep,
    types: Annotated[
        list[MemoryType] | None, Query(description="Only of these types; else all but turns.")
    ] = None,
    tags: Annotated[list[ShortName], Query(description="Only those that carry all of these.")] = [],  # noqa: B006  FastAPI copies it
    agent: NameQuery = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[MemoryView]:
    """List memories: what changed last comes first."""
    page = await mine.memory.memories.latest(
        mine.user_id, types=types, tags=tags, agent=agent, cursor=cursor, limit=limit
    )
    return Page(items=[MemoryView.of(memory) for memory in page.items], next=page.next)


@router.get("/{id}", responses=answered(200, answer(examples.MEMORY, "The memory.", **_ETAG), 404))
async def get_memory(mine: MineDep, id_: PathId, response: Response) -> MemoryView:
    """Return a memory. Its `ETag` says which version it is."""
    memory = await mine.memory.memories.get(mine.user_id, from_id(id_))
    response.headers["ETag"] = etag(memory.updated_at)
    return MemoryView.of(memory)


@router.patch(
    "/{id}",
    responses=answered(
        200, answer(examples.MEMORY, "It as it is now.", **_ETAG), 404, 412, 413, 415, 428
    ),
)
async def revise_memory(
    mine: MineDep, id_: PathId, change: Change, response: Response, if_match: IfMatch = None
) -> MemoryView:
    """Put a memory right, or pin it. What is not given stays; what it was before goes to its history.

    `If-Match` says which version is meant: without it 428, and 412 if the memory was changed meanwhile.
    """
    if if_match is None:
        raise ProblemError(
            428,
            "precondition-required",
            "Send `If-Match` with the `ETag` of what you read, so that nothing is lost.",
        )
    expected = version(if_match)
    memory = await mine.memory.memories.revise(
        mine.user_id, from_id(id_), change, expected=expected
    )
    response.headers["ETag"] = etag(memory.updated_at)
    return MemoryView.of(memory)


@router.delete(
    "/{id}", status_code=204, responses=answered(204, {"description": "It is forgotten."}, 404, 412)
)
async def forget_memory(mine: MineDep, id_: PathId, if_match: IfMatch = None) -> None:
    """Forget a memory. What it was stays in its history, and nothing recalls it any more."""
    expected = version(if_match) if if_match is not None else None
    await mine.memory.memories.forget(mine.user_id, from_id(id_), expected=expected)


@router.get(
    "/{id}/history",
    responses=answered(
        200, answer(examples.page(examples.VERSION), "A page of versions."), 404, 501
    ),
)
async def memory_history(
    mine: MineDep, id_: PathId, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[Version]:
    """List what a memory was before, the last version first; also of one that was forgotten."""
    return await mine.memory.memories.history(
        mine.user_id, from_id(id_), cursor=cursor, limit=limit
    )


@router.get(
    "/{id}/origin", responses=answered(200, answer(examples.ORIGIN, "Where it comes from."), 404)
)
async def memory_origin(mine: MineDep, id_: PathId) -> OriginView:
    """Tell where a memory comes from: agent, thread, run and checkpoint, and the turns that a fact was taken from."""
    address = from_id(id_)
    origin = (await mine.memory.origins.of(mine.user_id, [address])).get(address)
    if origin is None:
        raise MemoryNotFound(*address)
    turns = (
        await mine.memory.sessions.exchanges(mine.user_id, origin.sources) if origin.sources else []
    )
    return OriginView(
        **origin.model_dump(exclude={"sources"}), turns=[TurnView.of(turn) for turn in turns]
    )
