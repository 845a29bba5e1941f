"""A restore in one transaction: what is staged of each table is judged and added there.

The triggers that record changes must not fire, or history and audit would tell of everything twice. They are switched
off as the tables' owner, behind a lock that keeps every other writer out until they are on again: nobody ever writes
without them, and a transaction that is cut off has never switched anything off.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from psycopg.sql import SQL, Composed, Identifier, Literal
from pydantic import BaseModel, Field

from graphs.memory.errors import InvalidBackup, RestoreConflict
from graphs.memory.operations.backup import tables
from graphs.memory.operations.backup.file import Section
from graphs.memory.operations.backup.tables import ERASURES, MEMORIES, MODELS, STATEMENTS, Table, names
from graphs.memory.transaction import Connection

_KNOWN_BY: dict[str, tuple[str, ...]] = {
    MEMORIES: ("namespace", "key"),
    "memory.audit_logs": ("at", "actor", "action"),
    "memory.memory_history": ("memory_id", "namespace", "key", "valid_to"),
    "memory.audit_seals": ("digest",),
}
"""What a numbered row is known by: with another one of these it is another database's."""


class Restored(BaseModel):
    """What a restore did, or would do."""

    rows: dict[str, int] = Field(default={}, description="How many rows the backup has of each table.")
    added: dict[str, int] = Field(default={}, description="How many of them were missing, and are back.")
    erased_since: int = Field(default=0, description="How many people were erased after the backup, and stay so.")


class Restoring:
    """What happens to each table of a backup, in an open transaction.

    Args:
        conn: the transaction's, as the owner of the tables.
        tables: the database's.
        backed_up: the one person whose backup it is; None where it is everybody's.
        subject: the one person to restore; None for all that it has. What belongs to nobody, or to everybody, such as
            seals, comes back with a restore of everything only.
    """

    def __init__(self, conn: Connection, tables: Sequence[Table], backed_up: str | None, subject: str | None) -> None:
        self._conn = conn
        self._tables = {table.title: table for table in tables}
        self._subject = subject
        self._only = subject or backed_up
        self._last_numbers: dict[tuple[str, str], int] = {}
        self._staged: Section | None = None
        self.restored = Restored()

    def check(self, rows: Mapping[str, int]) -> None:
        """Refuse what this database has no table for.

        Raises:
            InvalidBackup: it lacks a table of which the backup has rows.
        """
        for title, count in rows.items():
            if count and title not in self._tables:
                raise InvalidBackup(
                    f"it has {count:,} rows of {title}, which this database does not have; run `graph-memory setup` of "
                    "the version that it was made with, or a later one"
                )

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Keep other writers out, and triggers off, for what is done in the block."""
        first = sorted(self._tables.values(), key=lambda table: table.title != MEMORIES)
        await self._do(SQL(STATEMENTS["lock"]).format(tables=SQL(", ").join(table.identifier for table in first)))
        cursor = await self._conn.execute(STATEMENTS["triggers"], prepare=False)
        found = [row for row in await cursor.fetchall() if f"{row['schema']}.{row['name']}" in self._tables]
        triggers = [
            {"table": Identifier(row["schema"], row["name"]), "trigger": Identifier(row["trigger"])} for row in found
        ]
        for trigger in triggers:
            await self._do(SQL(STATEMENTS["disable_trigger"]).format(**trigger))
        yield
        await self._finish()
        await self._do(SQL(STATEMENTS["check_constraints"]))
        for trigger in triggers:
            await self._do(SQL(STATEMENTS["enable_trigger"]).format(**trigger))
        await self._do(SQL(STATEMENTS["index_vectors"]))

    async def take(self, section: Section) -> None:
        """Stage rows; those of a table are added when the next one begins."""
        if section.table not in self._tables:
            return
        if self._staged is None or self._staged.table != section.table:
            await self._finish()
            await self._begin(section)
        self.restored.rows[section.table] += len(section.rows)
        fill = SQL(STATEMENTS["fill"]).format(columns=names(section.columns))
        async with self._conn.cursor() as cursor, cursor.copy(fill) as copy:
            for row in section.rows:
                await copy.write_row(row)

    async def _begin(self, section: Section) -> None:
        table = self._tables[section.table]
        if unknown := sorted({*section.columns} - {*table.columns}):
            raise InvalidBackup(
                f"{section.table} has no column {unknown[0]!r} in this database; run `graph-memory setup` of the "
                "version that it was made with, or a later one"
            )
        self._staged = section
        self.restored.rows[section.table] = 0
        await self._do(SQL(STATEMENTS["stage"]).format(columns=names(section.columns), table=table.identifier))
        for column, last in section.last_numbers.items():
            if last is not None:
                self._last_numbers[table.identifier.as_string(), column] = last

    async def _finish(self) -> None:
        """Add what is staged."""
        if self._staged is None:
            return
        section, self._staged = self._staged, None
        table = self._tables[section.table]
        if table.title == ERASURES:
            await self._do(SQL(STATEMENTS["note_erased"]).format(subject=Literal(self._only)))
            row = await (await self._conn.execute(STATEMENTS["count_erased"], prepare=False)).fetchone()
            self.restored.erased_since = row["erased"] if row else 0
        if table.title == MODELS:
            self.restored.added[table.title] = await self._do(SQL(STATEMENTS["add_models"]))
            await self._do(SQL(STATEMENTS["note_models"]))
        elif table.personal or not self._only:
            await self._refuse_others(table)
            self.restored.added[table.title] = await self._do(tables.add(table, section.columns, self._subject))
        if table.title == MEMORIES:
            await self._do(SQL(STATEMENTS["note_current"]))
            await self._do(SQL(STATEMENTS["index_current"]))
        await self._do(SQL(STATEMENTS["unstage"]))

    async def _refuse_others(self, table: Table) -> None:
        known_by = _KNOWN_BY.get(table.title)
        if not known_by:
            return
        others = SQL(STATEMENTS["others"]).format(
            table=table.identifier, staged=names(known_by, "s"), present=names(known_by, "t")
        )
        row = await (await self._conn.execute(others, prepare=False)).fetchone()
        if row and row["others"]:
            raise RestoreConflict(table.title, row["others"])

    async def continue_numbers(self) -> None:
        """Have numbering go on behind the backup's last numbers: those of removed rows are not given again, either."""
        for (table, column), last in self._last_numbers.items():
            given = {"table": table, "column": column, "last": last}
            await self._conn.execute(STATEMENTS["raise_number"], given, prepare=False)

    async def _do(self, statement: SQL | Composed) -> int:
        cursor = await self._conn.execute(statement, prepare=False)
        return int(cursor.rowcount)
