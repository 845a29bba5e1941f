"""A comparison of a database with the schema, object by object."""

from typing import Literal

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.database import objects, schema, statements
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.objects import Object, ObjectKind, Objects
from graphs.memory.database.schema import AS_IT_IS, Choice, Scripts

_SQL = statements.load_sources("catalogue", __package__)
_LOCK = statements.load_sources("setup", "graphs.memory.database")["lock"]


class SchemaDifference(BaseModel):
    """An object that differs between a database and the schema."""

    model_config = ConfigDict(frozen=True)

    kind: ObjectKind
    name: str = Field(
        description="With its schema, and where it is part of a table with the table's name."
    )
    problem: Literal["missing", "different", "invalid", "extra"] = Field(
        description="`invalid` is an index whose creation was cut off, `extra` an object that the "
        "schema does not have."
    )
    wanted: str | None = Field(
        description="Its definition in the schema; None where there it has none."
    )
    found: str | None = Field(description="Its definition in the database.")


async def differences(
    conn: AsyncConnection[DictRow], scripts: Scripts, choice: Choice = AS_IT_IS
) -> list[SchemaDifference]:
    """Compare a database with the schema.

    The schema is created a second time in a transaction that is rolled back. The existing one is
    renamed within it and stays usable for everybody. Business tables are not renamed: they are
    locked for a moment, and differing columns of them are not detected. Parts that the database
    was created without, or that `choice` leaves out, are not compared.

    Raises:
        AccessDenied: the role does not own the schema, or may not create one.
        StoreUnavailable: another transaction used a business table for more than two seconds.
        ConfigurationError, SchemaPartPresent: as `schema.apply`.
    """
    there, wanted = await both(conn, scripts, choice)
    return compare(there, wanted)


async def both(
    conn: AsyncConnection[DictRow], scripts: Scripts, choice: Choice = AS_IT_IS
) -> tuple[Objects, Objects]:
    """Return the objects of a database, and those of the schema; see `differences`."""
    with driver_errors():
        async with conn.transaction(force_rollback=True):
            await conn.execute(_SQL["lock_briefly"])
            await conn.execute(_LOCK)
            left_out = await schema.parts_left_out(conn, choice)
            there = await objects.read(conn)
            models = await _models(conn)
            await objects.set_aside(conn)
            await schema.carry_out(conn, scripts, left_out)
            await conn.execute(_SQL["add_models"], {"models": models})
            await conn.execute(_SQL["create_vector_indexes"])
            return there, await objects.read(conn)


async def _models(conn: AsyncConnection[DictRow]) -> str | None:
    """Return the embedding models of a database as JSON."""
    has_models = await (await conn.execute(_SQL["has_models"])).fetchone()
    if not (has_models and has_models["has_models"]):
        return None
    models = await (await conn.execute(_SQL["models"])).fetchone()
    return models["models"] if models else None


def compare(there: Objects, wanted: Objects) -> list[SchemaDifference]:
    """Return the differences, ordered by kind and name. Parts of a missing table are left out."""
    found = []
    # Operators may comment on their tables: a comment that the schema lacks is no difference.
    compared = {*wanted, *(each for each in there if each[0] != "comment")}
    for kind, name in sorted(compared):
        ours, theirs = wanted.get((kind, name)), there.get((kind, name))
        problem = _problem(ours, theirs)
        if problem and not (
            problem == "missing" and objects.of_missing_table(kind, name, there, wanted)
        ):
            texts = {
                "wanted": ours.definition if ours else None,
                "found": theirs.definition if theirs else None,
            }
            found.append(SchemaDifference(kind=kind, name=name, problem=problem, **texts))
    return found


def _problem(
    ours: Object | None, theirs: Object | None
) -> Literal["missing", "different", "invalid", "extra"] | None:
    if theirs is None:
        return "missing"
    if ours is None:
        return "extra"
    if ours.definition != theirs.definition:
        return "different"
    return None if theirs.valid or not ours.valid else "invalid"
