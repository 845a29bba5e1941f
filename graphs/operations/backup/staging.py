"""The rows of one table of a backup, side by side in a temporary table, before any of them is added."""

from psycopg.sql import SQL, Composed

from graphs.memory.database.transaction import Connection
from graphs.memory.errors import InvalidBackup, RestoreConflict
from graphs.operations.backup.file import Section
from graphs.operations.backup.tables import (
    MEMORIES,
    STATEMENTS,
    Table,
    names,
)

_KNOWN_BY: dict[str, tuple[str, ...]] = {
    MEMORIES: ("namespace", "key"),
    "memory.audit_logs": ("at", "actor", "action"),
    "memory.memory_history": ("memory_id", "namespace", "key", "valid_to"),
    "memory.audit_seals": ("digest",),
}
"""What a numbered row is known by: with another one of these it is another database's."""


class Stage:
    """Where rows are staged, in an open transaction: one table after the other.

    Args:
        conn: the transaction's, as the owner of the tables.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._ranges: bool | None = None
        self.table: Table | None = None
        """Whose rows are staged."""
        self.columns: tuple[str, ...] = ()
        self.last_numbers: dict[tuple[str, str], int] = {}
        """The last numbers that were given, by table and column, of all that was staged so far."""

    async def begin(self, table: Table, section: Section) -> None:
        """Make room for the rows of a table.

        Raises:
            InvalidBackup: the table lacks one of the columns.
        """
        if unknown := sorted({*section.columns} - {*table.columns}):
            raise InvalidBackup(
                f"{section.table} has no column {unknown[0]!r} in this database; run `graph-memory setup` of the "
                "version that it was made with, or a later one"
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
        """Stage rows; of generation 0 are those of the latest of several backups."""
        fill = SQL(STATEMENTS["fill"]).format(columns=names(self.columns))
        async with self._conn.cursor() as cursor, cursor.copy(fill) as copy:
            for row in rows:
                await copy.write_row((*row, generation))

    async def fill_keys(self, section: Section) -> None:
        """Stage by what the rows are told apart that there were at the moment of the latest backup."""
        if self.table and self._ranges is None:
            self._ranges = section.ranges
            stage = SQL(STATEMENTS["stage_ranges" if section.ranges else "stage_keys"])
            await self.do(stage.format(columns=names(section.columns), table=self.table.identifier))
        if section.rows:
            async with self._conn.cursor() as cursor, cursor.copy(STATEMENTS["fill_keys"]) as copy:
                for row in section.rows:
                    await copy.write_row(row)

    async def settle(self) -> None:
        """Leave of the staged rows what there was at the moment of the latest backup."""
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
        """Refuse rows under whose numbers the database has others.

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
        """Take away what is staged."""
        await self.do(SQL(STATEMENTS["unstage"]))
        if self._ranges is not None:
            await self.do(SQL(STATEMENTS["unstage_keys"]))
        self.table, self._ranges = None, None

    async def do(self, statement: SQL | Composed) -> int:
        """Carry out a statement, and return of how many rows it told."""
        cursor = await self._conn.execute(statement, prepare=False)
        return int(cursor.rowcount)
