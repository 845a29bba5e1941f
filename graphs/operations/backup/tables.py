"""The tables that hold data, and the statements that add rows to them.

Statements are composed of names from the catalogue only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from graphs.memory.database import statements
from graphs.memory.database.transaction import Connection

STATEMENTS = statements.load_sources("backup", __package__)

ERASURES, ERASED, MODELS = "memory.erasures", "memory.erased_records", "memory.embedding_models"
MEMORIES, EMBEDDINGS = "memory.memories", "memory.memory_embeddings"
EVENTS, HISTORY = "memory.audit_logs", "memory.memory_history"
EARLIER_EMBEDDINGS, EARLIER_ROWS = "memory.history_embeddings", "memory.row_history"

_FIRST = (ERASURES, MODELS)
"""Tables that a restore must have read before it can judge other rows.

The links of a chain must have the same order of tables.
"""

_OF_THIS_DATABASE = {(EMBEDDINGS, "indexed")}
"""Columns that describe the physical state of this database, not its content."""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: columns, and the columns of another table that they reference."""

    table: Identifier
    title: str
    columns: tuple[str, ...]
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the catalogue describes it."""

    schema: str
    name: str
    columns: tuple[str, ...]
    generated: frozenset[str]
    personal: tuple[str, ...]
    """Columns that name the user of a row."""
    last_numbers: dict[str, int | None]
    """The last assigned id of each numbered column."""
    references: tuple[ForeignKey, ...]
    key: tuple[str, ...]
    """The primary key or another unique key; empty if there is none."""
    numbered: bool
    """True if the key is a single number."""

    @property
    def title(self) -> str:
        """Return the name with its schema, as in a backup."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> Identifier:
        """Return the name as an SQL identifier."""
        return Identifier(self.schema, self.name)


async def data_tables(conn: Connection) -> list[Table]:
    """Return the tables that hold data. Referenced tables come before those that reference them."""
    cursor = await conn.execute(STATEMENTS["tables"], {}, prepare=False)
    tables = {table.title: table for table in map(_table, await cursor.fetchall())}
    order = TopologicalSorter[str]()
    for title, table in tables.items():
        before = {reference.title for reference in table.references} & tables.keys()
        order.add(title, *sorted(before), *(_FIRST if title not in _FIRST else ()))
    if EARLIER_ROWS in tables:  # they are about memories that no foreign key names
        order.add(EARLIER_ROWS, MEMORIES, HISTORY)
    return [tables[title] for title in order.static_order()]


def _table(row: dict[str, Any]) -> Table:
    title = f"{row['schema']}.{row['name']}"
    references = tuple(
        ForeignKey(
            Identifier(r["schema"], r["name"]),
            f"{r['schema']}.{r['name']}",
            (*r["columns"],),
            (*r["parents"],),
        )
        for r in row["foreign_keys"]
    )
    columns = tuple(column for column in row["columns"] if (title, column) not in _OF_THIS_DATABASE)
    generated = frozenset(row["generated"])
    return Table(
        row["schema"],
        row["name"],
        columns,
        generated,
        (*row["personal"],),
        row["last_numbers"],
        references,
        (*row["key"]["columns"],),
        row["key"]["numbered"],
    )


def names(columns: Sequence[str], of: str | None = None) -> Composed:
    """Return quoted columns with commas between them; `of` is the alias of their table."""
    return SQL(", ").join(
        Identifier(of, column) if of else Identifier(column) for column in columns
    )


def add(table: Table, columns: Sequence[str], subject: str | None) -> Composed:
    """Return the statement that adds missing rows from the staged ones.

    It leaves out rows of users who were erased since, memories and records that were erased since,
    rows whose parents are missing here, and vectors of memories that have a different version now.

    Args:
        table: the table to add to.
        columns: the staged columns.
        subject: the only user whose rows are added; None for all users.
    """
    written = [column for column in columns if column not in table.generated]
    values: list[Composable] = [Identifier("s", column) for column in written]
    persons: list[Composable] = [Identifier("s", column) for column in table.personal]
    if table.title == EVENTS:
        persons.append(SQL("s.data ->> 'about'"))
    conditions: list[Composable] = [
        SQL(STATEMENTS["not_erased"]).format(person=person) for person in persons
    ]
    conditions += [_has_parent(reference) for reference in table.references]
    if table.title == MEMORIES:
        conditions.append(SQL(STATEMENTS["not_erased_for_good"]))
    if table.title in (EVENTS, HISTORY):
        conditions.append(SQL(STATEMENTS["not_erased_record"]).format(source=Literal(table.name)))
    if table.title in (EMBEDDINGS, EARLIER_EMBEDDINGS):
        values[written.index("model")] = SQL(STATEMENTS["model_here"])
    if table.title == EMBEDDINGS:
        conditions.append(SQL(STATEMENTS["is_current"]))
    if table.title == EARLIER_ROWS:
        conditions.append(SQL(STATEMENTS["is_about_known"]))
    if subject is not None:
        theirs = (Composed([person, SQL(" = "), Literal(subject)]) for person in persons)
        conditions.append(Composed([SQL("("), SQL(" OR ").join(theirs), SQL(")")]))
    return SQL(STATEMENTS["add"]).format(
        table=table.identifier,
        columns=names(written),
        values=SQL(", ").join(values),
        condition=SQL(" AND ").join(conditions) if conditions else SQL("true"),
    )


def add_all(table: Table, columns: Sequence[str]) -> Composed:
    """Return the statement that adds missing rows from the staged ones, without conditions."""
    written = [column for column in columns if column not in table.generated]
    return SQL(STATEMENTS["add"]).format(
        table=table.identifier,
        columns=names(written),
        values=names(written, "s"),
        condition=SQL("true"),
    )


def _has_parent(reference: ForeignKey) -> Composed:
    return SQL(STATEMENTS["has_parent"]).format(
        columns=names(reference.columns, "s"),
        table=reference.table,
        parents=names(reference.parents, "p"),
    )
