"""Routes of the brain: memories with slugs, of a user and of the companies they belong to."""

from typing import Annotated

from fastapi import Body, Path

from graphs.api import examples
from graphs.api.examples import answer
from graphs.api.models import (
    BrainView,
    NewBrainMemory,
    OneOfMany,
    ShortName,
)
from graphs.api.problems import ProblemError
from graphs.api.routes.common import (
    Cursor,
    ForGood,
    MineDep,
    PageLimit,
    answered,
    routes,
)
from graphs.memory.brain.models import BrainReport, StoredBrainMemory
from graphs.memory.errors import EmbeddingFailed, InvalidValue
from graphs.memory.values.paging import Page

router = routes("brain")

SLUG = r"^[a-z][a-z0-9_]{0,127}$"
MOST_SAVED = 500

SlugPath = Annotated[
    str, Path(pattern=SLUG, description="A memory's name, such as `user_full_name`.")
]
CompanyId = Annotated[ShortName, Path()]
Many = Annotated[
    dict[str, OneOfMany],
    Body(
        min_length=1,
        max_length=MOST_SAVED,
        description="By slug.",
        examples=[{"user_full_name": examples.NEW_BRAIN_MEMORY}],
    ),
]

_PAGE = answered(
    200, answer(examples.page(examples.BRAIN_MEMORY), "A page, in the order of slugs.")
)
_ONE = answered(200, answer(examples.BRAIN_MEMORY, "The memory."), 404)
_SAVED = answered(200, answer(examples.BRAIN_MEMORY, "The memory as it is now."), 413, 415)
_REPORT = answered(200, answer(examples.BRAIN_REPORT, "The outcome of each."), 413, 415)
_GONE = answered(204, {"description": "It was forgotten."}, 404)


@router.get("/brain", responses=_PAGE)
async def list_brain(
    mine: MineDep, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[BrainView]:
    """List the memories of your brain, in the order of their slugs."""
    page = await mine.memory.brain.user_page(mine.user_id, cursor=cursor, limit=limit)
    return Page(
        items=[BrainView.of_user(mine.user_id, memory) for memory in page.items], next=page.next
    )


@router.post("/brain", responses=_REPORT)
async def save_brain(mine: MineDep, memories: Many) -> BrainReport:
    """Save many memories of your brain. An invalid one fails alone, and the report says why."""
    given = [memory.named(slug) for slug, memory in memories.items()]
    return await mine.memory.brain.save_user_memories(mine.user_id, given)


@router.get("/brain/{slug}", responses=_ONE)
async def get_brain_memory(mine: MineDep, slug: SlugPath) -> BrainView:
    """Return the memory of your brain with this slug."""
    found = _there(await mine.memory.brain.get_user_memory(mine.user_id, slug), slug)
    return BrainView.of_user(mine.user_id, found)


@router.put("/brain/{slug}", responses=_SAVED)
async def save_brain_memory(mine: MineDep, slug: SlugPath, new: NewBrainMemory) -> BrainView:
    """Save a memory of your brain. An existing one with this slug is updated."""
    _saved(await mine.memory.brain.save_user_memories(mine.user_id, [new.named(slug)]))
    return await get_brain_memory(mine, slug)


@router.delete("/brain/{slug}", status_code=204, responses=_GONE)
async def forget_brain_memory(mine: MineDep, slug: SlugPath, for_good: ForGood = False) -> None:
    """Forget a memory of your brain. Its last version stays in its history, or goes for good."""
    gone = await mine.memory.brain.forget_user_memory(mine.user_id, slug, for_good=for_good)
    _forgotten(gone, slug)


@router.get("/companies/{company_id:any}/brain", responses=_PAGE)
async def list_company_brain(
    mine: MineDep, company_id: CompanyId, cursor: Cursor = None, limit: PageLimit = 50
) -> Page[BrainView]:
    """List the memories of a company's brain. Only its members see any."""
    page = await mine.memory.brain.company_page(company_id, cursor=cursor, limit=limit)
    kept = mine.memory.brain.company_id(company_id)
    return Page(items=[BrainView.of_company(kept, memory) for memory in page.items], next=page.next)


@router.post("/companies/{company_id:any}/brain", responses=_REPORT)
async def save_company_brain(mine: MineDep, company_id: CompanyId, memories: Many) -> BrainReport:
    """Save many memories of a company's brain, as its member."""
    given = [memory.named(slug) for slug, memory in memories.items()]
    return await mine.memory.brain.save_company_memories(company_id, given)


@router.get("/companies/{company_id:any}/brain/{slug}", responses=_ONE)
async def get_company_memory(mine: MineDep, company_id: CompanyId, slug: SlugPath) -> BrainView:
    """Return the memory of a company's brain with this slug, to the company's members."""
    found = _there(await mine.memory.brain.get_company_memory(company_id, slug), slug)
    return BrainView.of_company(mine.memory.brain.company_id(company_id), found)


@router.put("/companies/{company_id:any}/brain/{slug}", responses=_SAVED)
async def save_company_memory(
    mine: MineDep, company_id: CompanyId, slug: SlugPath, new: NewBrainMemory
) -> BrainView:
    """Save a memory of a company's brain, as its member."""
    _saved(await mine.memory.brain.save_company_memories(company_id, [new.named(slug)]))
    return await get_company_memory(mine, company_id, slug)


@router.delete("/companies/{company_id:any}/brain/{slug}", status_code=204, responses=_GONE)
async def forget_company_memory(
    mine: MineDep, company_id: CompanyId, slug: SlugPath, for_good: ForGood = False
) -> None:
    """Forget a memory of a company's brain, as its administrator."""
    gone = await mine.memory.brain.forget_company_memory(company_id, slug, for_good=for_good)
    _forgotten(gone, slug)


def _there(found: StoredBrainMemory | None, slug: str) -> StoredBrainMemory:
    if found is None:
        raise _nothing(slug)
    return found


def _forgotten(was_there: bool, slug: str) -> None:
    if not was_there:
        raise _nothing(slug)


def _nothing(slug: str) -> ProblemError:
    return ProblemError(
        404, "memory-not-found", f"There is no memory with the slug {slug}, or you may not see it."
    )


def _saved(report: BrainReport) -> None:
    """Raise the error that the report of a single memory contains, if it was not saved."""
    [outcome] = report.outcomes
    if outcome.error == EmbeddingFailed.__name__:
        raise EmbeddingFailed(outcome.reason)
    if outcome.outcome == "failed":
        raise InvalidValue("content", outcome.reason or "cannot be saved.")
