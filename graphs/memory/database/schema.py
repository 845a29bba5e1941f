"""Applying the schema: the whole file to a new database, numbered steps to one that has a past.

Every change of the schema is made twice: in `supabase_schema.sql`, which a new database gets, and
as a step in `schema/migrations/`, which every other database gets. `memory.schema_versions` notes
the step of a database.

- A new database gets the whole file, and is at the newest step from the start.
- A database that lacks steps gets them in order. Each runs in a transaction of its own, which also
  notes it. If a step fails or the process dies, the next call continues after the last noted step.
- One last transaction applies everything idempotent: the whole file, the business tables of agents,
  and the queue of jobs. It notes a digest, and a start that finds this digest does nothing.
- If no step is lacking but the digest differs, only that last transaction runs. Causes are changed
  business tables, another release of procrastinate, or a start of a version without steps.
- `graph-memory schema apply` runs the last transaction in any case (`again`): it restores lost
  functions, policies, indexes and grants at the same step.

Each transaction takes the same advisory lock, and then reads the database's step. So processes
that start together take turns, and no step runs twice.
"""

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, cast

import psycopg
from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection
from psycopg import errors as pg
from psycopg.rows import DictRow

from graphs.memory.database import statements
from graphs.memory.database.driver_errors import TRANSIENT, driver_errors
from graphs.memory.database.parts import SchemaPart, leave_out
from graphs.memory.database.steps import SchemaStep, lacking_steps, read_steps, step_of
from graphs.memory.errors import (
    ConfigurationError,
    SchemaNotApplied,
    SchemaPartPresent,
    error_sentence,
)

log = logging.getLogger(__name__)

_SQL = statements.load_sources("setup", __package__)
_PACKAGE = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Scripts:
    """The schema's files, read."""

    supabase_schema: str
    business_tables: Mapping[str, str]
    """The files `schema/agents/*.sql` by name, in order: tables of this deployment's agents."""
    local_supabase: str
    jobs: str
    """The schema of the queue of jobs, which is procrastinate's."""
    job_migrations: Mapping[str, str]
    """The steps to it from earlier versions, by name, in their order."""
    steps: tuple[SchemaStep, ...]
    """The steps to `supabase_schema` from the baseline, which is the first of them."""

    @property
    def newest(self) -> int:
        """The step that `supabase_schema` is at."""
        return self.steps[-1].number

    @property
    def digest(self) -> str:
        """The digest of all scripts, which identifies a version of the schema."""
        parts = [
            self.supabase_schema,
            *self.business_tables.values(),
            self.jobs,
            *self.job_migrations,
            *(step.name for step in self.steps),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Choice:
    """The parts of the schema that a database is to have.

    Parts that are not named stay as they are. An empty database gets them.

    Args:
        without: parts that it is to be made without.
        adding: parts that it is to get, though it was made without them.
    """

    without: Collection[SchemaPart] = ()
    adding: Collection[SchemaPart] = ()


AS_IT_IS = Choice()
"""The parts that the database has."""


def schema_folder() -> Path:
    """Return the folder of the schema: in an installed package, or at the top of a checkout."""
    installed = _PACKAGE / "_schema"
    return installed if installed.is_dir() else _PACKAGE.parent / "schema"


def read_scripts() -> Scripts:
    """Read the schema's files. It blocks: call it from a thread."""
    folder = schema_folder()
    supabase, local = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("supabase_schema.sql", "local_supabase.sql")
    )
    return Scripts(
        supabase_schema=supabase,
        business_tables=_read_all(folder / "agents"),
        local_supabase=local,
        jobs=SchemaManager.get_schema(),
        job_migrations=_read_all(Path(SchemaManager.get_migrations_path())),
        steps=read_steps(folder / "migrations"),
    )


def _read_all(folder: Path) -> dict[str, str]:
    """Return the SQL files of a folder by name, in order; empty if there is no such folder."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.sql"))}


@dataclass(frozen=True, slots=True)
class UpgradePlan:
    """The step that a database is at, and what brings it to this version."""

    step: int | None
    """None for a database without a schema, which gets the whole of it."""
    lacking: Sequence[SchemaStep]
    up_to_date: bool
    """True if `apply` would change nothing."""


async def plan(conn: AsyncConnection[DictRow], scripts: Scripts) -> UpgradePlan:
    """Return what `apply` would do. Changes nothing.

    Raises:
        SchemaTooNew, SchemaTooOld: as `apply`.
    """
    with driver_errors():
        async with conn.transaction(force_rollback=True):
            await conn.execute(_SQL["lock"])
            step = await step_of(conn, scripts.steps, await parts_left_out(conn))
            lacking = [each for each in scripts.steps if step is not None and each.number > step]
            return UpgradePlan(step, lacking, not lacking and await _is_current(conn, scripts))


async def apply(
    conn: AsyncConnection[DictRow],
    scripts: Scripts,
    *,
    again: bool = False,
    choice: Choice = AS_IT_IS,
) -> bool:
    """Bring a database to this version of the schema, as the role that connected.

    A database that has it already stays as it is. Processes that come at the same time take turns.

    Args:
        conn: a connection that is in no transaction.
        scripts: the schema.
        again: apply the whole file even if it was applied before, to restore lost objects.
        choice: which parts the database is to have.

    Returns:
        Whether something was applied.

    Raises:
        ConfigurationError: the database is no Supabase project, and the role may not make it
            look like one; or the role may not apply the schema.
        SchemaTooNew: a newer version has changed the schema; nothing was changed.
        SchemaTooOld: the database is older than the baseline; nothing was changed.
        SchemaNotApplied: a step, or the whole, was refused. The steps before it stay applied.
        SchemaPartPresent: the database has a part that `choice` leaves out; nothing was changed.
    """
    with driver_errors():
        while True:
            async with conn.transaction():
                await conn.execute(_SQL["lock"])
                left_out = await parts_left_out(conn, choice)
                lacking = await lacking_steps(conn, scripts.steps, await parts_left_out(conn))
                if not lacking:
                    if not again and await _is_current(conn, scripts):
                        return False
                    await carry_out(conn, scripts, left_out)
                    break
                # A part that is to be added comes with the whole, which follows the steps.
                await take_step(conn, lacking[0], await parts_left_out(conn))
            log.info("Step %s of the schema was applied", lacking[0].name)
    log.info("The schema was applied")
    return True


async def take_step(
    conn: AsyncConnection[DictRow], step: SchemaStep, left_out: Collection[SchemaPart]
) -> None:
    """Carry a step out but for some parts, and note it, in the transaction that is open.

    Raises:
        SchemaNotApplied: the database refused it.
        ConfigurationError: the role may not.
    """
    await conn.execute(_SQL["prepare_step"])
    await _apply_schema(conn, leave_out(step.script, left_out), f"Step {step.name}")
    given = {"digest": step.digest, "left_out": [*left_out], "step": step.number}
    await conn.execute(_SQL["record_version"], given)


async def _is_current(conn: AsyncConnection[DictRow], scripts: Scripts) -> bool:
    return await _has_auth(conn) and await applied_digest(conn) == scripts.digest


async def carry_out(
    conn: AsyncConnection[DictRow], scripts: Scripts, left_out: Collection[SchemaPart]
) -> None:
    """Apply the schema but for some parts in the transaction that is open, which holds the lock.

    Raises:
        ConfigurationError, SchemaNotApplied: as `apply`.
    """
    if not await _has_auth(conn):
        await _imitate_supabase(conn, scripts.local_supabase)
    await _apply_schema(conn, leave_out(scripts.supabase_schema, left_out), "supabase_schema.sql")
    for name, script in scripts.business_tables.items():
        await _apply_schema(conn, script, f"agents/{name}")
    await _apply_job_schema(conn, scripts)
    await conn.execute(
        _SQL["record_version"],
        {"digest": scripts.digest, "left_out": [*left_out], "step": scripts.newest},
    )


async def _has_auth(conn: AsyncConnection[DictRow]) -> bool:
    found = await (await conn.execute(_SQL["has_auth"])).fetchone()
    return bool(found and found["has_auth"])


async def applied_digest(conn: AsyncConnection[DictRow]) -> str | None:
    """Return the digest of the schema that a database has; None where it has none."""
    latest = await _latest_version(conn)
    return str(latest["digest"]) if latest else None


async def parts_left_out(
    conn: AsyncConnection[DictRow], choice: Choice = AS_IT_IS
) -> list[SchemaPart]:
    """Return the parts of the schema that a database is without, once it is as chosen.

    Raises:
        SchemaPartPresent: it has a part that it is to be made without.
    """
    latest = await _latest_version(conn)
    absent = [
        part for part in SchemaPart if part in (latest["left_out"] if latest else choice.without)
    ]
    for part in choice.without:
        if part not in absent:
            raise SchemaPartPresent(part)
    return [part for part in absent if part not in choice.adding]


async def _latest_version(conn: AsyncConnection[DictRow]) -> DictRow | None:
    has_versions = await (await conn.execute(_SQL["has_versions"])).fetchone()
    if not (has_versions and has_versions["has_versions"]):
        return None
    return await (await conn.execute(_SQL["latest_version"])).fetchone()


async def _imitate_supabase(conn: AsyncConnection[DictRow], script: str) -> None:
    try:
        await _run(conn, script)
    except pg.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"This Postgres is not Supabase, and the role {conn.info.user!r} may not prepare it "
            f"like one ({error.diag.message_primary}): run schema/local_supabase.sql on it once as "
            "a superuser."
        ) from error


async def _apply_schema(conn: AsyncConnection[DictRow], script: str, what: str) -> None:
    try:
        await _run(conn, script)
    except pg.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"The role {conn.info.user!r} may not apply the schema ({error.diag.message_primary}): "
            "connect as the owner of the database. If the owner may not create extensions, have a "
            "superuser run `CREATE EXTENSION vector SCHEMA extensions`."
        ) from error
    except pg.FeatureNotSupported as error:
        if "extension" not in (error.diag.message_primary or ""):
            raise SchemaNotApplied(what, error_sentence(error)) from error
        raise ConfigurationError(
            f"This Postgres lacks pgvector ({error.diag.message_primary}): install it on the "
            "server, or use an image that has it, such as pgvector/pgvector:pg17."
        ) from error
    except (*TRANSIENT, pg.QueryCanceled, pg.ReadOnlySqlTransaction):
        raise
    except psycopg.Error as error:
        raise SchemaNotApplied(what, error_sentence(error)) from error


async def _apply_job_schema(conn: AsyncConnection[DictRow], scripts: Scripts) -> None:
    """Make the tables of procrastinate, or bring them to the installed version."""
    has_jobs = await (await conn.execute(_SQL["has_jobs"])).fetchone()
    done = {row["name"] for row in await (await conn.execute(_SQL["job_migrations"])).fetchall()}
    steps = [step for name, step in scripts.job_migrations.items() if name not in done]
    await conn.execute(_SQL["in_job_schema"])
    for script in steps if has_jobs and has_jobs["has_jobs"] else [scripts.jobs]:
        await _run(conn, script)
    await conn.execute(_SQL["record_job_migrations"], {"names": list(scripts.job_migrations)})
    await conn.execute(_SQL["protect_jobs"], prepare=False)
    await conn.execute(_SQL["index_failed_jobs"])


async def _run(conn: AsyncConnection[DictRow], script: str) -> None:
    """Run a file that holds many statements and no parameters: ours, or procrastinate's."""
    await conn.execute(cast("LiteralString", script), prepare=False)  # type: ignore[redundant-cast]
