"""The ledger: which migrations there are, how far each is, and what it brought."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.errors import MigrationConflict, MigrationNotFound
from graphs.memory.values.text import to_json

STATEMENTS = statements.load("ledger", __package__)

MigrationStatus = Literal["running", "paused", "finished", "rolled_back"]


class Migration(BaseModel):
    """A migration, and how far it is."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    source: str = Field(description="What kind of source it reads.")
    origin: str = Field(description="Which one of its kind.")
    options: dict[str, Any] = Field(description="How it is read.")
    status: MigrationStatus = Field(
        description="`running` also after a process was killed: the same command goes on with it."
    )
    total: int | None = Field(
        description="How many records the source has; null where it cannot tell."
    )
    brought: int = Field(description="How many memories it brought.")
    present: int = Field(description="How many were left alone, since their address was taken.")
    expired: int = Field(description="How many were left out, since they had expired.")
    rejected: int = Field(description="How many cannot be memories here.")
    cursor: str | None = Field(description="Where the source goes on.")
    started_at: datetime
    updated_at: datetime = Field(description="When a batch was stored last.")
    finished_at: datetime | None

    @property
    def seen(self) -> int:
        """How many records it has dealt with."""
        return self.brought + self.present + self.expired + self.rejected


def start(
    source: str, origin: str, options: Mapping[str, Any], total: int | None
) -> Query[Migration]:
    """Ask for a new migration."""
    given = {
        "source": source,
        "origin": origin,
        "options": to_json(options, "options"),
        "total": total,
    }
    return Query(STATEMENTS["start"], given, lambda rows: _migration(rows[0]))


def unfinished(source: str, origin: str) -> Query[Migration | None]:
    """Ask for the migration that was begun with a source and has not ended."""
    given = {"source": source, "origin": origin}
    return Query(
        STATEMENTS["unfinished"], given, lambda rows: _migration(rows[0]) if rows else None
    )


def every() -> Query[list[Migration]]:
    """Ask for all migrations, the latest first."""
    return Query(STATEMENTS["all"], {}, lambda rows: [_migration(row) for row in rows])


def one(migration_id: str) -> Query[Migration]:
    """Ask for a migration; reading the answer raises `MigrationNotFound` if there is none."""

    def read(rows: Rows) -> Migration:
        if not rows:
            raise MigrationNotFound(migration_id)
        return _migration(rows[0])

    return Query(STATEMENTS["one"], {"id": migration_id}, read)


def goes_on(migration: Migration, total: int | None) -> Query[None]:
    """Ask for a migration to count as running again."""
    return Query(STATEMENTS["goes_on"], {"id": str(migration.id), "total": total})


def pause(migration: Migration) -> Query[None]:
    """Ask for a migration to count as paused."""
    return Query(STATEMENTS["pause"], {"id": str(migration.id)})


def finish(migration: Migration, total: int | None) -> Query[None]:
    """Ask for a migration to count as finished."""
    return Query(STATEMENTS["finish"], {"id": str(migration.id), "total": total})


def hold(migration_id: UUID, before: str | None, then: str) -> Query[bool]:
    """Ask for a migration to be held by this transaction, to store the batch between two cursors.

    Reading the answer raises `MigrationConflict` if somebody else carries it out, or it has ended.

    Returns:
        Whether the batch is still to be stored; False if it was, and only the answer to its commit got lost.
    """

    def read(rows: Rows) -> bool:
        status, cursor = (rows[0].status, rows[0].cursor) if rows else ("removed", None)
        if status not in ("running", "paused") or cursor not in (before, then):
            raise MigrationConflict(str(migration_id), status)
        return bool(cursor == before)

    return Query(STATEMENTS["hold"], {"id": str(migration_id)}, read)


def advance(migration_id: UUID, cursor: str, counts: Mapping[str, int]) -> Query[None]:
    """Ask for a batch to be counted: `brought`, `present`, `expired`, `rejected`."""
    return Query(STATEMENTS["advance"], {"id": str(migration_id), "cursor": cursor, **counts})


def silence(migration_id: UUID) -> Query[None]:
    """Ask for this transaction to write as a migration does: past the triggers that stamp, record and tell."""
    return Query(STATEMENTS["silence"], {"id": str(migration_id)})


def record(migration: Migration, action: str, memories: int) -> Query[None]:
    """Ask for the one audit record of all that a transaction does."""
    given = {
        "id": str(migration.id),
        "source": migration.source,
        "action": action,
        "memories": memories,
    }
    return Query(STATEMENTS["record"], given)


def _migration(row: Any) -> Migration:
    return Migration.model_validate(row._asdict())
