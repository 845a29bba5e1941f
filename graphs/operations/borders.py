"""Whether the borders between persons hold: a fixed list of reads and writes, tried as one of them and undone."""

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
"""`nothing` where a policy hides the row, `refused` where a policy or a missing grant says no."""


class Attempt(BaseModel):
    """Something that was tried, and what came of it."""

    model_config = ConfigDict(frozen=True)

    what: str
    expected: AttemptOutcome
    found: AttemptOutcome

    @property
    def holds(self) -> bool:
        """Whether it came out as it should."""
        return self.found == self.expected


@dataclass(frozen=True, slots=True)
class _Probe:
    what: str
    statement: str
    expected: AttemptOutcome
    namespace: str = ""
    agent: str | None = None


async def try_borders(pool: Pool, user_id: str) -> list[Attempt]:
    """Try what a person may do and what not, on rows made for it, in a transaction that is rolled back.

    Raises:
        AccessDenied: `user_id` is no UUID, or the connection may not act as `authenticated`.
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
        _Probe("read somebody else's memory", "read", "nothing", other),
        _Probe("change somebody else's memory", "change", "nothing", other),
        _Probe("delete somebody else's memory", "delete", "nothing", other),
        _Probe(
            "put a memory of somebody else",
            "put",
            "refused",
            to_text(user_scope(str(uuid4()), new_in)),
        ),
        _Probe(
            "read what another of their agents keeps, through an agent",
            "read",
            "nothing",
            of_agent,
            "scratch",
        ),
        _Probe("read what one of their agents keeps, themselves", "read", "done", of_agent),
        _Probe("read what agents know", "read", "done", known),
        _Probe("change what agents know", "change", "nothing", known),
        _Probe("put what agents know", "put", "refused", to_text(("agents", "scratch", new_in))),
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
        async with conn.transaction(
            force_rollback=True
        ):  # a savepoint: what one did, the next does not meet
            await _act(conn, person.through(probe.agent))
            done = await conn.execute(
                _SQL[probe.statement], {**given, "namespace": probe.namespace}, prepare=False
            )
            found = "done" if await done.fetchone() else "nothing"
    except pg.InsufficientPrivilege:
        found = "refused"
    return Attempt(what=probe.what, expected=probe.expected, found=found)


async def _act(conn: Connection, principal: Principal) -> None:
    settings = {"role": principal.role, "claims": principal.claims, "provenance": "{}"}
    await conn.execute(_BEGIN, settings, prepare=False)
