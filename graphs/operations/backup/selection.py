"""Which rows a backup has: everybody's or a person's, all of them, those that changed, or those of a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from graphs.operations.backup.tables import (
    ERASED,
    ERASURES,
    EVENTS,
    HISTORY,
    MEMORIES,
    MODELS,
    STATEMENTS,
    Table,
    names,
)

SESSIONS = "memory.sessions"

KNOWLEDGE = (ERASURES, ERASED, EVENTS, HISTORY)
"""Where it is told who was erased; and what was numbered until then, so that no number is given again."""


@dataclass(frozen=True, slots=True)
class ChangesSince:
    """Rows of transactions that an earlier moment did not see the end of.

    Args:
        horizon: the first number that one of them can have.
        next: the next number that will be given.
    """

    horizon: int
    next: int


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """Memories that were made in some time, the rows that are about them, and the sessions of their turns.

    Args:
        begin: from then on; None from the first one on.
        end: before then; None up to the last one.
    """

    begin: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows a backup has. Conditions come together: the changes of a person's, what is of a time among these.

    Args:
        user_id: only what is about this person.
        changes: only what changed.
        span: only what is of this time.
        erasures: only who was erased.
    """

    user_id: str | None = None
    changes: ChangesSince | None = None
    span: TimeSpan | None = None
    erasures: bool = False

    def of(self, tables: Sequence[Table]) -> list[Table]:
        """Return the tables that it has anything of."""
        return [table for table in tables if self._has(table)]

    def _has(self, table: Table) -> bool:
        if self.erasures:
            return table.title in KNOWLEDGE
        if self.span:
            return table.title in {ERASURES, MODELS, MEMORIES, SESSIONS} or bool(
                _of_memories(table)
            )
        return True

    def rows(self, table: Table) -> Composed:
        """Return the statement that reads the rows that it has of a table."""
        conditions = [self._theirs(table)]
        if self.changes and table.key:
            number = {"horizon": Literal(self.changes.horizon), "next": Literal(self.changes.next)}
            conditions.append(SQL(STATEMENTS["is_changed"]).format(**number))
        return SQL(STATEMENTS["read"]).format(
            columns=names(table.columns, "t"), table=table.identifier, condition=_all(conditions)
        )

    def keys(self, table: Table) -> Composed:
        """Return the statement that reads by what all rows are told apart that there are, changed or not."""
        condition = self._theirs(table) if table.key else SQL("false")
        if table.numbered:
            return SQL(STATEMENTS["read_ranges"]).format(
                key=Identifier(table.key[0]), table=table.identifier, condition=condition
            )
        return SQL(STATEMENTS["read"]).format(
            columns=names(table.key, "t"), table=table.identifier, condition=condition
        )

    def _theirs(self, table: Table) -> Composable:
        conditions = []
        if self.user_id is not None:
            conditions.append(_about(table, self.user_id))
        if self.span:
            conditions.append(_of_time(table, self.span))
        if self.erasures:
            conditions.append(_known(table))
        return _all(conditions)


def _all(conditions: Sequence[Composable]) -> Composable:
    together = SQL(" AND ").join(
        Composed([SQL("("), condition, SQL(")")]) for condition in conditions
    )
    return together if conditions else SQL("true")


def _about(table: Table, subject: str) -> Composable:
    """Which rows are about a person. Models have no owner, and vectors are nothing without them."""
    person = Literal(subject)
    if table.title == MODELS:
        return SQL("true")
    conditions: list[Composable] = [
        SQL(STATEMENTS["is"]).format(column=Identifier(column), subject=person)
        for column in table.personal
    ]
    if table.title == ERASURES:
        conditions.append(SQL(STATEMENTS["is_erasure"]).format(subject=person))
    if table.title == EVENTS:
        conditions.append(SQL(STATEMENTS["is_about"]).format(subject=person))
    return SQL(" OR ").join(conditions) if conditions else SQL("false")


def _of_time(table: Table, span: TimeSpan) -> Composable:
    """Which rows are of a time. Who was erased is always told: a restore asks who was erased since."""
    limits = {"begin": Literal(span.begin or "-infinity"), "end": Literal(span.end or "infinity")}
    if table.title == MEMORIES:
        return SQL(STATEMENTS["is_of_time"]).format(**limits)
    if table.title == SESSIONS:
        return SQL(STATEMENTS["is_session_of_time"]).format(**limits)
    return _all(
        [
            SQL(STATEMENTS["is_of_memory_of_time"]).format(
                parents=names(parents, "m"), columns=names(columns, "t"), **limits
            )
            for columns, parents in _of_memories(table)
        ]
    )


def _of_memories(table: Table) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """By which columns a table points at memories, and at which ones of theirs."""
    return [(found.columns, found.parents) for found in table.references if found.title == MEMORIES]


def _known(table: Table) -> Composable:
    if table.title == EVENTS:
        return SQL(STATEMENTS["tells_of_erasure"])
    return SQL("false" if table.title == HISTORY else "true")
