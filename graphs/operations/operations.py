"""The operators' interface to a deployment."""

from graphs.memory_manager import MemoryManager
from graphs.operations.backup.backups import Backups
from graphs.operations.checks import Checks
from graphs.operations.indexes import Indexes
from graphs.operations.migration.migrations import Migrations
from graphs.operations.migration.switching import Moving
from graphs.operations.oversight import Oversight


class Operations:
    """Checks, indexes, backups, migrations and oversight of a store.

    For the service only, except where a method says that users may call it. Operations open no
    connections of their own: all of them go through the store's access.

    Args:
        store: the store; its database may lack the schema.
    """

    def __init__(self, store: MemoryManager) -> None:
        access, index = store.access, store.embedder.index
        self.checks = Checks(access, index, store.health)
        self.indexes = Indexes(access)
        self.backups = Backups(access)
        self.migrations = Migrations(access, index, store.abatch)
        self.moving = Moving(access, index, self.migrations)
        self.oversight = Oversight(access, index)
