"""A restore in one transaction: what is staged of each table is judged and added there.

The triggers that record changes must not fire, or history and audit would tell of everything twice. They are switched
off as the tables' owner, behind a lock that keeps every other writer out until they are on again: nobody ever writes
without them, and a transaction that is cut off has never switched anything off.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from psycopg.sql import SQL, Identifier, Literal
from pydantic import BaseModel, Field

from graphs.memory.database.parts import part_named_in
from graphs.memory.database.transaction import Connection
from graphs.memory.errors import ErasedPresent, InvalidBackup
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


class Restored(BaseModel):
    """What a restore did, or would do."""

    rows: dict[str, int] = Field(
        default={}, description="How many rows the backups have of each table."
    )
    added: dict[str, int] = Field(
        default={}, description="How many of them were missing, and are back."
    )
    erased_since: int = Field(
        default=0, description="How many people were erased after the backup, and stay so."
    )


class Restoring:
    """What happens to each table of a backup, in an open transaction.

    Args:
        conn: the transaction's, as the owner of the tables.
        tables: the database's.
        backup: which one it is; of several that are read as one, the last.
        subject: the one person to restore; None for all that it has. What belongs to nobody, or to everybody, such as
            seals, comes back with a restore of everything only.
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
        self.restored = Restored()

    def check(self, rows: Mapping[str, int]) -> None:
        """Refuse what this database has no table for: seals tell of the history, and nobody asked to lose the graph.

        Raises:
            InvalidBackup: it lacks a table of which the backup has rows.
        """
        for title, count in rows.items():
            if count and title not in self._tables:
                if part := part_named_in(f'"{title}"'):
                    raise InvalidBackup(
                        f"it has {count:,} rows of {title}, and this database was made without the {part}; "
                        f"`graph-memory schema apply --with {part}` adds it"
                    )
                raise InvalidBackup(
                    f"it has {count:,} rows of {title}, which this database does not have; run `graph-memory setup` of "
                    "the version that it was made with, or a later one"
                )

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Keep other writers out, and triggers off, for what is done in the block."""
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
        """Take from another backup who was erased, with what tells of it: all this before anything is restored."""
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
        """Refuse certificates of people who are here: the database would say that they were erased, and have them."""
        for table in self._tables.values():
            for column in table.personal:
                given = {"table": table.identifier, "column": Identifier(column)}
                found = SQL(STATEMENTS["erased_present"]).format(**given)
                row = await (await self._conn.execute(found, prepare=False)).fetchone()
                if row and row["present"]:
                    raise ErasedPresent(table.title)

    async def take(self, section: Section, generation: int) -> None:
        """Stage rows; those of a table are added when the next one begins.

        Args:
            section: rows, or keys.
            generation: 0 for those of the last backup of several, and so on.
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
        """Refuse seals over history whose numbers could be given again: they would not fit any more."""
        if section.table == HISTORY and not self._only and any(section.last_numbers.values()):
            raise InvalidBackup(
                "it has seals over history that was erased, and this database was made without the history; "
                "`graph-memory schema apply --with history` adds it"
            )

    async def _finish(self) -> None:
        """Add what is staged."""
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
        """Whether its rows are restored: a part of a backup brings no certificates, whose records it does not have."""
        return bool(table.personal) or not (
            self._only or (self._is_of_a_time and table.title == ERASURES)
        )

    async def continue_numbers(self) -> None:
        """Have numbering go on behind the backup's last numbers: those of removed rows are not given again, either."""
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
