"""Rollback of a migration: remove its memories, except those that changed since."""

from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database.database import Database
from graphs.memory.database.parts import SchemaPart
from graphs.memory.database.query import Query
from graphs.memory.database.transaction import Transaction
from graphs.memory.principal import Principal
from graphs.memory.values.namespaces import Namespace, from_text
from graphs.operations.errors import MigrationConflict
from graphs.operations.migration import ledger
from graphs.operations.migration.ledger import STATEMENTS, Migration


class RolledBack(BaseModel):
    """The result of a rollback, or of its dry run."""

    model_config = ConfigDict(frozen=True)

    removed: int = Field(description="Number of memories removed, unchanged since the import.")
    kept: list[tuple[Namespace, str]] = Field(
        description="Memories that stay: changed or deleted since the import, or referenced."
    )


async def roll_back(database: Database, migration: Migration, *, dry_run: bool) -> RolledBack:
    """Remove the memories that a migration imported, in one transaction.

    Raises:
        MigrationConflict: the migration is running.
    """

    async def work(transaction: Transaction) -> RolledBack:
        given = {"id": str(migration.id)}
        judging: Query[list[Any]] = Query(STATEMENTS["judge"], given, list)
        holding: Query[list[Any]] = Query(STATEMENTS["hold"], given, list)
        relating: Query[set[int]] = Query(
            STATEMENTS["related"],
            given,
            lambda rows: {row.memory_id for row in rows},
            SchemaPart.GRAPH,
        )
        [held], judged, related = await transaction.run([holding, judging, relating])
        # The cursor moved since the caller read it: another process is importing.
        if held.cursor != migration.cursor:
            raise MigrationConflict(str(migration.id), held.status)
        going = [row for row in judged if row.untouched and row.memory_id not in (related or ())]
        if not dry_run:
            await _remove(transaction, migration, going)
        gone = {row.memory_id for row in going}
        kept = [(from_text(row.namespace), row.key) for row in judged if row.memory_id not in gone]
        return RolledBack(removed=len(going), kept=kept)

    return await database.transaction(Principal.owner(), work)


async def _remove(transaction: Transaction, migration: Migration, going: list[Any]) -> None:
    certificate, migration_id = str(uuid4()), str(migration.id)
    given = {
        "id": migration_id,
        "certificate": certificate,
        "namespaces": [row.namespace for row in going],
        "keys": [row.key for row in going],
        "memories": [row.memory_id for row in going],
    }
    history: Query[int] = Query(
        STATEMENTS["removed_history"],
        given,
        lambda rows: int(rows[0].gone),
        part=SchemaPart.HISTORY,
    )
    removing: list[Query[Any]] = [
        ledger.silence(migration.id),
        Query(STATEMENTS["remove"], given),
        Query(STATEMENTS["remove_history"], given),
        history,
    ]
    gone = (await transaction.run(removing))[-1]
    ending: list[Query[Any]] = [
        Query(STATEMENTS["rolled_back"], given),
        ledger.record(migration, "memory.import_rolled_back", len(going)),
    ]
    if gone:
        ending.append(
            Query(
                STATEMENTS["certify"],
                {"id": migration_id, "certificate": certificate, "gone": gone},
            )
        )
    await transaction.run(ending)
