"""A temporary table for the rows of one table of a backup, before they are added."""

from psycopg.sql import SQL, Composed

from graphs.memory.database.transaction import Connection
from graphs.operations.backup.file import Section
from graphs.operations.backup.tables import (
    MEMORIES,
    STATEMENTS,
    Table,
    names,
)
from graphs.operations.errors import InvalidBackup, RestoreConflict

_KNOWN_BY: dict[str, tuple[str, ...]] = {
    MEMORIES: ("namespace", "key"),
    "memory.audit_logs": ("at", "actor", "action"),
    "memory.memory_history": ("memory_id", "namespace", "key", "valid_to"),
    "memory.row_history": ("source", "row_id", "valid_to"),
    "memory.audit_seals": ("digest",),
}
"""Columns that identify a numbered row.

If they differ for the same id, the row is from another database.
"""


class Stage:
    """Stages rows in an open transaction, one table after the other.

    Args:
        conn: the transaction's connection, as the owner of the tables.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._ranges: bool | None = None
        self.table: Table | None = None
        """The table whose rows are staged."""
        self.columns: tuple[str, ...] = ()
        self.last_numbers: dict[tuple[str, str], int] = {}
        """Last assigned ids by table and column, of everything that was staged so far."""

    async def begin(self, table: Table, section: Section) -> None:
        """Create the temporary table for the rows of a table.

        Raises:
            InvalidBackup: the table lacks one of the columns.
        """
        if unknown := sorted({*section.columns} - {*table.columns}):
            raise InvalidBackup(
                f"{section.table} has no column {unknown[0]!r} in this database; run "
                "`graph-memory setup` of the version that made the backup, or a later one"
            )
        self.table, self.columns = table, section.columns
        await self.do(
            SQL(STATEMENTS["stage"]).format(columns=names(section.columns), table=table.identifier)
        )
        for column, last in section.last_numbers.items():
            number = table.identifier.as_string(), column
            if last is not None:
                self.last_numbers[number] = max(last, self.last_numbers.get(number, last))

    async def fill(self, rows: list[list[str | None]], generation: int = 0) -> None:
        """Stage rows. Generation 0 is the last link of a chain."""
        fill = SQL(STATEMENTS["fill"]).format(columns=names(self.columns))
        async with self._conn.cursor() as cursor, cursor.copy(fill) as copy:
            for row in rows:
                await copy.write_row((*row, generation))

    async def fill_keys(self, section: Section) -> None:
        """Stage the keys of the rows that existed at the moment of the last link."""
        if self.table and self._ranges is None:
            self._ranges = section.ranges
            stage = SQL(STATEMENTS["stage_ranges" if section.ranges else "stage_keys"])
            await self.do(stage.format(columns=names(section.columns), table=self.table.identifier))
        if section.rows:
            async with self._conn.cursor() as cursor, cursor.copy(STATEMENTS["fill_keys"]) as copy:
                for row in section.rows:
                    await copy.write_row(row)

    async def settle(self) -> None:
        """Reduce the staged rows to those that existed at the moment of the last link."""
        if self.table is None or self._ranges is None:
            return
        if key := self.table.key:
            later = {"keys": names(key, "s"), "later": names(key, "later")}
            await self.do(SQL(STATEMENTS["leave_latest"]).format(**later))
            left = STATEMENTS["leave_in_ranges" if self._ranges else "leave_present"]
            await self.do(SQL(left).format(keys=names(key, "s"), present=names(key, "k")))
        else:
            await self.do(SQL(STATEMENTS["leave_last"]))

    async def refuse_others(self) -> None:
        """Check that the database has no other rows with the same ids.

        Raises:
            RestoreConflict: it has.
        """
        known_by = _KNOWN_BY.get(self.table.title) if self.table else None
        if self.table is None or not known_by:
            return
        others = SQL(STATEMENTS["others"]).format(
            table=self.table.identifier, staged=names(known_by, "s"), present=names(known_by, "t")
        )
        row = await (await self._conn.execute(others, prepare=False)).fetchone()
        if row and row["others"]:
            raise RestoreConflict(self.table.title, row["others"])

    async def end(self) -> None:
        """Drop the temporary tables."""
        await self.do(SQL(STATEMENTS["unstage"]))
        if self._ranges is not None:
            await self.do(SQL(STATEMENTS["unstage_keys"]))
        self.table, self._ranges = None, None

    async def do(self, statement: SQL | Composed) -> int:
        """Run a statement, and return its row count."""
        cursor = await self._conn.execute(statement, prepare=False)
        return int(cursor.rowcount)
