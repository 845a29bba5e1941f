"""All rows of a database's data, for comparison with another database."""

import psycopg

OF_THIS_DATABASE = {
    "memory.schema_versions",
    "memory.job_migrations",
    "memory.job_failures",
    "memory.deleted_runs",
    "memory.brain_loads",
    "memory.brain_load_errors",
    "memory.personal_business_tables",
}
"""Tables that describe a database, or belong to its queue."""

_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname IN ('memory', 'public') ORDER BY 1
"""


def all_rows(database: str) -> dict[str, list[str]]:
    """Return all rows of each table as texts, without columns about the vector index."""
    with psycopg.connect(database) as conn:
        tables = [name for (name,) in conn.execute(_TABLES) if name not in OF_THIS_DATABASE]
        rows = {}
        for name in tables:
            row = "(namespace, key, field, model, memory_id, user_id, org_id, agent_id, embedding)"
            row = row if name == "memory.memory_embeddings" else "t"
            rows[name] = sorted(
                found for (found,) in conn.execute(f"SELECT {row}::text FROM {name} AS t")
            )
        return rows
