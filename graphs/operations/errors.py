"""Errors of backups and migrations; all others are in `graphs.memory.errors`."""

from graphs.memory.errors import GraphMemoryError, InvalidInput


class InvalidBackup(InvalidInput):
    """A file is no backup, is damaged, or has another key. Nothing was changed."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"This file cannot be restored: {reason}. Nothing was changed.")


class CannotFollow(InvalidInput):
    """The changes since a backup cannot be determined. `reason` says why."""

    def __init__(self, earlier: str, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"The changes since {earlier} cannot be determined: {reason}. Make a full backup, "
            "without --since."
        )


class RestoreConflict(GraphMemoryError):
    """The database has other rows with the numbers of a backup's rows. Nothing was changed."""

    def __init__(self, table: str, rows: int) -> None:
        self.table, self.rows = table, rows
        super().__init__(
            f"{table} has {rows:,} other rows with the numbers of the backup's rows: restore it "
            "into the database that it was made of, or into an empty one (`graph-memory setup` "
            "prepares it). Nothing was changed."
        )


class ErasedPresent(GraphMemoryError):
    """The database holds people who were erased after it was what it is. Nothing was changed."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(
            f"{table} has rows of users who were erased since, by the list beside the backup or "
            "by --erasures: restore into an empty database (`graph-memory setup` prepares it). "
            "Nothing was changed."
        )


class MigrationNotFound(GraphMemoryError):
    """There is no such migration."""

    def __init__(self, migration_id: str) -> None:
        self.migration_id = migration_id
        super().__init__(f"No migration is {migration_id!r}: see `graph-memory migrate list`.")


class MigrationConflict(GraphMemoryError):
    """Another process runs the migration, or it has ended. Nothing of the batch was stored."""

    def __init__(self, migration_id: str, status: str) -> None:
        self.migration_id, self.status = migration_id, status
        super().__init__(
            f"Migration {migration_id} is {status.replace('_', ' ')}, and not where this process "
            "left it: another process works on it. Nothing of this batch was stored; `graph-memory "
            "migrate show` shows its progress."
        )


class SwitchRefused(GraphMemoryError):
    """A store that is moved cannot be switched from, or back to, yet. It goes on as before."""


class SourceFailed(GraphMemoryError):
    """A source of a migration refused, or gave unreadable data. Stored batches stay."""


class SourceUnavailable(SourceFailed):
    """A source of a migration cannot be reached. The same command continues later."""
