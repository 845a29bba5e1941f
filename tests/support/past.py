"""Databases as versions before this one left them, and steps that no version has."""

from collections.abc import Collection
from dataclasses import replace

import psycopg
from psycopg.rows import dict_row

from graphs.memory.database import schema
from graphs.memory.database.parts import SchemaPart, leave_out
from graphs.memory.database.schema import Scripts, read_scripts
from graphs.memory.database.steps import SchemaStep
from tests.support.sql import rows


async def make_baseline(database: str, left_out: Collection[SchemaPart] = ()) -> None:
    """Set an empty database up as the version did that was the last one without steps."""
    scripts = read_scripts()
    async with (
        await psycopg.AsyncConnection.connect(database, row_factory=dict_row) as conn,
        conn.transaction(),
    ):
        await conn.execute(scripts.local_supabase)
        await conn.execute(leave_out(scripts.steps[0].script, left_out))
        for script in scripts.business_tables.values():
            await conn.execute(script)
        await schema._apply_job_schema(conn, scripts)
        await conn.execute(
            "INSERT INTO memory.schema_versions (digest, left_out) VALUES ('of before', %s)",
            [[*map(str, left_out)]],
        )


async def use_offline_model(database: str) -> None:
    """Register the embedding model as that version did, for a store with an index."""
    await rows(
        database,
        """INSERT INTO memory.embedding_models (name, dimensions, active)
        VALUES ('offline:wordllama', 256, true)""",
    )
    await rows(database, "SELECT memory.create_vector_index(1::smallint, 256)")


def with_steps(*texts: str) -> Scripts:
    """Return the schema with more steps after the newest."""
    scripts = read_scripts()
    more = [
        SchemaStep(number, f"{number:04}_of_a_test", text)
        for number, text in enumerate(texts, scripts.newest + 1)
    ]
    return replace(scripts, steps=(*scripts.steps, *more))
