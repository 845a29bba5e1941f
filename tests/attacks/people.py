"""Attackers, victims and the rules: the data of every attack matrix."""

import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import uuid4

Verb = Literal["read", "write", "delete"]


@dataclass(frozen=True)
class Victim:
    """An owner of data. `marker` is in everything that they own, and nowhere else."""

    name: str
    kind: Literal["users", "orgs", "agents", "system"]
    id: str
    marker: str

    @property
    def scope(self) -> tuple[str, ...]:
        return (self.kind, self.id)

    @property
    def namespace(self) -> tuple[str, ...]:
        return (*self.scope, "facts")

    def twin(self) -> "Victim":
        """Return a similar victim who does not exist: answers about the two must not differ."""
        phantom = str(uuid4()) if self.kind in ("users", "orgs") else uuid4().hex[: len(self.id)]
        return Victim(f"nobody like {self.name}", self.kind, phantom, f"{WORD}-{uuid4().hex}")


@dataclass(frozen=True)
class Actor:
    """A caller: a database role and the claims of a request."""

    name: str
    role: str
    claims: dict[str, Any] = field(hash=False)
    is_known: bool = True
    """Whether a real token could carry these claims; all others may neither read nor write."""
    member_of: frozenset[str] = frozenset()
    administers: frozenset[str] = frozenset()
    invited_to: frozenset[str] = frozenset()
    """Organisations whose invitation they have not accepted, and which stay closed to them."""

    @property
    def user_id(self) -> str | None:
        return self.claims.get("sub") if self.is_known else None

    @property
    def settings(self) -> tuple[str, str]:
        return self.role, json.dumps(self.claims)


WORD = "swordfish"
"""The first word of every marker; a search for it would find all of them."""


def _victim(
    name: str, kind: Literal["users", "orgs", "agents", "system"], id_: str | None = None
) -> Victim:
    return Victim(name, kind, id_ or str(uuid4()), f"{WORD}-{uuid4().hex}")


ALICE, BOB = _victim("Alice", "users"), _victim("Bob", "users")
ACME, GLOBEX = _victim("Acme", "orgs"), _victim("Globex", "orgs")
FINANCING, SALES = (
    _victim("the financing agent", "agents", "financing"),
    _victim("the sales agent", "agents", "sales"),
)
SYSTEM = _victim("the system", "system", "vault-7f")
VICTIMS = (ALICE, BOB, ACME, GLOBEX, FINANCING, SALES, SYSTEM)
USERS, ORGANISATIONS = (ALICE, BOB), (ACME, GLOBEX)


def person(
    name: str, id_: str | None = None, member_of: str | None = None, administers: str | None = None
) -> Actor:
    organisations = frozenset(filter(None, (member_of, administers)))
    claims = {"role": "authenticated", "sub": id_ or str(uuid4())}
    return Actor(
        name, "authenticated", claims, True, organisations, frozenset(filter(None, (administers,)))
    )


PEOPLE = (
    person("Alice", ALICE.id),
    person("Bob", BOB.id),
    *(person(f"a member of {org.name}", member_of=org.id) for org in ORGANISATIONS),
    *(person(f"an administrator of {org.name}", administers=org.id) for org in ORGANISATIONS),
    replace(person("someone invited to Acme"), invited_to=frozenset({ACME.id})),
)
ANONYMOUS = Actor("an anonymous caller", "anon", {"role": "anon"}, is_known=False)

# Claims that no verifier accepts, or that claim more than the role. They grant nothing.
IMPOSTORS = (
    Actor(
        "anon with Bob's subject", "anon", {"role": "authenticated", "sub": BOB.id}, is_known=False
    ),
    Actor("anon claiming to be the service", "anon", {"role": "service_role"}, is_known=False),
    Actor("someone without claims", "authenticated", {}, is_known=False),
    Actor(
        "an empty subject", "authenticated", {"role": "authenticated", "sub": ""}, is_known=False
    ),
    Actor(
        "a blank subject", "authenticated", {"role": "authenticated", "sub": " "}, is_known=False
    ),
    Actor("the subject *", "authenticated", {"role": "authenticated", "sub": "*"}, is_known=False),
    Actor("the subject %", "authenticated", {"role": "authenticated", "sub": "%"}, is_known=False),
    Actor(
        "a list of subjects",
        "authenticated",
        {"role": "authenticated", "sub": [ALICE.id, BOB.id]},
        is_known=False,
    ),
    Actor(
        "the service by its claims alone", "authenticated", {"role": "service_role"}, is_known=False
    ),
    Actor(
        "a stranger with every title",
        "authenticated",
        {
            "role": "service_role",
            "sub": str(uuid4()),
            "app_metadata": {"role": "admin"},
            "org_id": ACME.id,
        },
        is_known=False,
    ),
)
ACTORS = (*PEOPLE, ANONYMOUS, *IMPOSTORS)
A_FEW = (PEOPLE[2], ANONYMOUS, IMPOSTORS[-1])
"""One actor of each kind, for slow tests."""

# Rights -------------------------------------------------------------------------------------------

Standing = Literal["self", "member", "administrator", "invited", "reader"]

_RIGHTS: dict[Verb, frozenset[Standing]] = {
    "read": frozenset({"self", "member", "administrator", "reader"}),
    "write": frozenset({"self", "member", "administrator"}),
    "delete": frozenset({"self", "member", "administrator"}),
}
_NOBODY: frozenset[Standing] = frozenset()
_ADMINISTRATORS = frozenset[Standing]({"self", "administrator"})

# Tables that are stricter than the rest. Records are append-only for all.
_STRICTER: dict[tuple[str, Verb], frozenset[Standing]] = {
    ("memory.memories", "delete"): _ADMINISTRATORS,
    ("memory.organisation_members", "write"): _ADMINISTRATORS,
    # Everybody may leave; test_sql.py shows that members remove nobody else.
    ("memory.organisation_members", "delete"): frozenset({"member", "administrator", "invited"}),
    ("memory.company_brain", "delete"): _ADMINISTRATORS,
    ("memory.audit_logs", "read"): _ADMINISTRATORS,
    ("memory.memory_logs", "delete"): _NOBODY,
    ("memory.brain_loads", "read"): _ADMINISTRATORS,
    ("memory.brain_load_errors", "read"): _ADMINISTRATORS,
    ("public.application_scores", "write"): _NOBODY,
    ("public.application_scores", "delete"): _NOBODY,
    **{
        (f"memory.{table}", verb): _NOBODY
        for table in (
            "organisations",
            "memory_history",
            "audit_logs",
            "recall_receipts",
            "brain_loads",
            "brain_load_errors",
        )
        for verb in ("write", "delete")
    },
}


def standing(actor: Actor, victim: Victim) -> Standing | None:
    """Return the relation of an actor to a victim; None for a stranger."""
    if victim.kind == "agents":
        return "reader" if actor.role == "authenticated" else None
    if actor.user_id == victim.id:
        return "self"
    return (
        "administrator"
        if victim.id in actor.administers
        else "member"
        if victim.id in actor.member_of
        else "invited"
        if victim.id in actor.invited_to
        else None
    )


def may(actor: Actor, verb: Verb, victim: Victim, table: str = "memory.memories") -> bool:
    """Return whether an action is allowed, by rules written independently of the policies."""
    return standing(actor, victim) in _STRICTER.get((table, verb), _RIGHTS[verb])
