"""The numbered steps of the schema, and the step that a database is at."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from graphs.memory.database import objects, statements
from graphs.memory.database.parts import SchemaPart, leave_out
from graphs.memory.errors import SchemaTooNew, SchemaTooOld

_SQL = statements.load_sources("setup", __package__)


@dataclass(frozen=True, slots=True)
class SchemaStep:
    """One step from a version of the schema to the next; released ones never change."""

    number: int
    name: str
    """Such as `0002_steps`."""
    script: str

    @property
    def digest(self) -> str:
        """Tells this step's text from any other."""
        return hashlib.sha256(self.script.encode()).hexdigest()


def read_steps(folder: Path) -> tuple[SchemaStep, ...]:
    """Read the steps of a folder, `NNNN_name.sql`, in order. The first is the baseline."""
    return tuple(
        SchemaStep(int(path.stem.partition("_")[0]), path.stem, path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.sql"))
    )


async def lacking_steps(
    conn: AsyncConnection[DictRow], steps: Sequence[SchemaStep], left_out: Collection[SchemaPart]
) -> Sequence[SchemaStep]:
    """Return the steps that a database lacks; none for an empty one, which gets the whole schema.

    Raises:
        SchemaTooNew, SchemaTooOld: as `step_of`.
    """
    at = await step_of(conn, steps, left_out)
    return [] if at is None else [step for step in steps if step.number > at]


async def step_of(
    conn: AsyncConnection[DictRow], steps: Sequence[SchemaStep], left_out: Collection[SchemaPart]
) -> int | None:
    """Return the step of a database, in the open transaction; None if it has no schema.

    A database that notes no step was made before there were steps. It is at the baseline if it has
    all objects of the baseline. Business tables and other objects do not count.

    Raises:
        SchemaTooNew: the database is at a step beyond these.
        SchemaTooOld: the database notes no step, and lacks objects of the baseline.
    """
    if (noted := await noted_step(conn)) is not None:
        if noted > steps[-1].number:
            raise SchemaTooNew(noted, steps[-1].number)
        return noted
    has_tables = await (await conn.execute(_SQL["has_tables"])).fetchone()
    if not (has_tables and has_tables["has_tables"]):
        return None
    if missing := await objects.missing(conn, leave_out(steps[0].script, left_out)):
        raise SchemaTooOld(missing)
    return steps[0].number


async def noted_step(conn: AsyncConnection[DictRow]) -> int | None:
    """Return the step that a database notes; None if it notes none, or has no schema."""
    has_versions = await (await conn.execute(_SQL["has_versions"])).fetchone()
    if not (has_versions and has_versions["has_versions"]):
        return None
    found = await (await conn.execute(_SQL["noted_step"])).fetchone()
    return found["step"] if found else None
