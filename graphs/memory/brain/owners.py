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
    """The user or company that a brain belongs to, and the principal that acts on it."""

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
        """Return a query in its variant for this kind of owner: `<statement>_<entity>`."""
        return Query(_SQL[f"{statement}_{self.entity}"], {"owner": self.id, **given}, read)


def company_scope(company_id: str) -> Namespace:
    """Return the namespace prefix of everything of a company: `("orgs", company_id)`."""
    return ("orgs", encode_label(company_id))


def check_slug(slug: Any) -> None:
    """Check that a slug can name a memory.

    Raises:
        InvalidValue: it is not a slug.
    """
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        raise InvalidValue(
            "slug",
            "must begin with a lower-case letter, and have at most 128 lower-case letters, digits "
            "and underscores.",
        )
