"""Routes of a user's rights: audit records, export and erasure; and of their jobs."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Path, Request
from fastapi.responses import StreamingResponse

from graphs.api import examples
from graphs.api.examples import answer, described
from graphs.api.models import Erasure, Listed
from graphs.api.routes.common import (
    Cursor,
    MineDep,
    PageLimit,
    answered,
    routes,
)
from graphs.deployment.clients.langgraph_server import remove_what_is_owned
from graphs.memory.contract import ErasureCertificate, Job
from graphs.memory.errors import InvalidValue
from graphs.memory.rights.records import Record
from graphs.memory.values.paging import Page

router = routes("rights")
jobs = routes("jobs", "/jobs")

NDJSON = "application/x-ndjson"
_LINES = {"schema": {"type": "string"}, "example": examples.EXPORT}


@router.get(
    "/audit", responses=answered(200, answer(examples.page(examples.RECORD), "A page of records."))
)
async def list_records(mine: MineDep, cursor: Cursor = None, limit: PageLimit = 50) -> Page[Record]:
    """List the audit log's records about you, the latest first.

    Reads are recorded a few seconds after they were made.
    """
    return await mine.memory.records.latest(mine.user_id, cursor=cursor, limit=limit)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses=answered(
        200, described("Lines of JSON; the last has their number and digest.", NDJSON, _LINES, {})
    ),
)
async def export_memory(mine: MineDep) -> StreamingResponse:
    """Stream everything that is stored about you, as lines of JSON.

    An export is complete if its last line exists and has the SHA-256 of all lines before it.
    """
    lines = mine.memory.export_user(mine.user_id)
    first = await anext(lines)  # errors must come before the response begins
    return StreamingResponse(_ended(first, lines), media_type=NDJSON)


async def _ended(first: str, lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """Yield lines with line ends, each only when the client has taken the one before."""
    yield f"{first}\n"
    async for line in lines:
        yield f"{line}\n"


@router.post(
    "/erasure",
    responses=answered(
        200, answer(examples.CERTIFICATE, "The certificate of the erasure."), 413, 415
    ),
)
async def erase_memory(request: Request, mine: MineDep, erasure: Erasure) -> ErasureCertificate:
    """Erase everything that is stored about you, permanently, with your threads and their runs."""
    if erasure.confirm != mine.user_id:
        raise InvalidValue("confirm", "must be your own user id, which `GET /memory/me` returns.")
    # Only an app inside a LangGraph server has its client.
    client = getattr(request.app.state, "langgraph", None)
    removed = await remove_what_is_owned(client, mine.user_id) if client else {}
    return await mine.memory.erase_user(mine.user_id, removed)


@jobs.get(
    "",
    responses=answered(200, answer({"items": [examples.JOB]}, "Jobs about you, the latest first.")),
)
async def list_jobs(mine: MineDep, limit: PageLimit = 50) -> Listed[Job]:
    """List the background jobs about you, such as the extraction of facts from turns."""
    return Listed(items=await mine.memory.jobs.list(user_id=mine.user_id, limit=limit))


@jobs.get("/{job_id}", responses=answered(200, answer(examples.JOB, "The job."), 404))
async def get_job(mine: MineDep, job_id: Annotated[int, Path(ge=1, le=2**63 - 1)]) -> Job:
    """Return a background job about you. Jobs are kept for a day after they end."""
    return await mine.memory.jobs.get(job_id, user_id=mine.user_id)
