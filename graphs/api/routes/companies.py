"""Routes of the companies that a user belongs to or is invited to."""

from typing import Annotated

from fastapi import Path

from graphs.api import examples
from graphs.api.examples import answer
from graphs.api.models import Listed, ShortName, listed
from graphs.api.problems import ProblemError
from graphs.api.routes.common import MineDep, answered, routes
from graphs.memory.rights.memberships import Membership

router = routes("companies", "/companies")

CompanyId = Annotated[ShortName, Path()]

_LIST = answered(200, answer(examples.MEMBERSHIPS, "Memberships and invitations."))
_ACCEPTED = answered(200, answer(examples.MEMBERSHIPS, "Memberships and invitations."), 404)
_LEFT = answered(204, {"description": "You left, or the invitation is declined."}, 404)


@router.get("", responses=_LIST)
async def list_companies(mine: MineDep) -> Listed[Membership]:
    """List the companies that you belong to, and those that invite you: `accepted_at` is null."""
    return listed(await mine.memory.memberships.of(mine.user_id))


@router.put("/{company_id:any}/membership", responses=_ACCEPTED)
async def accept_membership(mine: MineDep, company_id: CompanyId) -> Listed[Membership]:
    """Accept the invitation of a company. Before that, you and your agents see nothing of it."""
    _there(await mine.memory.memberships.accept(mine.user_id, company_id), company_id)
    return await list_companies(mine)


@router.delete("/{company_id:any}/membership", status_code=204, responses=_LEFT)
async def leave_company(mine: MineDep, company_id: CompanyId) -> None:
    """Leave a company, or decline its invitation. What you wrote there stays with the company."""
    _there(await mine.memory.memberships.leave(mine.user_id, company_id), company_id)


def _there(was_there: bool, company_id: str) -> None:
    if not was_there:
        raise ProblemError(
            404, "membership-not-found", f"You are neither in company {company_id} nor invited."
        )
