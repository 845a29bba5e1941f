"""Items that came past the store, over PostgREST or SQL: their words and vectors."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from langgraph.store.base import PutOp

from graphs.memory.database import statements
from graphs.memory.database.database import Database
from graphs.memory.database.query import Query, Rows
from graphs.memory.database.vectors import Model, Vector
from graphs.memory.errors import EmbeddingFailed
from graphs.memory.principal import Principal
from graphs.memory.search.embeddings import Index, fields_of, is_passing
from graphs.memory.values.namespaces import from_text

log = logging.getLogger(__name__)

_SQL = statements.load("reembedding", __package__)

_PORTION = 100
"""Items that are embedded together."""


class _Indexed(NamedTuple):
    """An item with its label and text for full-text search, and its vectors by field."""

    row: Any
    document: tuple[str, str] | None
    vectors: dict[str, Vector]


async def index_items(database: Database, index: Index, model: Model) -> int:
    """Index the items that wait for it, as a put would have done, and return their number.

    An item that the model refuses waits on; the others do not.

    Raises:
        EmbeddingFailed: the model is unavailable.
    """
    indexed, after = 0, 0
    while rows := await _waiting(database, after):
        after = rows[-1].id
        items = await _embed(index, rows)
        query: Query[int] = Query(
            _SQL["index_items"], _columns(items, index, model), lambda found: int(found[0].indexed)
        )
        indexed += (await database.run(Principal.service(), [query]))[0]
    return indexed


async def _waiting(database: Database, after: int) -> Rows:
    query: Query[Rows] = Query(
        _SQL["unindexed"], {"after": after, "limit": _PORTION}, lambda rows: rows
    )
    rows: Rows
    [rows] = await database.run(Principal.service(), [query])
    return rows


async def _embed(index: Index, rows: Rows) -> list[_Indexed]:
    """Return items with their vectors; after a refusal each alone, without those refused."""
    puts = [
        PutOp(from_text(row.namespace), row.key, row.value, fields_of(row.value, row.fields))
        for row in rows
    ]
    texts = [index.texts(put) for put in puts]
    try:
        vectors = await index.embed([text for found in texts for text in found.values()])
    except EmbeddingFailed as error:
        if is_passing(error):
            raise
        if len(rows) > 1:
            return [item for row in rows for item in await _embed(index, [row])]
        log.warning("Item %d cannot be embedded, and waits: %s", rows[0].id, error)
        return []
    return [
        _Indexed(row, index.document(put, found), {name: vectors[t] for name, t in found.items()})
        for row, put, found in zip(rows, puts, texts, strict=True)
    ]


def _columns(items: Sequence[_Indexed], index: Index, model: Model) -> dict[str, Any]:
    """Return items as parameters of a statement: one list for each column."""
    found = [(item.row.id, name, vector) for item in items for name, vector in item.vectors.items()]
    return {
        "ids": [item.row.id for item in items],
        "versions": [item.row.version for item in items],
        "labels": [item.document and item.document[0] for item in items],
        "texts": [item.document and item.document[1] for item in items],
        "configuration": index.configuration,
        "model": model.id,
        "vector_ids": [id_ for id_, _, _ in found],
        "fields": [name for _, name, _ in found],
        "embeddings": model.encode([vector for _, _, vector in found]) if found else [],
    }
