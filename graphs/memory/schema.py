"""Applying the schema."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, cast

from psycopg import AsyncConnection
from psycopg import errors as pg
from psycopg.rows import DictRow

from graphs.memory import sql
from graphs.memory.errors import ConfigurationError, driver_errors

log = logging.getLogger(__name__)

_SQL = sql.load_sources("setup")
_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Scripts:
    """The schema's files, read."""

    supabase_schema: str
    local_supabase: str

    @property
    def digest(self) -> str:
        """What tells one version of the schema from another."""
        return hashlib.sha256(self.supabase_schema.encode()).hexdigest()


def schema_folder() -> Path:
    """Return where the schema's files are: inside an installed package, at the top of a checkout."""
    installed = _PACKAGE / "_schema"
    return installed if installed.is_dir() else _PACKAGE.parent / "schema"


def read_scripts() -> Scripts:
    """Read the schema's files. It blocks: call it from a thread."""
    supabase, local = (
        (schema_folder() / name).read_text(encoding="utf-8") for name in ("supabase_schema.sql", "local_supabase.sql")
    )
    return Scripts(supabase, local)


async def apply(conn: AsyncConnection[DictRow], scripts: Scripts) -> bool:
    """Bring a database to this version of the schema, in one transaction, as the role that connected.

    A database that has it already is left alone; processes that come at the same time wait for one another.

    Returns:
        Whether something was applied.

    Raises:
        ConfigurationError: this is no Supabase project, and the role may not prepare the database like one.
    """
    with driver_errors():
        async with conn.transaction():
            await conn.execute(_SQL["lock"])
            has_auth = await (await conn.execute(_SQL["has_auth"])).fetchone()
            if not (has_auth and has_auth["has_auth"]):
                await _imitate_supabase(conn, scripts.local_supabase)
            if await _applied_digest(conn) == scripts.digest:
                return False
            await _apply_schema(conn, scripts.supabase_schema)
            await conn.execute(_SQL["record_version"], {"digest": scripts.digest})
    log.info("The schema was applied")
    return True


async def _applied_digest(conn: AsyncConnection[DictRow]) -> str | None:
    has_versions = await (await conn.execute(_SQL["has_versions"])).fetchone()
    if not (has_versions and has_versions["has_versions"]):
        return None
    latest = await (await conn.execute(_SQL["latest_version"])).fetchone()
    return str(latest["digest"]) if latest else None


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


async def _run(conn: AsyncConnection[DictRow], script: str) -> None:
    """Run a file of ours, which holds many statements and no parameters."""
    await conn.execute(cast("LiteralString", script), prepare=False)  # type: ignore[redundant-cast]
