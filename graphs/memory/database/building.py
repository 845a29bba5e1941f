"""Statements that build and drop a vector index concurrently, which no transaction may contain.

They name pgvector's types in full, since they run without a search path. Within a transaction,
`memory.create_vector_index` builds the same index.
"""

from typing import Any, LiteralString, cast

from psycopg.sql import SQL, Composed, Identifier, Literal

from graphs.memory.database import statements

_SQL = statements.load_sources("building", __package__)


def build(
    name: str,
    model: int,
    dimensions: int,
    extension: str,
    *,
    m: int | None = None,
    ef_construction: int | None = None,
    lists: int | None = None,
) -> Composed:
    """Return the statement that builds the vector index of a model: IVFFlat with lists, or HNSW.

    Args:
        name: of the index.
        model: its number.
        dimensions: of its vectors.
        extension: the schema that pgvector is installed in.
        m: neighbours that HNSW keeps for each vector.
        ef_construction: candidates from which it chooses them.
        lists: parts that IVFFlat divides the vectors into.
    """
    return filled(
        _SQL["build_hnsw" if lists is None else "build_ivfflat"],
        name=Identifier(name),
        vector=Identifier(extension, "halfvec"),
        operators=Identifier(extension, "halfvec_cosine_ops"),
        dimensions=Literal(dimensions),
        model=Literal(model),
        m=Literal(m),
        ef_construction=Literal(ef_construction),
        lists=Literal(lists),
    )


def drop(name: str) -> Composed:
    """Return the statement that drops an index of the memory, if it is there."""
    return filled(_SQL["drop"], name=Identifier(name))


def filled(statement: LiteralString, /, **values: Any) -> Composed:
    """Return a statement with names and constants in its `{…}`."""
    return SQL(cast("LiteralString", statement)).format(**values)  # type: ignore[redundant-cast]
