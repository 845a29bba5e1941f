"""A restore in one transaction: each table's rows are staged, checked and added.

The triggers that record changes must not fire, or history and audit would record everything twice.
The owner of the tables disables them behind a lock that excludes all other writers until they are
enabled again. So nobody ever writes without triggers, and a transaction that is rolled back has
never disabled any.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from psycopg.sql import SQL, Identifier, Literal
from pydantic import BaseModel, Field

from graphs.memory.database.parts import part_named_in
from graphs.memory.database.transaction import Connection
from graphs.operations.backup import tables
from graphs.operations.backup.chain import Backup
from graphs.operations.backup.file import Section
from graphs.operations.backup.selection import KNOWLEDGE
from graphs.operations.backup.staging import Stage
from graphs.operations.backup.tables import (
    ERASURES,
    EVENTS,
    HISTORY,
    MEMORIES,
    MODELS,
    STATEMENTS,
    Table,
)
from graphs.operations.errors import ErasedPresent, InvalidBackup


class Restored(BaseModel):
    """The result of a restore, or of its dry run."""

    taken_at: datetime = Field(description="The moment of the backup; of a chain, of the last one.")
    name: str | None = Field(default=None, description="The name that it was written under.")
    rows: dict[str, int] = Field(default={}, description="Number of rows in the backups, by table.")
    added: dict[str, int] = Field(
        default={}, description="Number of missing rows that were added, by table."
    )
    erased_since: int = Field(
        default=0, description="Number of users erased after the backup, who stay erased."
    )


class Restoring:
    """Restores the tables of a backup in an open transaction.

    Args:
        conn: the transaction's connection, as the owner of the tables.
        tables: the database's tables.
        backup: the backup; of a chain, the last link.
        subject: the only user to restore; None for everything. Rows without one owner, such as
            seals, are restored only with everything.
    """

    def __init__(
        self, conn: Connection, tables: Sequence[Table], backup: Backup, subject: str | None
    ) -> None:
        self._conn = conn
        self._tables = {table.title: table for table in tables}
        self._subject = subject
        self._only = subject or backup.user_id
        self._is_of_a_time = backup.is_of_a_time
        self._stage = Stage(conn)
        self.restored = Restored(taken_at=backup.taken_at, name=backup.name)

    def check(self, rows: Mapping[str, int]) -> None:
        """Check that this database has a table for all rows: seals and the graph must not be lost.

        Raises:
            InvalidBackup: a table is missing of which the backup has rows.
        """
        for title, count in rows.items():
            if count and title not in self._tables:
                if part := part_named_in(f'"{title}"'):
                    raise InvalidBackup(
                        f"it has {count:,} rows of {title}, and this database was made without "
                        f"the {part}; `graph-memory schema apply --with {part}` adds it"
                    )
                raise InvalidBackup(
                    f"it has {count:,} rows of {title}, a table that this database lacks; run "
                    "`graph-memory setup` of the version that made the backup, or a later one"
                )

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Exclude other writers and disable triggers within the block."""
        first = sorted(self._tables.values(), key=lambda table: table.title != MEMORIES)
        await self._stage.do(
            SQL(STATEMENTS["lock"]).format(
                tables=SQL(", ").join(table.identifier for table in first)
            )
        )
        cursor = await self._conn.execute(STATEMENTS["triggers"], prepare=False)
        found = [
            row
            for row in await cursor.fetchall()
            if f"{row['schema']}.{row['name']}" in self._tables
        ]
        triggers = [
            {"table": Identifier(row["schema"], row["name"]), "trigger": Identifier(row["trigger"])}
            for row in found
        ]
        for trigger in triggers:
            await self._stage.do(SQL(STATEMENTS["disable_trigger"]).format(**trigger))
        yield
        await self._finish()
        await self._stage.do(SQL(STATEMENTS["check_constraints"]))
        for trigger in triggers:
            await self._stage.do(SQL(STATEMENTS["enable_trigger"]).format(**trigger))
        await self._stage.do(SQL(STATEMENTS["index_vectors"]))

    async def learn(self, section: Section) -> None:
        """Take the records of erasures from another backup, before anything is restored."""
        table = self._tables.get(section.table)
        if table is None or section.table not in KNOWLEDGE or section.keys:
            return
        await self._stage.begin(table, section)
        await self._stage.fill(_telling_of_erasures(section))
        await self._stage.refuse_others()
        if table.title == ERASURES:
            await self._refuse_erased()
        await self._stage.do(tables.add_all(table, section.columns))
        await self._stage.end()

    async def _refuse_erased(self) -> None:
        """Refuse records of erasures of users whose data is in this database."""
        for table in self._tables.values():
            for column in table.personal:
                given = {"table": table.identifier, "column": Identifier(column)}
                found = SQL(STATEMENTS["erased_present"]).format(**given)
                row = await (await self._conn.execute(found, prepare=False)).fetchone()
                if row and row["present"]:
                    raise ErasedPresent(table.title)

    async def take(self, section: Section, generation: int) -> None:
        """Stage rows. The rows of a table are added when the next table begins.

        Args:
            section: rows, or keys.
            generation: 0 for the last link of a chain, 1 for the one before, and so on.
        """
        if section.table not in self._tables:
            self._refuse_erased_history(section)
            return
        if self._stage.table is None or self._stage.table.title != section.table:
            await self._finish()
            await self._stage.begin(self._tables[section.table], section)
            self.restored.rows[section.table] = 0
        if not section.keys:
            self.restored.rows[section.table] += len(section.rows)
            await self._stage.fill(section.rows, generation)
        elif generation == 0:
            await self._stage.fill_keys(section)

    def _refuse_erased_history(self, section: Section) -> None:
        """Refuse seals over erased history.

        Its ids could be assigned again, and the new rows would not match the seals.
        """
        if section.table == HISTORY and not self._only and any(section.last_numbers.values()):
            raise InvalidBackup(
                "it has seals over history that was erased, and this database was made without "
                "the history; `graph-memory schema apply --with history` adds it"
            )

    async def _finish(self) -> None:
        """Add the staged rows."""
        stage, table = self._stage, self._stage.table
        if table is None:
            return
        await stage.settle()
        if table.title == ERASURES:
            await stage.do(SQL(STATEMENTS["note_erased"]).format(subject=Literal(self._only)))
            row = await (
                await self._conn.execute(STATEMENTS["count_erased"], prepare=False)
            ).fetchone()
            self.restored.erased_since = row["erased"] if row else 0
        if table.title == MODELS:
            await stage.do(SQL(STATEMENTS["reserve_models"]))
            self.restored.added[table.title] = await stage.do(SQL(STATEMENTS["add_models"]))
            await stage.do(SQL(STATEMENTS["note_models"]))
        elif self._belongs(table):
            await stage.refuse_others()
            self.restored.added[table.title] = await stage.do(
                tables.add(table, stage.columns, self._subject)
            )
        if table.title == MEMORIES:
            await stage.do(SQL(STATEMENTS["note_current"]))
            await stage.do(SQL(STATEMENTS["index_current"]))
        await stage.end()

    def _belongs(self, table: Table) -> bool:
        """Return whether a table's rows are restored.

        Without the audit records of everything, certificates of erasures are left out.
        """
        return bool(table.personal) or not (
            self._only or (self._is_of_a_time and table.title == ERASURES)
        )

    async def continue_numbers(self) -> None:
        """Raise the sequences to the backup's last values, so that no id is assigned twice."""
        for (table, column), last in self._stage.last_numbers.items():
            given = {"table": table, "column": column, "last": last}
            await self._conn.execute(STATEMENTS["raise_number"], given, prepare=False)


def _telling_of_erasures(section: Section) -> list[list[str | None]]:
    if section.table == HISTORY:
        return []
    if section.table == EVENTS:
        action = section.columns.index("action")
        return [row for row in section.rows if row[action] == "memory.erased"]
    return section.rows
