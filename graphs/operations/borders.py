"""A test of the isolation between users: fixed reads and writes, all rolled back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from psycopg import errors as pg
from pydantic import BaseModel, ConfigDict

from graphs.memory.database import statements
from graphs.memory.database.database import Pool
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.transaction import Connection
from graphs.memory.principal import Principal
from graphs.memory.values.namespaces import (
    agent_label,
    encode_label,
    to_text,
    user_scope,
)

_SQL = statements.load_sources("borders", __package__)
_BEGIN = statements.load_sources("database", "graphs.memory.database")["begin"]

AttemptOutcome = Literal["done", "nothing", "refused"]
"""Outcomes of an attempt.

`nothing`: a policy hides the row. `refused`: a policy or a missing grant raises an error.
"""


class Attempt(BaseModel):
    """One attempted read or write, with the expected and the actual outcome."""

    model_config = ConfigDict(frozen=True)

    what: str
    expected: AttemptOutcome
    found: AttemptOutcome

    @property
    def holds(self) -> bool:
        """Return whether the actual outcome is the expected one."""
        return self.found == self.expected


@dataclass(frozen=True, slots=True)
class _Probe:
    what: str
    statement: str
    expected: AttemptOutcome
    namespace: str = ""
    agent: str | None = None


async def try_borders(pool: Pool, user_id: str) -> list[Attempt]:
    """Try permitted and forbidden operations as a user, in a transaction that is rolled back.

    The rows that they need are created in the same transaction.

    Raises:
        AccessDenied: `user_id` is not a UUID, or the connection may not act as `authenticated`.
    """
    person = Principal.user(user_id)
    scratch = f"scratch-{uuid4()}"
    given = {
        "user_id": person.user_id,
        "key": scratch,
        "member": f"{scratch}-in",
        "closed": f"{scratch}-out",
    }
    probes = _probes(user_id, given)
    laid_out = [probe.namespace for probe in probes if probe.namespace and probe.statement != "put"]
    with driver_errors():
        async with pool.connection() as conn, conn.transaction(force_rollback=True):
            await _act(conn, Principal.owner())
            await conn.execute(
                _SQL["lay_out"],
                given | {"namespaces": list(dict.fromkeys(laid_out))},
                prepare=False,
            )
            return [await _attempt(conn, probe, person, given) for probe in probes]


def _probes(user_id: str, given: Mapping[str, Any]) -> Sequence[_Probe]:
    own, other = (
        to_text(user_scope(user_id, "scratch")),
        to_text(user_scope(str(uuid4()), "scratch")),
    )
    of_agent = to_text(user_scope(user_id, agent_label("scratch-other")))
    known = to_text(("agents", "scratch", "scratch"))
    member, closed = (
        to_text(("orgs", encode_label(given[name]), "scratch")) for name in ("member", "closed")
    )
    new_in = "new"
    return [
        _Probe("put a memory of their own", "put", "done", to_text(user_scope(user_id, new_in))),
        _Probe("read a memory of their own", "read", "done", own),
        _Probe("change a memory of their own", "change", "done", own),
        _Probe("delete a memory of their own", "delete", "done", own),
        _Probe("read another user's memory", "read", "nothing", other),
        _Probe("change another user's memory", "change", "nothing", other),
        _Probe("delete another user's memory", "delete", "nothing", other),
        _Probe(
            "put a memory of another user",
            "put",
            "refused",
            to_text(user_scope(str(uuid4()), new_in)),
        ),
        _Probe(
            "read another agent's memory of them, through an agent",
            "read",
            "nothing",
            of_agent,
            "scratch",
        ),
        _Probe("read an agent's memory of them, directly", "read", "done", of_agent),
        _Probe("read shared agent knowledge", "read", "done", known),
        _Probe("change shared agent knowledge", "change", "nothing", known),
        _Probe(
            "put shared agent knowledge", "put", "refused", to_text(("agents", "scratch", new_in))
        ),
        _Probe("read a memory of their organisation", "read", "done", member),
        _Probe("delete a memory of their organisation, as a member", "delete", "nothing", member),
        _Probe("read a memory of another organisation", "read", "nothing", closed),
        _Probe("join another organisation by themselves", "join_organisation", "refused"),
        _Probe("forge an audit record", "forge_record", "refused"),
        _Probe("remove their audit records", "remove_records", "refused"),
        _Probe("read thread state", "read_threads", "refused"),
        _Probe("read the queue of jobs", "read_jobs", "refused"),
    ]


async def _attempt(
    conn: Connection, probe: _Probe, person: Principal, given: Mapping[str, Any]
) -> Attempt:
    found: AttemptOutcome
    try:
        # Each attempt gets a savepoint, so that it does not meet the changes of the one before.
        async with conn.transaction(force_rollback=True):
            await _act(conn, person.through(probe.agent))
            done = await conn.execute(
                _SQL[probe.statement], {**given, "namespace": probe.namespace}, prepare=False
            )
            found = "done" if await done.fetchone() else "nothing"
    except pg.InsufficientPrivilege:
        found = "refused"
    return Attempt(what=probe.what, expected=probe.expected, found=found)


async def _act(conn: Connection, principal: Principal) -> None:
    settings = {
        "role": principal.role,
        "claims": principal.claims,
        "provenance": "{}",
        "seconds": None,
    }
    await conn.execute(_BEGIN, settings, prepare=False)
