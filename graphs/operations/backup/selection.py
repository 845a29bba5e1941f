"""The selection of a backup's rows: by user, by change or by time."""

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
"""Tables with the records of erasures, and the history, whose ids must not be assigned again."""


@dataclass(frozen=True, slots=True)
class ChangesSince:
    """Rows of transactions that had not ended at an earlier moment.

    Args:
        horizon: the lowest id that such a transaction can have.
        next: the next id to be assigned.
    """

    horizon: int
    next: int


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """Memories created in a time span, the rows about them, and the sessions of their turns.

    Args:
        begin: inclusive; None for no limit.
        end: exclusive; None for no limit.
    """

    begin: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows that a backup has. All conditions must hold.

    Args:
        user_id: only what is about this user.
        changes: only what changed.
        span: only what is of this time span.
        erasures: only the records of erasures.
    """

    user_id: str | None = None
    changes: ChangesSince | None = None
    span: TimeSpan | None = None
    erasures: bool = False

    def of(self, tables: Sequence[Table]) -> list[Table]:
        """Return the tables of which it may have rows."""
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
        """Return the statement that reads the selected rows of a table."""
        conditions = [self._theirs(table)]
        if self.changes and table.key:
            number = {"horizon": Literal(self.changes.horizon), "next": Literal(self.changes.next)}
            conditions.append(SQL(STATEMENTS["is_changed"]).format(**number))
        return SQL(STATEMENTS["read"]).format(
            columns=names(table.columns, "t"), table=table.identifier, condition=_all(conditions)
        )

    def keys(self, table: Table) -> Composed:
        """Return the statement that reads the keys of all existing rows, changed or not."""
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
    """Return the condition for rows about a user.

    It includes all models: they have no owner, and vectors cannot be restored without them.
    """
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
    """Return the condition for rows of a time span.

    Erasures are always included, because a restore needs to know who was erased since.
    """
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
    """Return the references of a table to memories: its columns and theirs."""
    return [(found.columns, found.parents) for found in table.references if found.title == MEMORIES]


def _known(table: Table) -> Composable:
    if table.title == EVENTS:
        return SQL(STATEMENTS["tells_of_erasure"])
    return SQL("false" if table.title == HISTORY else "true")
