"""A report on security: who could reach what, who did, and whether the records of it are as they were made."""

from collections.abc import Awaitable, Callable, Iterator
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

_SQL = statements.load("audit_report", __package__)

OURS = ("memory", "langgraph", "procrastinate")
"""Schemas that are ours alone."""

CLOSED = ("langgraph", "procrastinate")
"""Those of them that no role of the API has any business in."""

_EVERYBODY = ("anon", "PUBLIC")
_PEOPLE = (*_EVERYBODY, "authenticated")

Ask = Callable[[Query[Any]], Awaitable[Any]]
M = TypeVar("M", bound=BaseModel)


class AuditFinding(FrozenModel):
    """Something that should not be so."""

    subject: str = Field(description="What it is about.")
    problem: str
    advice: str = Field(description="What to do about it.")


class ProtectedRelation(FrozenModel):
    """A table or view, and what protects it."""

    schema_: str = Field(alias="schema", serialization_alias="schema")
    name: str
    kind: str
    protected: bool = Field(
        description="Whether it is under row-level security; of a view, that of whoever asks it."
    )
    policies: int
    open_policies: list[str] = Field(description="Policies that let everybody through.")
    owner_columns: list[str] = Field(description="Columns that name whose a row is.")
    unindexed: list[str] = Field(
        description="Those of them without an index: each policy then reads the whole table."
    )

    @property
    def full_name(self) -> str:
        """Schema and name."""
        return f"{self.schema_}.{self.name}"


class Grant(FrozenModel):
    """What a role of the API may do with a table or a function."""

    role: str
    kind: str
    schema_: str = Field(alias="schema", serialization_alias="schema")
    name: str
    privileges: list[str]
    reachable: bool = Field(
        description="Whether the role may use the schema, without which a grant is worth nothing."
    )

    @property
    def full_name(self) -> str:
        """Schema and name."""
        return f"{self.schema_}.{self.name}"


class Definer(FrozenModel):
    """A function that runs as its owner."""

    schema_: str = Field(alias="schema", serialization_alias="schema")
    name: str
    search_path: str | None = Field(
        description="Which it has whoever calls it; none if it is the caller's."
    )

    @property
    def full_name(self) -> str:
        """Schema and name."""
        return f"{self.schema_}.{self.name}"


class Denials(FrozenModel):
    """That somebody was refused."""

    actor: str
    times: int
    last_at: datetime


class Export(FrozenModel):
    """That all about a person was handed out."""

    actor: str
    user_id: str | None
    at: datetime


class ErasureRecord(FrozenModel):
    """That a person was erased."""

    id: UUID
    subject: str = Field(description="SHA-256 of the person's id.")
    actor: str | None
    at: datetime


class RecordedReader(FrozenModel):
    """Somebody who read the memory of others."""

    actor: str
    people: int = Field(description="Of how many others.")
    everybody: int = Field(
        description="How often the memory of everybody at once, as far as they may read it."
    )
    times: int
    last_at: datetime

    @property
    def is_person(self) -> bool:
        """Whether it is a person, and not the service."""
        try:
            UUID(self.actor)
        except ValueError:
            return False
        return True


class SecurityReport(FrozenModel):
    """Who could reach what, who did in the last days, and whether the records fit their seals."""

    at: datetime
    days: float
    findings: list[AuditFinding] = Field(
        description="What should not be so; nothing where all is well."
    )
    relations: list[ProtectedRelation]
    grants: list[Grant]
    definers: list[Definer]
    denials: list[Denials]
    exports: list[Export]
    erasures: list[ErasureRecord]
    readers: list[RecordedReader]
    seals: list[AuditProblem]


async def security_report(ask: Ask, days: float, head: str | None) -> SecurityReport:
    """Return a report on security.

    Args:
        ask: answers a query as the owner of the tables.
        days: how far back it looks for who did what.
        head: a digest that `seal_audit` returned earlier and that was kept elsewhere.

    Raises:
        InvalidInput: the days are not positive, or the head is no digest.
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
            problem="Row-level security does not bind it.",
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
            advice = f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, and give it policies."
            yield AuditFinding(
                subject=name, problem="It is not under row-level security.", advice=advice
            )
        if each.kind != "table" and not each.protected and exposed:
            advice = f"ALTER VIEW {name} SET (security_invoker = true), or revoke it from {', '.join(_PEOPLE)}."
            yield AuditFinding(
                subject=name,
                problem=f"This {each.kind} shows rows past row-level security.",
                advice=advice,
            )
        if each.open_policies and each.owner_columns:
            names = ", ".join(each.open_policies)
            advice = "Compare the owner with (select auth.uid()) in it."
            yield AuditFinding(
                subject=name, problem=f"A policy lets everybody through: {names}.", advice=advice
            )
        if each.unindexed:
            columns = ", ".join(each.unindexed)
            advice = f"CREATE INDEX CONCURRENTLY ON {name} ({each.unindexed[0]}); and so on."
            yield AuditFinding(
                subject=name,
                problem=f"Columns that its policies read have no index: {columns}.",
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
                advice=f"REVOKE ALL ON {grant.kind.upper()} {grant.full_name} FROM {grant.role}, or run "
                "`graph-memory setup` of the newest version.",
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
            problem = "It runs as its owner with the search path of whoever calls it."
            yield AuditFinding(subject=each.full_name, problem=problem, advice=advice)
        if (each.schema_, each.name) in to_all and each.schema_ not in OURS:
            advice = f"REVOKE EXECUTE ON FUNCTION {each.full_name} FROM PUBLIC, anon;"
            yield AuditFinding(
                subject=each.full_name,
                problem="Everybody may call it, and it runs as its owner.",
                advice=advice,
            )


def _of_readers(readers: list[RecordedReader]) -> Iterator[AuditFinding]:
    for reader in readers:
        if reader.is_person and reader.people:
            yield AuditFinding(
                subject=f"user {reader.actor}",
                problem=f"They read the memory of {reader.people} others.",
                advice="Look in memory.audit_logs at what they read (action memory.read), and at the policies.",
            )


def _of_seals(seals: list[AuditProblem]) -> Iterator[AuditFinding]:
    for each in seals:
        yield AuditFinding(
            subject=f"{each.source} {each.ids}".strip(),
            problem=f"The records do not fit their seals: {each.problem}.",
            advice="Keep the database as it is, and compare it with a backup.",
        )
