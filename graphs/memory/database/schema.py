"""Applying the schema."""

import hashlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, cast

from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection
from psycopg import errors as pg
from psycopg.rows import DictRow

from graphs.memory.database import statements
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.parts import SchemaPart, leave_out
from graphs.memory.errors import ConfigurationError, SchemaPartPresent

log = logging.getLogger(__name__)

_SQL = statements.load_sources("setup", __package__)
_PACKAGE = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Scripts:
    """The schema's files, read."""

    supabase_schema: str
    business_tables: Mapping[str, str]
    """What `schema/agents/*.sql` say, by name, in their order: tables of the agents that this deployment has."""
    local_supabase: str
    jobs: str
    """The schema of the queue of jobs, which is procrastinate's."""
    job_migrations: Mapping[str, str]
    """The steps to it from earlier versions, by name, in their order."""

    @property
    def digest(self) -> str:
        """What tells one version of the schema from another."""
        parts = [
            self.supabase_schema,
            *self.business_tables.values(),
            self.jobs,
            *self.job_migrations,
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Choice:
    """Which parts of the schema a database is to have; of those that are not named, what it has, and an empty one all.

    Args:
        without: parts that it is to be made without.
        adding: parts that it is to get, though it was made without them.
    """

    without: Collection[SchemaPart] = ()
    adding: Collection[SchemaPart] = ()


AS_IT_IS = Choice()
"""The parts that the database has."""


def schema_folder() -> Path:
    """Return where the schema's files are: inside an installed package, at the top of a checkout."""
    installed = _PACKAGE / "_schema"
    return installed if installed.is_dir() else _PACKAGE.parent / "schema"


def read_scripts() -> Scripts:
    """Read the schema's files. It blocks: call it from a thread."""
    folder = schema_folder()
    supabase, local = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("supabase_schema.sql", "local_supabase.sql")
    )
    steps = _read_all(Path(SchemaManager.get_migrations_path()))
    return Scripts(supabase, _read_all(folder / "agents"), local, SchemaManager.get_schema(), steps)


def _read_all(folder: Path) -> dict[str, str]:
    """The SQL files of a folder by name, in the order of names; none where there is no such folder."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.sql"))}


async def apply(
    conn: AsyncConnection[DictRow],
    scripts: Scripts,
    *,
    again: bool = False,
    choice: Choice = AS_IT_IS,
) -> bool:
    """Bring a database to this version of the schema, in one transaction, as the role that connected.

    A database that has it already is left alone; processes that come at the same time wait for one another.

    Args:
        conn: a connection that is in no transaction.
        scripts: the schema.
        again: apply it also where it was applied before, since something of it was lost.
        choice: which parts the database is to have.

    Returns:
        Whether something was applied.

    Raises:
        ConfigurationError: this is no Supabase project, and the role may not prepare the database like one.
        SchemaPartPresent: the database has a part that it is to be made without.
    """
    with driver_errors():
        async with conn.transaction():
            await conn.execute(_SQL["lock"])
            if await _has_auth(conn) and not again and await applied_digest(conn) == scripts.digest:
                return False
            await carry_out(conn, scripts, await parts_left_out(conn, choice))
    log.info("The schema was applied")
    return True


async def carry_out(
    conn: AsyncConnection[DictRow], scripts: Scripts, left_out: Collection[SchemaPart]
) -> None:
    """Apply the schema but for some parts in the transaction that is open, which holds the lock.

    Raises:
        ConfigurationError: as `apply`.
    """
    if not await _has_auth(conn):
        await _imitate_supabase(conn, scripts.local_supabase)
    for script in (leave_out(scripts.supabase_schema, left_out), *scripts.business_tables.values()):
        await _apply_schema(conn, script)
    await _apply_job_schema(conn, scripts)
    await conn.execute(_SQL["record_version"], {"digest": scripts.digest, "left_out": [*left_out]})


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
            f"This Postgres is not Supabase, and the role {conn.info.user!r} may not prepare it like one "
            f"({error.diag.message_primary}): run schema/local_supabase.sql on it once as a superuser."
        ) from error


async def _apply_schema(conn: AsyncConnection[DictRow], script: str) -> None:
    try:
        await _run(conn, script)
    except pg.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"The role {conn.info.user!r} may not apply the schema ({error.diag.message_primary}): connect as the "
            "owner of the database, and where it may not make extensions have a superuser run "
            "`CREATE EXTENSION vector SCHEMA extensions`."
        ) from error
    except pg.FeatureNotSupported as error:
        raise ConfigurationError(
            f"This Postgres lacks pgvector ({error.diag.message_primary}): install it on the server, or use an image "
            "that has it, such as pgvector/pgvector:pg17."
        ) from error


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
