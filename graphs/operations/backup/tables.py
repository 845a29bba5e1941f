"""What of a database is data, and the statement that adds to it: composed of names of the catalogue only."""

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

_FIRST = (ERASURES, MODELS)
"""What a restore must have read before it can judge any other row. The links of a chain have one order of tables."""

_OF_THIS_DATABASE = {(EMBEDDINGS, "indexed")}
"""Columns that tell how a database lies on its disk, and say nothing about what it holds."""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: which columns point at which ones of another table."""

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
    """The columns that name the person whose a row is."""
    last_numbers: dict[str, int | None]
    """For each numbered column the last number that was given."""
    references: tuple[ForeignKey, ...]
    key: tuple[str, ...]
    """The columns by which its rows are told apart; none where nothing tells them apart."""
    numbered: bool
    """Whether that is a number."""

    @property
    def title(self) -> str:
        """Its name with its schema, as a backup calls it."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> Identifier:
        """Its name, quoted."""
        return Identifier(self.schema, self.name)


async def data_tables(conn: Connection) -> list[Table]:
    """Return the tables that hold data, those that others point at before them."""
    cursor = await conn.execute(STATEMENTS["tables"], {}, prepare=False)
    tables = {table.title: table for table in map(_table, await cursor.fetchall())}
    order = TopologicalSorter[str]()
    for title, table in tables.items():
        before = {reference.title for reference in table.references} & tables.keys()
        order.add(title, *sorted(before), *(_FIRST if title not in _FIRST else ()))
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
    """Return columns, quoted, with a comma between; `of` is what the table goes by."""
    return SQL(", ").join(
        Identifier(of, column) if of else Identifier(column) for column in columns
    )


def add(table: Table, columns: Sequence[str], subject: str | None) -> Composed:
    """Return the statement that adds the staged rows which are missing.

    Left out are rows of people who were erased since, rows whose parents are not here, and the vectors of memories
    that have another version now.

    Args:
        table: where to.
        columns: what is staged.
        subject: whose rows only; None for everybody's.
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
    if table.title == EMBEDDINGS:
        values[written.index("model")] = SQL(STATEMENTS["model_here"])
        conditions.append(SQL(STATEMENTS["is_current"]))
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
    """Return the statement that adds the staged rows which are missing, whosever they are."""
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
