"""Checks of a deployment: one result for each part, with advice where something is wrong."""

import asyncio
from datetime import timedelta
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.access import Access
from graphs.memory.database import schema, statements
from graphs.memory.database.database import to_the_end
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.query import Query
from graphs.memory.database.schema import AS_IT_IS, Choice, UpgradePlan
from graphs.memory.database.steps import noted_step
from graphs.memory.errors import AccessDenied, GraphMemoryError, StoreUnavailable
from graphs.memory.principal import Principal
from graphs.memory.search.embeddings import Index
from graphs.memory.store.health import HealthMonitor, PartHealth
from graphs.memory.values.namespaces import Namespace
from graphs.operations import borders, catalogue, connection, policies
from graphs.operations.borders import Attempt
from graphs.operations.catalogue import SchemaDifference
from graphs.operations.connection import ConnectionInfo, Server
from graphs.operations.policies import Explanation
from graphs.operations.results import CheckResult, CheckStatus
from graphs.operations.schema_checks import MISSING, check_newer, check_objects, check_version
from graphs.operations.service import only_service

_SQL = statements.load("checks", __package__)

OLDEST_SERVER = 150000
"""PostgreSQL 15, the oldest that Supabase still runs."""

OLDEST_VECTOR = (0, 8)
"""The first pgvector with iterative scans, which continue when a filter leaves too few rows."""

FULL = 0.8
"""Share of open connections from which on a server has too few left for bursts and operators."""

SKEW_WARN = timedelta(seconds=2)
SKEW_WRONG = timedelta(seconds=30)
"""Clock skew from which on valid tokens are refused."""

NOT_OURS = "Connect as the role that owns the schema `memory`; on Supabase that is `postgres`."

_ROLES = ("anon", "authenticated", "service_role")


class Size(BaseModel):
    """The size of a table."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int = Field(description="The planner's estimate; -1 if the table was never analysed.")
    bytes: int = Field(description="Size with indexes and TOAST.")


class Checks:
    """Checks of a deployment's set-up. For the service only.

    Args:
        access: the store's access; its database may lack the schema.
        index: the store's embedding configuration; None for a store without vector search.
        health: reports the health of the deployment's parts.
    """

    def __init__(
        self,
        access: Access,
        index: Index | None,
        health: HealthMonitor,
    ) -> None:
        self._access = access
        self._database = access.database
        self._index = index
        self._health = health

    async def verify(self) -> list[CheckResult]:
        """Check connection, server, extension, roles, schema objects, embeddings, jobs and clock.

        It changes nothing and needs no schema. To compare, it creates the schema a second time in a
        transaction that is rolled back, which takes about half a second.

        Raises:
            AccessDenied: the principal is not the service.
            StoreUnavailable: the database does not answer.
        """
        only_service(self._access)
        access, server = await self.access(), await self.server()
        found = [
            check_access(access),
            check_server(server),
            check_connections(server),
            check_vector(server),
        ]
        found.append(check_roles(server))
        found += [check_clock(server), version := await self._check_version()]
        if version.detail != MISSING and version.advice != NOT_OURS:
            found += [*await self._check_objects(), *await self._check_work()]
        return found

    async def access(self) -> ConnectionInfo:
        """Return how this process reaches the database."""
        only_service(self._access)
        return await connection.look_at_access(self._database.pool)

    async def server(self) -> Server:
        """Return facts that the server reports about itself."""
        only_service(self._access)
        return await connection.look_at_server(self._database)

    async def sizes(self) -> list[Size]:
        """Return the sizes of the memory's tables, largest first; empty if there is no schema."""
        only_service(self._access)
        query: Query[Any] = Query(
            _SQL["sizes"], {}, lambda rows: [Size(**row._asdict()) for row in rows]
        )
        return cast(
            "list[Size]", (await to_the_end(self._database.run(Principal.owner(), [query])))[0]
        )

    async def differences(self, choice: Choice = AS_IT_IS) -> list[SchemaDifference]:
        """Return the differences between the database and the schema, or the chosen parts of it.

        Raises:
            SchemaPartPresent: the database has a part that `choice` leaves out.
            AccessDenied, ConfigurationError, StoreUnavailable: as `catalogue.differences`.
        """
        only_service(self._access)
        scripts = await asyncio.to_thread(schema.read_scripts)
        async with self._database.pool.connection() as conn:
            return await catalogue.differences(conn, scripts, choice)

    async def plan_upgrade(self) -> UpgradePlan:
        """Return the step that the database is at, and the steps that it lacks. Changes nothing.

        Raises:
            SchemaTooNew, SchemaTooOld: as `schema.apply`.
        """
        only_service(self._access)
        scripts = await asyncio.to_thread(schema.read_scripts)
        async with self._database.pool.connection() as conn:
            return await schema.plan(conn, scripts)

    async def apply_schema(self, choice: Choice = AS_IT_IS) -> None:
        """Apply the schema, also to a database that has it but lost some of its objects.

        Raises:
            ConfigurationError: the role lacks a right; the message says what to do.
            SchemaPartPresent: the database has a part that `choice` leaves out.
            SchemaTooNew, SchemaTooOld, SchemaNotApplied: as `schema.apply`.
        """
        only_service(self._access)
        scripts = await asyncio.to_thread(schema.read_scripts)
        async with self._database.pool.connection() as conn:
            await schema.apply(conn, scripts, again=True, choice=choice)

    async def explain_access(
        self, user_id: str, namespace: Namespace, key: str, *, agent: str | None = None
    ) -> Explanation:
        """Return why a user, or an agent that acts for them, can or cannot read an item."""
        only_service(self._access)
        return await policies.explain(self._database, user_id, namespace, key, agent)

    async def try_borders(self, user_id: str) -> list[Attempt]:
        """Try permitted and forbidden operations as a user; see `borders.try_borders`."""
        only_service(self._access)
        return await borders.try_borders(self._database.pool, user_id)

    async def _check_version(self) -> CheckResult:
        scripts = await asyncio.to_thread(schema.read_scripts)
        try:
            with driver_errors():
                async with self._database.pool.connection() as conn:
                    found, step = await schema.applied_digest(conn), await noted_step(conn)
                    if step is not None and step > scripts.newest:
                        return check_newer(step, scripts.newest)
                    left_out = await schema.parts_left_out(conn)
                    return check_version(found, scripts.digest, left_out)
        except AccessDenied as error:
            return CheckResult(name="schema", status="wrong", detail=str(error), advice=NOT_OURS)

    async def _check_objects(self) -> list[CheckResult]:
        try:
            found = await self.differences()
        except GraphMemoryError as error:
            advice = (isinstance(error, StoreUnavailable) and error.advice) or (
                "Run it as the owner of the schema, while no migration runs."
            )
            return [
                CheckResult(
                    name="objects",
                    status="warn",
                    detail=f"could not be compared: {error}",
                    advice=advice,
                )
            ]
        return check_objects(found)

    async def _check_work(self) -> list[CheckResult]:
        parts = (await self._health.check()).parts
        told = {
            "jobs": "a worker is alive, and no job is overdue",
            "index": "the number of vectors that wait for it is within its limit",
            "audit": "all but the latest records are sealed",
        }
        if self._index:
            told["embeddings"] = f"{self._index.name}, {self._index.dimensions} dimensions"
        return [
            check_part(name, part, told.get(name, "as it should be"))
            for name, part in parts.items()
            if name != "schema" and (name, part.status) != ("database", "ok")
            if part.status != "off"
        ]


def check_access(access: ConnectionInfo) -> CheckResult:
    """Check the route to the database."""
    ways = [access.route, "TLS" if access.tls else "no TLS"]
    if access.route == "transaction pooler" and access.prepared_statements:
        advice = (
            "Use the pooler's port 6543, or PgBouncer 1.21 or newer with max_prepared_statements: "
            "until then the first statements of each process fail and are retried unprepared."
        )
        return CheckResult(
            name="connection",
            status="warn",
            detail=", ".join([*ways, "prepares statements"]),
            advice=advice,
        )
    if not (access.tls or access.local):
        advice = "Add ?sslmode=require to DATABASE_URL: the connection is not encrypted."
        return CheckResult(name="connection", status="warn", detail=", ".join(ways), advice=advice)
    return CheckResult(
        name="connection", status="ok", detail=access.route + (", TLS" if access.tls else "")
    )


def check_server(server: Server) -> CheckResult:
    """Check the version of PostgreSQL."""
    if server.number >= OLDEST_SERVER:
        return CheckResult(name="server", status="ok", detail=f"PostgreSQL {server.version}")
    return CheckResult(
        name="server",
        status="wrong",
        detail=f"PostgreSQL {server.version}",
        advice="Upgrade to PostgreSQL 15 or newer.",
    )


def check_connections(server: Server) -> CheckResult:
    """Check the number of open connections."""
    open_, usable = (
        sum(server.connections.values()),
        server.max_connections - server.reserved_connections,
    )
    states = ", ".join(f"{count} {state}" for state, count in sorted(server.connections.items()))
    detail = f"{open_} of {usable} open" + (f" ({states})" if states else "")
    if open_ <= FULL * usable:
        return CheckResult(name="connections", status="ok", detail=detail)
    advice = "Lower DATABASE_POOL_SIZE, or use a pooler: see `graph-memory pool config`."
    return CheckResult(name="connections", status="warn", detail=detail, advice=advice)


def check_vector(server: Server) -> CheckResult:
    """Check that pgvector is installed and recent enough."""
    if server.vector is None:
        advice = "Run `graph-memory schema apply`, which creates the extension."
        if server.available_vector is None:
            advice = (
                "Install pgvector on the server, or use an image such as pgvector/pgvector:pg17."
            )
        return CheckResult(
            name="extension", status="wrong", detail="vector is not installed", advice=advice
        )
    if tuple(int(part) for part in server.vector.split(".")[:2]) < OLDEST_VECTOR:
        advice = "Run ALTER EXTENSION vector UPDATE; it needs pgvector 0.8 or newer on the server."
        return CheckResult(
            name="extension", status="wrong", detail=f"vector {server.vector}", advice=advice
        )
    return CheckResult(name="extension", status="ok", detail=f"vector {server.vector}")


def check_roles(server: Server) -> CheckResult:
    """Check the roles that requests act as: existence, membership and row-level security."""
    problems = [f"{name} is missing" for name in _ROLES if name not in server.roles]
    problems += [
        f"we may not act as {name}" for name, role in server.roles.items() if not role["mine"]
    ]
    problems += [
        f"row-level security {'binds' if name == 'service_role' else 'does not bind'} {name}"
        for name, role in server.roles.items()
        if role["unbound"] != (name == "service_role")
    ]
    if not problems:
        return CheckResult(name="roles", status="ok", detail=", ".join(_ROLES))
    advice = (
        "Run `graph-memory schema apply`, which creates what is missing if its role may. Otherwise "
        "connect as `postgres` on Supabase; elsewhere run schema/local_supabase.sql as a "
        "superuser, and GRANT anon, authenticated, service_role TO the role of DATABASE_URL; only "
        "service_role has BYPASSRLS."
    )
    return CheckResult(name="roles", status="wrong", detail="; ".join(problems), advice=advice)


def check_part(name: str, part: PartHealth, told: str) -> CheckResult:
    """Check a part by its health: wrong if it is unavailable, or its vectors have another model."""
    if part.status == "ok":
        return CheckResult(name=name, status="ok", detail=told)
    wrong = name == "embeddings" or part.status == "unavailable"
    return CheckResult(
        name=name, status="wrong" if wrong else "warn", detail=part.status, advice=part.advice
    )


def check_clock(server: Server) -> CheckResult:
    """Check that the clocks of this machine and the server agree."""
    off = max(abs(server.ahead) - server.uncertainty, timedelta())
    side = "behind" if server.ahead > timedelta() else "ahead of"
    detail = f"{abs(server.ahead).total_seconds():.2f} s {side} the server"
    if off <= SKEW_WARN:
        return CheckResult(name="clock", status="ok", detail="as the server's")
    status: CheckStatus = "wrong" if off > SKEW_WRONG else "warn"
    return CheckResult(
        name="clock",
        status=status,
        detail=detail,
        advice="Synchronise the clocks by NTP: tokens and expiry depend on them.",
    )
