"""The operators' interface to a deployment, reached as `store.operations`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from graphs.memory.database.database import Database
from graphs.memory.principal import Principal
from graphs.memory.search.embeddings import Index
from graphs.memory.store.health import HealthMonitor
from graphs.operations.backup.backups import Backups
from graphs.operations.checks import Checks
from graphs.operations.indexes import Indexes
from graphs.operations.migration.comparing import Search
from graphs.operations.migration.migrations import Migrations
from graphs.operations.migration.switching import Moving
from graphs.operations.oversight import AskAsOwner, Oversight


@dataclass(frozen=True, slots=True)
class OperatorMeans:
    """The objects that operations work with. Operations open no connections of their own."""

    database: Database
    """The store's database. It may lack the schema."""
    index: Index | None
    """The store's embedding configuration; None for a store without vector search."""
    health: HealthMonitor
    """Reports the health of the deployment's parts."""
    principal: Callable[[], Principal]
    """Returns the acting principal."""
    principal_for: Callable[[str], Awaitable[Principal]]
    """Returns the acting principal; raises unless it is the named user or the service."""
    ask_as: Callable[..., Awaitable[Any]]
    """Runs a query about a user as the acting principal."""
    ask_as_owner: AskAsOwner
    """Runs a query about all users, for the service."""
    search: Search
    """Searches the store."""


class Operations:
    """Checks, indexes, backups, migrations and oversight.

    For the service only, except where a method says that users may call it.
    """

    def __init__(self, means: OperatorMeans) -> None:
        self.checks = Checks(means.database, means.index, means.health, means.principal)
        self.indexes = Indexes(means.database, means.principal)
        self.backups = Backups(means.database, means.principal)
        self.migrations = Migrations(means.database, means.index, means.principal, means.search)
        self.moving = Moving(means.database, means.index, self.migrations, means.principal)
        self.oversight = Oversight(
            means.database, means.index, means.principal_for, means.ask_as, means.ask_as_owner
        )
