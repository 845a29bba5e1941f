"""Origins: the run, agent, session and sources of a memory in its current version."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.access import Access
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.values.namespaces import Address, from_text, to_text

_SQL = statements.load("origins", __package__)


class Origin(BaseModel):
    """The provenance of a memory; unknown fields are None."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: str | None = None
    session_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    checkpoint_id: str | None = None
    task_id: str | None = None
    sources: list[tuple[str, str]] = Field(
        default_factory=list,
        description="Session and exchange of the turns that a fact was extracted from.",
    )


class Origins:
    """Provenance of users' memories.

    Every method acts as the current principal, and refuses other users' data.

    Args:
        access: checks the principal and runs the queries.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def of(self, user_id: str, memories: Sequence[Address]) -> dict[Address, Origin]:
        """Return the origins of memories, by address.

        Memories that the user cannot see are left out.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        given = {
            "user_id": user_id,
            "namespaces": [to_text(namespace) for namespace, _ in memories],
        }
        found: dict[Address, Origin] = await self._access.ask(
            user_id, Query(_SQL["of"], given | {"keys": [key for _, key in memories]}, _origins)
        )
        return found


def _origins(rows: Rows) -> dict[Address, Origin]:
    return {
        (from_text(row.namespace), row.key): Origin(
            **{name: getattr(row, name) for name in Origin.model_fields.keys() - {"sources"}},
            sources=_sources(row.sources),
        )
        for row in rows
    }


def _sources(given: Any) -> list[tuple[str, str]]:
    """Return the sources of a fact. Users may write any value there: other shapes are skipped."""
    named = (
        [source for source in given if isinstance(source, dict)] if isinstance(given, list) else []
    )
    pairs = [(source.get("session_id"), source.get("exchange")) for source in named]
    return [
        (session, exchange)
        for session, exchange in pairs
        if isinstance(session, str) and isinstance(exchange, str)
    ]
