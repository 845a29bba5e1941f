"""Memberships of organisations: a person accepts an invitation, and may leave."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.access import Access
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows

_SQL = statements.load("memberships", __package__)


class Membership(BaseModel):
    """A person's place in an organisation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    organisation_id: str
    name: str = Field(description="The organisation's name.")
    role: Literal["member", "admin"]
    accepted_at: datetime | None = Field(
        default=None,
        description="When the person accepted; null for an invitation, which gives no access.",
    )


class Memberships:
    """The organisations that a person belongs to or is invited to.

    Administrators and the service enter memberships in `memory.organisation_members`. Every method
    acts as the current principal, and refuses other users' memberships.

    Args:
        access: checks the principal and runs the queries.
        organisation_id: returns the normalised id of an organisation.
    """

    def __init__(self, access: Access, organisation_id: Callable[[str], str]) -> None:
        self._access = access
        self._organisation_id = organisation_id

    async def of(self, user_id: str) -> list[Membership]:
        """Return the memberships of a user, invitations included, in the order of their ids.

        Raises:
            AccessDenied: the principal is neither this user nor the service, or it is an agent.
        """
        return await self._access.ask(
            user_id, Query(_SQL["memberships"], {"user_id": user_id}, _memberships)
        )

    async def accept(self, user_id: str, organisation_id: str) -> bool:
        """Accept an invitation, and return False if there is none. Accepting again changes nothing.

        Raises:
            InvalidEntityId: it is not an id of an organisation.
            AccessDenied: the principal is neither this user nor the service, or it is an agent.
        """
        return await self._change("accept", user_id, organisation_id)

    async def leave(self, user_id: str, organisation_id: str) -> bool:
        """Leave an organisation or decline its invitation; return False if there is neither.

        What the user wrote there belongs to the organisation, and stays.

        Raises:
            InvalidEntityId: it is not an id of an organisation.
            AccessDenied: the principal is neither this user nor the service, or it is an agent.
        """
        return await self._change("leave", user_id, organisation_id)

    async def _change(self, statement: str, user_id: str, organisation_id: str) -> bool:
        given = {"user_id": user_id, "organisation_id": self._organisation_id(organisation_id)}
        return await self._access.ask(
            user_id, Query(_SQL[statement], given, lambda rows: bool(rows[0].done))
        )


def _memberships(rows: Rows) -> list[Membership]:
    return [Membership.model_validate(row._asdict()) for row in rows]
