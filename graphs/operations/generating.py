"""The schema as one SQL script, for operators who apply migrations with their own tool."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from psycopg.sql import Literal

from graphs.memory.database import statements
from graphs.memory.database.parts import SchemaPart, leave_out
from graphs.memory.database.schema import Scripts

_SQL = {
    **statements.load_sources("setup", "graphs.memory.database"),
    **statements.load_sources("catalogue", __package__),
}

_HEADER = """\
-- Graph-Native Memory, schema version {version}, for an empty database; `graph-memory schema apply`
-- upgrades one with an older version. One transaction: all of it is applied, or nothing.
BEGIN;
"""


def generate(
    scripts: Scripts,
    *,
    plain: bool = False,
    model: str | None = None,
    dimensions: int = 0,
    without: Collection[SchemaPart] = (),
) -> str:
    """Return a script that sets up an empty database as `setup()` does.

    Args:
        scripts: the scripts of the schema.
        plain: begin with the script that makes a plain Postgres look like Supabase. It needs the
            right to create roles.
        model: name of an embedding model to register together with its vector index; None leaves
            this to the first start.
        dimensions: dimensions of its vectors, 1 to 4000.
        without: parts to leave out. The script records this, so that no start adds them.
    """
    left_out = [part for part in SchemaPart if part in without]
    return "\n".join(_parts(scripts, plain, model, dimensions, left_out))


def _parts(
    scripts: Scripts, plain: bool, model: str | None, dimensions: int, left_out: list[SchemaPart]
) -> Iterator[str]:
    yield _HEADER.format(version=scripts.digest[:12])
    if plain:
        yield scripts.local_supabase
    yield leave_out(scripts.supabase_schema, left_out)
    yield from scripts.business_tables.values()
    yield "-- The queue of background jobs, which is procrastinate's\n"
    yield f"{_SQL['in_job_schema']};\n"
    yield scripts.jobs
    yield filled("record_job_migrations", names=list(scripts.job_migrations))
    yield filled("protect_jobs")
    yield filled("index_failed_jobs")
    yield noted(scripts.digest, left_out, scripts.newest)
    if model:
        yield filled("activate_model", name=model, dimensions=dimensions)
        yield filled(
            "create_vector_index", model=1, dimensions=dimensions
        )  # the first one of the table
    yield "COMMIT;"


def noted(digest: str, left_out: Sequence[SchemaPart], step: int) -> str:
    """Return the statement that notes a step in the database."""
    return filled("record_version", digest=digest, left_out=[*map(str, left_out)], step=step)


def filled(statement: str, /, **values: object) -> str:
    """Return a statement of `setup.sql` with its parameters as literals."""
    return write_in(_SQL[statement], values)


def write_in(source: str, values: Mapping[str, object]) -> str:
    """Return a statement without its comment, with its parameters as literals."""
    text = "\n".join(line for line in source.splitlines() if not line.startswith("--"))
    for parameter, value in values.items():
        text = text.replace(f"%({parameter})s", Literal(value).as_string())
    return f"{text.replace('%%', '%')};\n"
