"""Everything that an operator does with a deployment: what `store.operations` is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from graphs.memory.database.database import Database
from graphs.memory.health import HealthMonitor
from graphs.memory.knowledge.common import Run
from graphs.memory.principal import Principal
from graphs.memory.search.embeddings import Index
from graphs.operations.backup.backups import Backups
from graphs.operations.checks import Checks
from graphs.operations.indexes import Indexes
from graphs.operations.migration.comparing import Search
from graphs.operations.migration.migrations import Migrations
from graphs.operations.migration.switching import Moving
from graphs.operations.oversight import AskAsOwner, Oversight


@dataclass(frozen=True, slots=True)
class OperatorMeans:
    """What operations work with. They open nothing themselves."""

    database: Database
    """Where the memory is; it may lack the schema."""
    index: Index | None
    """How the store embeds, None if it does not."""
    health: HealthMonitor
    """How the parts are that work."""
    principal: Callable[[], Principal]
    """Who is acting."""
    principal_for: Callable[[str], Awaitable[Principal]]
    """Who is acting, who must be the user that is named, or the service."""
    ask_as: Run
    """Answers a query about a user as whoever is acting."""
    ask_as_owner: AskAsOwner
    """Answers a query about everybody, for the service."""
    search: Search
    """Searches the store."""


class Operations:
    """Checks, indexes, backups, migrations and oversight. For the service; what a person may do says so."""

    def __init__(self, means: OperatorMeans) -> None:
        self.checks = Checks(means.database, means.index, means.health, means.principal)
        self.indexes = Indexes(means.database, means.principal)
        self.backups = Backups(means.database, means.principal)
        self.migrations = Migrations(means.database, means.index, means.principal, means.search)
        self.moving = Moving(means.database, means.index, self.migrations, means.principal)
        self.oversight = Oversight(
            means.database, means.index, means.principal_for, means.ask_as, means.ask_as_owner
        )
