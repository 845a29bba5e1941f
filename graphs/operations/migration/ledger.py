"""The ledger of migrations: their progress and the memories that they imported."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.values.text import to_json
from graphs.operations.errors import MigrationConflict, MigrationNotFound

STATEMENTS = statements.load("ledger", __package__)

MigrationStatus = Literal["running", "paused", "finished", "rolled_back"]


class Migration(BaseModel):
    """A migration and its progress."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    source: str = Field(description="Kind of source.")
    origin: str = Field(description="Identifier of the source.")
    options: dict[str, Any] = Field(description="Options of reading.")
    status: MigrationStatus = Field(
        description="Stays `running` after a crash; the same command resumes the migration."
    )
    total: int | None = Field(
        description="Number of records in the source; null if it cannot count."
    )
    brought: int = Field(description="Number of imported memories.")
    present: int = Field(description="Number of records skipped because their address was taken.")
    expired: int = Field(description="Number of records skipped because they had expired.")
    rejected: int = Field(description="Number of records that cannot be memories here.")
    cursor: str | None = Field(description="The source's position after the last stored batch.")
    started_at: datetime
    updated_at: datetime = Field(description="When the last batch was stored.")
    finished_at: datetime | None

    @property
    def seen(self) -> int:
        """Return the number of processed records."""
        return self.brought + self.present + self.expired + self.rejected


def start(
    source: str, origin: str, options: Mapping[str, Any], total: int | None
) -> Query[Migration]:
    """Build the query that inserts a migration."""
    given = {
        "source": source,
        "origin": origin,
        "options": to_json(options, "options"),
        "total": total,
    }
    return Query(STATEMENTS["start"], given, lambda rows: _migration(rows[0]))


def unfinished(source: str, origin: str) -> Query[Migration | None]:
    """Build the query for the unfinished migration of a source."""
    given = {"source": source, "origin": origin}
    return Query(
        STATEMENTS["unfinished"], given, lambda rows: _migration(rows[0]) if rows else None
    )


def every() -> Query[list[Migration]]:
    """Build the query for all migrations, latest first."""
    return Query(STATEMENTS["all"], {}, lambda rows: [_migration(row) for row in rows])


def one(migration_id: str) -> Query[Migration]:
    """Build the query for one migration. Reading it raises `MigrationNotFound` if there is none."""

    def read(rows: Rows) -> Migration:
        if not rows:
            raise MigrationNotFound(migration_id)
        return _migration(rows[0])

    return Query(STATEMENTS["one"], {"id": migration_id}, read)


def goes_on(migration: Migration, total: int | None) -> Query[None]:
    """Build the query that marks a migration as running."""
    return Query(STATEMENTS["goes_on"], {"id": str(migration.id), "total": total})


def pause(migration: Migration) -> Query[None]:
    """Build the query that marks a migration as paused."""
    return Query(STATEMENTS["pause"], {"id": str(migration.id)})


def finish(migration: Migration, total: int | None) -> Query[None]:
    """Build the query that marks a migration as finished."""
    return Query(STATEMENTS["finish"], {"id": str(migration.id), "total": total})


def hold(migration_id: UUID, before: str | None, then: str) -> Query[bool]:
    """Build the query that locks a migration, to store the batch between two cursors.

    Reading it raises `MigrationConflict` if another process runs the migration, or it has ended.

    Returns:
        Whether the batch is still to be stored. False after a commit whose answer was lost.
    """

    def read(rows: Rows) -> bool:
        status, cursor = (rows[0].status, rows[0].cursor) if rows else ("removed", None)
        if status not in ("running", "paused") or cursor not in (before, then):
            raise MigrationConflict(str(migration_id), status)
        return bool(cursor == before)

    return Query(STATEMENTS["hold"], {"id": str(migration_id)}, read)


def advance(migration_id: UUID, cursor: str, counts: Mapping[str, int]) -> Query[None]:
    """Build the query that counts a batch: `brought`, `present`, `expired`, `rejected`."""
    return Query(STATEMENTS["advance"], {"id": str(migration_id), "cursor": cursor, **counts})


def silence(migration_id: UUID) -> Query[None]:
    """Build the query that marks this transaction as a migration's.

    The triggers of memories then keep ids and times, and write no audit record or delivery for
    each memory.
    """
    return Query(STATEMENTS["silence"], {"id": str(migration_id)})


def record(migration: Migration, action: str, memories: int) -> Query[None]:
    """Build the query that writes one audit record for the whole transaction."""
    given = {
        "id": str(migration.id),
        "source": migration.source,
        "action": action,
        "memories": memories,
    }
    return Query(STATEMENTS["record"], given)


def _migration(row: Any) -> Migration:
    return Migration.model_validate(row._asdict())
