"""Owners of a brain: users and companies."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from graphs.memory.database import statements
from graphs.memory.database.query import Query
from graphs.memory.errors import (
    InvalidValue,
)
from graphs.memory.principal import Principal
from graphs.memory.values.namespaces import (
    Namespace,
    encode_label,
    user_scope,
)

_SQL = statements.load("brain", __package__)


_SLUG = re.compile(r"[a-z][a-z0-9_]{0,127}")


Entity = Literal["user", "company"]


@dataclass(frozen=True, slots=True)
class Owner:
    """A user or company whose brain it is, and the principal that acts on it."""

    entity: Entity
    id: str
    principal: Principal

    @property
    def namespace(self) -> Namespace:
        """The namespace of the owner's brain."""
        return (
            *(user_scope(self.id) if self.entity == "user" else company_scope(self.id)),
            "brain",
        )

    def ask(self, statement: str, read: Callable[[Any], Any], **given: Any) -> Query[Any]:
        """Return a query of the brain, in its variant for this kind of owner."""
        return Query(_SQL[f"{statement}_{self.entity}"], {"owner": self.id, **given}, read)


def company_scope(company_id: str) -> Namespace:
    """Return the namespace of everything that belongs to a company: `("orgs", company_id)`."""
    return ("orgs", encode_label(company_id))


def check_slug(slug: Any) -> None:
    """Refuse a slug that cannot name a memory.

    Raises:
        InvalidValue: it is no slug.
    """
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        raise InvalidValue(
            "slug", "must be small letters, digits and _, begin with a letter and have at most 128."
        )
