"""A security report: who can access which data, who did, and whether the audit seals are intact."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field

from graphs.memory.audit.seals import verify
from graphs.memory.contract import AuditProblem
from graphs.memory.database import statements
from graphs.memory.database.query import Query
from graphs.memory.errors import InvalidInput
from graphs.memory.values.models import FrozenModel
from graphs.operations.service import Ask

_SQL = statements.load("audit_report", __package__)

OURS = ("memory", "langgraph", "procrastinate")
"""The schemas that only this project uses."""

CLOSED = ("langgraph", "procrastinate")
"""The schemas that no API role may use."""

_EVERYBODY = ("anon", "PUBLIC")
_PEOPLE = (*_EVERYBODY, "authenticated")

M = TypeVar("M", bound=BaseModel)


class AuditFinding(FrozenModel):
    """A security problem and its remedy."""

    subject: str = Field(description="The role, object, user or record with the problem.")
    problem: str
    advice: str = Field(description="The remedy.")


class ProtectedRelation(FrozenModel):
    """A table or view and its protection."""

    schema_: str = Field(alias="schema", serialization_alias="schema")
    name: str
    kind: str
    protected: bool = Field(
        description="Whether row-level security applies; of a view, that of the querying role."
    )
    policies: int
    open_policies: list[str] = Field(description="Policies whose condition is `true`.")
    owner_columns: list[str] = Field(description="Columns that name the owner of a row.")
    unindexed: list[str] = Field(
        description="Owner columns without an index: each policy then reads the whole table."
    )

    @property
    def full_name(self) -> str:
        """Return schema and name."""
        return f"{self.schema_}.{self.name}"


class Grant(FrozenModel):
    """The privileges of an API role on a table or a function."""

    role: str
    kind: str
    schema_: str = Field(alias="schema", serialization_alias="schema")
    name: str
    privileges: list[str]
    reachable: bool = Field(
        description="Whether the role may use the schema; without it, a grant has no effect."
    )

    @property
    def full_name(self) -> str:
        """Return schema and name."""
        return f"{self.schema_}.{self.name}"


class Definer(FrozenModel):
    """A function that runs with its owner's rights (SECURITY DEFINER)."""

    schema_: str = Field(alias="schema", serialization_alias="schema")
    name: str
    search_path: str | None = Field(
        description="The function's own search path; None if it uses the caller's."
    )

    @property
    def full_name(self) -> str:
        """Return schema and name."""
        return f"{self.schema_}.{self.name}"


class Denials(FrozenModel):
    """Refused accesses of one actor."""

    actor: str
    times: int
    last_at: datetime


class Export(FrozenModel):
    """An export of all data about a user."""

    actor: str
    user_id: str | None
    at: datetime


class ErasureRecord(FrozenModel):
    """An erasure of a user."""

    id: UUID
    subject: str = Field(description="SHA-256 of the user's id.")
    actor: str | None
    at: datetime


class RecordedReader(FrozenModel):
    """An actor who read the memory of other users."""

    actor: str
    people: int = Field(description="Number of other users.")
    everybody: int = Field(
        description="Number of reads across all users, as far as the actor may read them."
    )
    times: int
    last_at: datetime

    @property
    def is_person(self) -> bool:
        """Return whether the actor is a user, not the service."""
        try:
            UUID(self.actor)
        except ValueError:
            return False
        return True


class SecurityReport(FrozenModel):
    """A security report: access rights, recent access events, audit seals and findings."""

    at: datetime
    days: float
    findings: list[AuditFinding] = Field(description="Security problems; empty if there are none.")
    relations: list[ProtectedRelation]
    grants: list[Grant]
    definers: list[Definer]
    denials: list[Denials]
    exports: list[Export]
    erasures: list[ErasureRecord]
    readers: list[RecordedReader]
    seals: list[AuditProblem]


async def security_report(ask: Ask, days: float, head: str | None) -> SecurityReport:
    """Return a security report.

    Args:
        ask: runs a query as the owner of the tables.
        days: how many days of access events to include.
        head: a digest that `seal_audit` returned earlier and that was kept elsewhere.

    Raises:
        InvalidInput: `days` is not positive, or `head` is not a digest.
    """
    if not 0 < days < 36525:
        raise InvalidInput(f"days must be a positive number (at most a century); got {days!r}.")
    verification = verify(head)

    async def listed(name: str, model: type[M], **given: Any) -> list[M]:
        query = Query(
            _SQL[name], given, lambda rows: [model.model_validate(row._asdict()) for row in rows]
        )
        found: list[M] = await ask(query)
        return found

    relations = await listed("tables", ProtectedRelation)
    grants = await listed("grants", Grant)
    definers = await listed("definers", Definer)
    readers = await listed("readers", RecordedReader, days=days)
    privileged = await ask(
        Query(_SQL["privileged_roles"], {}, lambda rows: [row.role for row in rows])
    )
    seals = await ask(verification)
    findings = [
        *_of_roles(privileged),
        *_of_relations(relations, grants),
        *_of_grants(grants),
        *_of_definers(definers, grants),
        *_of_readers(readers),
        *_of_seals(seals),
    ]
    return SecurityReport(
        at=datetime.now(UTC),
        days=days,
        findings=findings,
        relations=relations,
        grants=grants,
        definers=definers,
        denials=await listed("denials", Denials, days=days),
        exports=await listed("exports", Export, days=days),
        erasures=await listed("erasures", ErasureRecord, days=days),
        readers=readers,
        seals=seals,
    )


def _of_roles(privileged: list[str]) -> Iterator[AuditFinding]:
    for role in privileged:
        yield AuditFinding(
            subject=f"role {role}",
            problem="Row-level security does not apply to it.",
            advice=f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS;",
        )


def _of_relations(
    relations: list[ProtectedRelation], grants: list[Grant]
) -> Iterator[AuditFinding]:
    reached = {
        grant.full_name
        for grant in grants
        if grant.kind == "table" and grant.reachable and grant.role in _PEOPLE
    }
    for each in relations:
        name, exposed = each.full_name, each.full_name in reached
        if each.kind == "table" and not each.protected and (exposed or each.schema_ in OURS):
            advice = f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, and create policies for it."
            yield AuditFinding(subject=name, problem="Row-level security is off.", advice=advice)
        if each.kind != "table" and not each.protected and exposed:
            roles = ", ".join(_PEOPLE)
            advice = f"ALTER VIEW {name} SET (security_invoker = true), or revoke it from {roles}."
            yield AuditFinding(
                subject=name,
                problem=f"This {each.kind} bypasses row-level security.",
                advice=advice,
            )
        if each.open_policies and each.owner_columns:
            names = ", ".join(each.open_policies)
            advice = "Compare the owner with (select auth.uid()) in the policy."
            yield AuditFinding(
                subject=name, problem=f"A policy allows every row: {names}.", advice=advice
            )
        if each.unindexed:
            columns = ", ".join(each.unindexed)
            advice = f"CREATE INDEX CONCURRENTLY ON {name} ({each.unindexed[0]}), one per column."
            yield AuditFinding(
                subject=name,
                problem=f"Columns that its policies compare have no index: {columns}.",
                advice=advice,
            )


def _of_grants(grants: list[Grant]) -> Iterator[AuditFinding]:
    for grant in grants:
        to_all = grant.role in _EVERYBODY and grant.schema_ in OURS
        closed = grant.role in _PEOPLE and grant.schema_ in CLOSED
        truncates = (
            grant.role in _PEOPLE and grant.schema_ in OURS and "TRUNCATE" in grant.privileges
        )
        if grant.reachable and (to_all or closed or truncates):
            may = ", ".join(grant.privileges)
            yield AuditFinding(
                subject=grant.full_name,
                problem=f"{grant.role} may: {may}.",
                advice=f"REVOKE ALL ON {grant.kind.upper()} {grant.full_name} FROM {grant.role}, "
                "or run `graph-memory setup` of the newest version.",
            )


def _of_definers(definers: list[Definer], grants: list[Grant]) -> Iterator[AuditFinding]:
    to_all = {
        (g.schema_, g.name)
        for g in grants
        if g.kind == "function" and g.reachable and g.role in _EVERYBODY
    }
    for each in definers:
        if each.search_path is None:
            advice = f"ALTER FUNCTION {each.full_name} SET search_path = '';"
            problem = "It runs with its owner's rights and the caller's search path."
            yield AuditFinding(subject=each.full_name, problem=problem, advice=advice)
        if (each.schema_, each.name) in to_all and each.schema_ not in OURS:
            advice = f"REVOKE EXECUTE ON FUNCTION {each.full_name} FROM PUBLIC, anon;"
            yield AuditFinding(
                subject=each.full_name,
                problem="Everybody may call it, and it runs with its owner's rights.",
                advice=advice,
            )


def _of_readers(readers: list[RecordedReader]) -> Iterator[AuditFinding]:
    for reader in readers:
        if reader.is_person and reader.people:
            yield AuditFinding(
                subject=f"user {reader.actor}",
                problem=f"This user read the memory of {reader.people} other users.",
                advice="Look up their memory.read records in memory.audit_logs, and check the "
                "policies.",
            )


def _of_seals(seals: list[AuditProblem]) -> Iterator[AuditFinding]:
    for each in seals:
        yield AuditFinding(
            subject=f"{each.source} {each.ids}".strip(),
            problem=f"The audit records do not match their seals: {each.problem}.",
            advice="Do not change the database, and compare it with a backup.",
        )
