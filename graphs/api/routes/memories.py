"""Routes of memories: write, list, read, change and forget."""

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
    AS_OF,
    Cursor,
    ForGood,
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

_ETAG = {"ETag": "The version, for `If-Match`."}

IdempotencyKey = Annotated[
    ShortName | None,
    Header(
        description="Your own id of this write. A retry with it returns the same response and "
        "writes nothing twice.",
    ),
]


@router.post(
    "",
    status_code=201,
    responses=answered(
        201,
        answer(
            examples.WRITTEN,
            "The memory was written.",
            Idempotent_Replayed="`true` if an earlier write used this key.",
        ),
        413,
        415,
    ),
)
async def write_memory(
    mine: MineDep, new: NewMemory, response: Response, idempotency_key: IdempotencyKey = None
) -> Written:
    """Write a memory: items, vectors, log and audit records commit together or not at all.

    A `turn` stores both sides of an exchange, and a background job then extracts facts from it
    (`GET /memory/jobs`). The same `Idempotency-Key` with another body is refused with 422.
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
    "",
    dependencies=[AS_OF],
    responses=answered(200, answer(examples.page(examples.MEMORY), "A page of memories."), 501),
)
async def list_memories(
    mine: MineDep,
    types: Annotated[
        list[MemoryType] | None, Query(description="Only these types; by default all except turns.")
    ] = None,
    tags: Annotated[list[ShortName], Query(description="Only memories with all of these.")] = [],  # noqa: B006  FastAPI copies it
    agent: NameQuery = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Page[MemoryView]:
    """List memories. The most recently changed comes first."""
    page = await mine.memory.memories.latest(
        mine.user_id, types=types, tags=tags, agent=agent, cursor=cursor, limit=limit
    )
    return Page(items=[MemoryView.of(memory) for memory in page.items], next=page.next)


@router.get(
    "/{id}",
    dependencies=[AS_OF],
    responses=answered(200, answer(examples.MEMORY, "The memory.", **_ETAG), 404, 501),
)
async def get_memory(mine: MineDep, id_: PathId, response: Response) -> MemoryView:
    """Return a memory. Its `ETag` is its version."""
    memory = await mine.memory.memories.get(mine.user_id, from_id(id_))
    response.headers["ETag"] = etag(memory.updated_at)
    return MemoryView.of(memory)


@router.patch(
    "/{id}",
    responses=answered(
        200,
        answer(examples.MEMORY, "The memory in its new version.", **_ETAG),
        404,
        412,
        413,
        415,
        428,
    ),
)
async def revise_memory(
    mine: MineDep, id_: PathId, change: Change, response: Response, if_match: IfMatch = None
) -> MemoryView:
    """Change a memory, or pin it. Fields not given stay; the history keeps the earlier version.

    `If-Match` is required (428 without it). If the memory was changed since that version, the
    request is refused with 412.
    """
    if if_match is None:
        raise ProblemError(
            428,
            "precondition-required",
            "Send `If-Match` with the `ETag` that you read, so that no other change is lost.",
        )
    expected = version(if_match)
    memory = await mine.memory.memories.revise(
        mine.user_id, from_id(id_), change, expected=expected
    )
    response.headers["ETag"] = etag(memory.updated_at)
    return MemoryView.of(memory)


@router.delete(
    "/{id}",
    status_code=204,
    responses=answered(204, {"description": "It was forgotten."}, 404, 412),
)
async def forget_memory(
    mine: MineDep, id_: PathId, if_match: IfMatch = None, for_good: ForGood = False
) -> None:
    """Forget a memory. It is no longer recalled, and its last version stays in its history.

    With `for_good` nothing of it stays but digests, which the seals of the audit log need.
    """
    expected = version(if_match) if if_match is not None else None
    await mine.memory.memories.forget(
        mine.user_id, from_id(id_), expected=expected, for_good=for_good
    )


@router.get(
    "/{id}/history",
    responses=answered(
        200, answer(examples.page(examples.VERSION), "A page of versions."), 404, 501
    ),
)
async def memory_history(
    mine: MineDep, id_: PathId, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[Version]:
    """List the earlier versions of a memory, the latest first; also of a forgotten memory."""
    return await mine.memory.memories.history(
        mine.user_id, from_id(id_), cursor=cursor, limit=limit
    )


@router.get(
    "/{id}/origin", responses=answered(200, answer(examples.ORIGIN, "Where it comes from."), 404)
)
async def memory_origin(mine: MineDep, id_: PathId) -> OriginView:
    """Return the origin of a memory: agent, thread, run, checkpoint, and a fact's source turns."""
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
