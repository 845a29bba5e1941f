"""Attacks by SQL as a role with claims, as PostgREST and the store use it.

An attack runs in a transaction of its own. It is rolled back after its changes were checked.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.pq import TransactionStatus

from tests.attacks.people import VICTIMS, Actor, Verb, Victim, may, standing
from tests.attacks.tally import Attempt, Tally
from tests.attacks.world import CATALOGUE, REFERENCES, Row, Snapshot, Table, World

BECOME = "SELECT set_config('role', %s, true), set_config('request.jwt.claims', %s, true)"
UNBECOME = "SELECT set_config('role', 'none', true), set_config('request.jwt.claims', '', true)"


@dataclass
class Outcome:
    """The result of an attack, and the state of all tables after it."""

    seen: list[str]
    error: str | None
    sqlstate: str | None
    changed: int
    after: Snapshot

    @property
    def shown(self) -> str:
        return f"{self.seen} {self.error}"


class SqlDoor:
    """Statements of an actor on one connection.

    Args:
        world: The database with its tables.
        conn: An autocommit connection as superuser, whose cursors pipeline statements.
        name: The name of this entry point in the summary.
        actors: The attackers.
    """

    def __init__(
        self, world: World, conn: psycopg.Connection[Any], name: str, actors: Sequence[Actor]
    ) -> None:
        self.world, self.conn, self.name, self.actors = world, conn, name, actors
        self.before, self._fingerprints = world.snapshot(conn), world.fingerprints(conn)
        self._notices: list[str] = []
        conn.add_notice_handler(lambda notice: self._notices.append(str(notice.message_primary)))

    def attack(self, actor: Actor, statement: str, *given: Any, look: bool = True) -> Outcome:
        """Run a statement as an actor, look at its changes if `look`, and roll it back."""
        inside = self.conn.info.transaction_status == TransactionStatus.INTRANS
        self.conn.execute(
            f"{'SAVEPOINT attack' if inside else 'BEGIN'}; {BECOME}".encode(), actor.settings
        )
        self._notices.clear()
        outcome = Outcome([], None, None, 0, self.before)
        try:
            cursor = self.conn.cursor()
            if statement.startswith("COPY"):
                with cursor.copy(statement.encode()) as copied:
                    outcome.seen = [bytes(part).decode() for part in copied]
            else:
                cursor.execute(statement.encode(), given or None)
                outcome.changed = cursor.rowcount
                outcome.seen = _all_rows(cursor)
            outcome.after = self._look() if look else self.before
        except psycopg.Error as error:
            said = error.diag
            outcome.sqlstate = error.sqlstate
            outcome.error = (
                f"{said.message_primary} {said.message_detail} {said.message_hint} {said.context}"
            )
        self.conn.execute(b"ROLLBACK TO SAVEPOINT attack" if inside else b"ROLLBACK")
        outcome.seen += self._notices
        return outcome

    def _look(self) -> Snapshot:
        """Return all rows as the superuser; without a transaction id, nothing was written."""
        cursor = self.conn.execute(f"{UNBECOME}; SELECT pg_current_xact_id_if_assigned()".encode())
        cursor.nextset()
        if cursor.fetchall() == [(None,)]:
            return self.before
        return self.world.snapshot_since(self.before, self._fingerprints, self.conn)

    def read(self, tally: Tally, actor: Actor, table: Table, verb: str, statement: str) -> None:
        """Search the result, or its error, for the marker of any victim."""
        outcome = self.attack(actor, statement)
        for victim in VICTIMS:
            if not may(actor, "read", victim, table.name):
                tally.judge(
                    Attempt(actor.name, victim.name, self.name, f"{verb} {table.name}"),
                    outcome.shown,
                    victim.marker,
                )

    def write(
        self,
        tally: Tally,
        actor: Actor,
        victims: Sequence[Victim],
        table: Table,
        verb: Verb,
        name: str,
        statement: str,
        *given: Any,
    ) -> None:
        """Try to change data of others; afterwards check all tables as the superuser."""
        outcome = self.attack(actor, statement, *given)
        for victim in victims:
            if may(actor, verb, victim, table.name):
                continue
            attempt = Attempt(actor.name, victim.name, self.name, f"{name} {table.name}")
            if not given and not may(actor, "read", victim, table.name):
                tally.judge(attempt, outcome.shown, victim.marker)
            else:
                tally.count(attempt)
            if changed := differences(self.before, outcome.after, actor, victim, table):
                tally.leaked(attempt, f"changed rows of {changed}")


def _all_rows(cursor: psycopg.Cursor[Any]) -> list[str]:
    """Return the rows of every statement of a script."""
    seen = [str(row) for row in cursor.fetchall()] if cursor.description else []
    return seen + (_all_rows(cursor) if cursor.nextset() else [])


def differences(
    before: Snapshot, after: Snapshot, actor: Actor, victim: Victim, table: Table
) -> list[str]:
    """Return the tables with changed rows of a victim; for own rows, the attacked table only."""
    names = {*before[victim.id], *after[victim.id]}
    if standing(actor, victim) in ("self", "member", "administrator"):
        names = {table.name, CATALOGUE}
    return sorted(
        {name for name in names if before[victim.id].get(name) != after[victim.id].get(name)}
    )


READS: dict[str, Callable[[Table], str]] = {
    "select": lambda t: f"SELECT to_jsonb(t) FROM {t.name} AS t",
    "select by its marker": lambda t: (
        f"SELECT count(*), min(t::text) FROM {t.name} AS t WHERE t::text LIKE '%swordfish%'"
    ),
    "make a cast fail": lambda t: f"SELECT FROM {t.name} AS t WHERE (t::text)::int = 1",
    "peek with a cheap function": lambda t: (
        "CREATE FUNCTION pg_temp.peek(seen text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001"
        " AS 'BEGIN RAISE NOTICE ''%'', seen; RETURN true; END'; "
        f"SELECT FROM {t.name} AS t WHERE pg_temp.peek(t::text)"
    ),
    "lock": lambda t: f"SELECT to_jsonb(t) FROM {t.name} AS t FOR UPDATE",
    "without row security": lambda t: (
        f"SET LOCAL row_security = off; SELECT to_jsonb(t) FROM {t.name} AS t"
    ),
    "aggregate": lambda t: f"SELECT string_agg(t::text, '') FROM {t.name} AS t",
    "cursor": lambda t: f"DECLARE c CURSOR FOR SELECT to_jsonb(t) FROM {t.name} AS t; FETCH ALL c",
}

CHANGES: dict[str, tuple[Verb, Callable[[Table], str]]] = {
    "delete": ("delete", lambda t: f"DELETE FROM {t.name} AS t RETURNING to_jsonb(t)"),
    "delete by a cast that fails": (
        "delete",
        lambda t: f"DELETE FROM {t.name} AS t WHERE (t::text)::int = 1",
    ),
    "truncate": ("delete", lambda t: f"TRUNCATE {t.name} CASCADE"),
}

RULES: dict[str, Callable[[Table], str]] = {
    "switch row security off": lambda t: f"ALTER TABLE {t.name} DISABLE ROW LEVEL SECURITY",
    "add a policy": lambda t: f"CREATE POLICY mine ON {t.name} USING (true)",
    "grant": lambda t: f"GRANT ALL ON {t.name} TO authenticated, anon",
    "add a trigger": lambda t: (
        f"CREATE TRIGGER mine AFTER INSERT ON {t.name} "
        "EXECUTE FUNCTION memory.record_memory_change()"
    ),
    "add a rule": lambda t: f"CREATE RULE mine AS ON INSERT TO {t.name} DO ALSO NOTHING",
    "add a view": lambda t: (
        f"CREATE VIEW public.mine AS SELECT * FROM {t.name}; SELECT mine::text FROM public.mine"
    ),
    "own": lambda t: f"ALTER TABLE {t.name} OWNER TO authenticated",
    "drop": lambda t: f"DROP TABLE {t.name} CASCADE",
}
"""Statements that would open a table to all users. They depend on the role alone."""


def updates(table: Table) -> Iterator[tuple[str, str]]:
    """Yield, for every column, a statement that writes it, whatever it holds."""
    for column in table.columns:
        value = "DEFAULT" if column in table.generated else f'"{column}"'
        yield (
            f"update {column} of",
            f'UPDATE {table.name} AS t SET "{column}" = {value} RETURNING to_jsonb(t)',
        )


# Rows that claim another owner --------------------------------------------------------------------

_KEPT = ("session_id", "namespace", "key", "role", "status", "operation")
"""Texts of a row that must keep their value, or the row is refused in any case."""


def fresh(row: Row, victim: Victim, *, words: bool = True) -> Row:
    """Return the row with a new id and new `words`, so that unique keys do not collide."""
    renewed = dict(row)
    for name, value in row.items():
        if name == "id" and value != victim.id and isinstance(value, str):
            renewed[name] = str(uuid4())
        elif words and name not in _KEPT:
            renewed[name] = json.loads(
                json.dumps(value).replace(victim.marker, f"{victim.marker[:-4]}new")
            )
    return renewed


def candidates(table: Table, column: str, actor: Actor, victim: Victim) -> list[str | None]:
    """Return possible values of an owner column: the victim, the attacker, or nobody."""
    kind = (
        "orgs"
        if column in ("org_id", "organisation_id") or table.name == "memory.organisations"
        else "users"
    )
    mine: list[str | None] = [*sorted(actor.member_of)] if kind == "orgs" else [actor.user_id]
    return [*([victim.id] if victim.kind == kind else []), *mine, None]


def forgeries(
    table: Table, row: Row, actor: Actor, victim: Victim, own_memories: Sequence[int]
) -> Iterator[tuple[str, Row]]:
    """Yield every way to write a row into the victim's data, or to link to it; each has a name."""
    renewed = fresh(row, victim)
    if not table.owners:
        yield "insert a copy into", renewed
        yield "insert another into", {**renewed, "key": "planted"}
    mine = {
        name: value
        for name, value in zip(REFERENCES, (*own_memories[:1], *own_memories[:2]), strict=False)
        if name in row
    }
    for memories, references in (("theirs", {}), ("mine", mine)) if mine else (("theirs", {}),):
        points = memories == "theirs" and bool(row.keys() & set(REFERENCES))
        for owners in product(
            *(candidates(table, column, actor, victim) for column in table.owners)
        ):
            if victim.id in owners or (points and any(owners)):
                whose = [
                    "theirs" if owner == victim.id else "mine" if owner else "nobody's"
                    for owner in owners
                ]
                said = ", ".join(
                    f"{column} {whom}" for column, whom in zip(table.owners, whose, strict=True)
                )
                yield (
                    f"insert ({said}; memories {memories}) into",
                    renewed | references | dict(zip(table.owners, owners, strict=True)),
                )


def insertable(conn: psycopg.Connection[Any], table: Table, role: str) -> tuple[str, ...]:
    """Return the columns that a role may insert; all columns if none, which must be refused."""
    wanted = [column for column in table.columns if column not in table.generated]
    given = conn.execute(
        "SELECT c FROM unnest(%s::text[]) AS c WHERE has_column_privilege(%s, %s, c, 'INSERT')",
        (wanted, role, table.name),
    ).fetchall()
    return tuple(row[0] for row in given) or tuple(wanted)


def insert(table: Table, columns: Sequence[str], then: str = "") -> str:
    names = ", ".join(f'"{column}"' for column in columns)
    row = f"jsonb_populate_record(NULL::{table.name}, %s::jsonb)"
    return f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {row} {then}"
