"""The steps of the schema as migration files for `supabase db push`.

A file is named `<version>_<name>.sql`. The CLI applies files in the order of their versions, each
once. The version of a step is the day of its release and its number in six digits. Business tables
and the queue of jobs are not made by steps. They have one more file, whose digits come from its
content: if the content changes, there is a new file, which is applied as well.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping

from psycopg.sql import Literal

from graphs.memory.database import statements
from graphs.memory.database.parts import SchemaPart, leave_out
from graphs.memory.database.schema import Scripts
from graphs.memory.database.steps import SchemaStep
from graphs.operations import generating

_SQL = statements.load_sources("migration_files", __package__)

RELEASE_DAYS: Mapping[int, str] = dict.fromkeys(range(1, 11), "20261201")
"""The day on which each step was released; a file of an earlier release keeps its name."""


def migration_files(scripts: Scripts, without: Collection[SchemaPart] = ()) -> dict[str, str]:
    """Return the migration files by name, in their order; the same call returns the same files.

    A file is refused by a database that is elsewhere than at the step before it.

    Args:
        scripts: the schema.
        without: parts to leave out; the same ones each time.
    """
    left_out = [part for part in SchemaPart if part in without]
    files = {}
    for step in scripts.steps:
        version = f"{_day(step.number)}{step.number:06}"
        files[f"{version}_memory_{step.name}.sql"] = _step_file(step, version, left_out)
    beside = "\n".join(_beside(scripts, left_out))
    digits = 100_000 + int(hashlib.sha256(beside.encode()).hexdigest(), 16) % 900_000
    files[f"{_day(scripts.newest)}{digits}_memory_business_tables_and_jobs.sql"] = beside
    return files


def _day(step: int) -> str:
    """Return the day of a step; an unreleased step comes last."""
    return RELEASE_DAYS.get(step, "20991231")


def _step_file(step: SchemaStep, version: str, left_out: list[SchemaPart]) -> str:
    before = step.number - 1
    guard = _written("expect_step", step=step.number, before=before, version=version)
    parts = [guard, generating.filled("prepare_step"), leave_out(step.script, left_out)]
    if before:
        parts.append(generating.noted(step.digest, left_out, step.number))
    else:  # there is no column yet to note it in
        parts.append(_written("note_baseline", digest=step.digest, left_out=[*map(str, left_out)]))
    return "\n".join(parts)


def _beside(scripts: Scripts, left_out: list[SchemaPart]) -> Iterator[str]:
    """Yield the SQL beside the steps. It may run again, also over an older queue of jobs."""
    yield _written("expect_newest", step=scripts.newest)
    yield from scripts.business_tables.values()
    yield generating.filled("in_job_schema")
    migrations = "\n".join(
        _SQL["migrate_jobs"].format(name=Literal(name).as_string(), script=_quoted(script))
        for name, script in scripts.job_migrations.items()
    )
    yield _SQL["make_jobs"].format(schema=_quoted(scripts.jobs), migrations=migrations) + ";\n"
    yield generating.filled("record_job_migrations", names=list(scripts.job_migrations))
    yield generating.filled("protect_jobs")
    yield generating.filled("index_failed_jobs")
    yield "RESET search_path;\n"
    yield generating.noted(scripts.digest, left_out, scripts.newest)


def _quoted(script: str) -> str:
    """Return a script as a readable SQL literal."""
    return f"$script${script}$script$"


def _written(statement: str, /, **values: object) -> str:
    return generating.write_in(_SQL[statement], values)
