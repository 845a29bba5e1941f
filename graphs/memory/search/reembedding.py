"""Another embedding model for stored items: filled in beside the one in use, then switched to."""

from typing import Any, cast

from langgraph.store.base import get_text_at_path, tokenize_path

from graphs.memory.database import building, statements
from graphs.memory.database.database import Database
from graphs.memory.database.driver_errors import driver_errors
from graphs.memory.database.query import Query, Rows
from graphs.memory.database.transaction import Transaction
from graphs.memory.database.vectors import Model
from graphs.memory.principal import Principal
from graphs.memory.search.embeddings import Index, create_vector_index
from graphs.memory.values.progress import Progress

_SQL = statements.load("reembedding", __package__)
_RETIRE_MODEL = statements.load("setup", "graphs.memory.database")["retire_model"]
_INDEX_VECTORS = statements.load("indexing", __package__)["index_vectors"]

_PORTION = 100
"""Items that are embedded together."""

_MARKED = 1000
"""Vectors that are marked together for an index that is not there yet."""


async def reembed(database: Database, index: Index, progress: Progress | None = None) -> int:
    """Embed stored items with the index's model, switch to it, and return the number of vectors.

    Searches and writes use the old model meanwhile; vectors of the two are never compared. After an
    interruption, the next call continues. The old vectors stay, so that you can switch back.
    """
    service = Principal.service()
    model = await _registered(database, index)
    await _index_first(database, model)
    done = 0
    while True:
        [missing] = await database.run(service, [_count(model)])
        if missing == 0:
            await _index_last(database, model)
            if await database.transaction(service, lambda transaction: _switch(transaction, model)):
                return done
        done += await _fill_in(database, index, model, progress or _untold, done, done + missing)


async def _registered(database: Database, index: Index) -> Model:
    """Register the index's model beside the one in use, and return it."""
    named = {"name": index.name, "dimensions": index.dimensions}
    registered: Query[Model] = Query(_SQL["registered_model"], named, lambda rows: Model(*rows[0]))
    _, model = await database.run(
        Principal.service(), [Query(_SQL["register_model"], named), registered]
    )
    return cast("Model", model)


async def _index_first(database: Database, model: Model) -> None:
    """Create the empty index first, if its kind can start empty."""
    if (await _index_of(database, model)).lists is None:
        await database.run(Principal.owner(), [create_vector_index(model)])


async def _index_last(database: Database, model: Model) -> None:
    """Build the index whose lists need all vectors, before searches use them."""
    how = await _index_of(database, model)
    if how.lists is None or how.whole:
        return
    portion: Query[int] = Query(
        _INDEX_VECTORS, {"model": model.id, "limit": _MARKED}, lambda rows: int(rows[0].indexed)
    )
    while (await database.run(Principal.service(), [portion]))[0]:
        pass
    name = f"embeddings_vectors_{model.id}"
    async with database.pool.connection() as conn:
        with driver_errors():
            await conn.execute(building.drop(name), prepare=False)  # one whose making was cut off
            statement = building.build(
                name, model.id, model.dimensions, how.extension, lists=how.lists
            )
            await conn.execute(statement, prepare=False)


async def _index_of(database: Database, model: Model) -> Any:
    asked: Query[Any] = Query(_SQL["index_of"], {"model": model.id}, lambda rows: rows[0])
    return (await database.run(Principal.owner(), [asked]))[0]


def _count(model: Model) -> Query[int]:
    return Query(_SQL["count_missing"], {"model": model.id}, lambda rows: int(rows[0].missing))


async def _switch(transaction: Transaction, model: Model) -> bool:
    """Use the model, unless something was written since it was complete."""
    _, missing = await transaction.run([Query(_SQL["lock_models"]), _count(model)])
    if missing == 0:
        await transaction.run([Query(_RETIRE_MODEL), Query(_SQL["use_model"], {"model": model.id})])
    return bool(missing == 0)


async def _fill_in(
    database: Database, index: Index, model: Model, progress: Progress, done: int, of: int
) -> int:
    """Go through all items once, and return how many vectors were made."""
    after = {"namespace": "", "key": ""}
    made = 0
    while True:
        lacking: Query[Rows] = Query(
            _SQL["missing"], {"model": model.id, **after, "limit": _PORTION}, lambda rows: rows
        )
        [rows] = await database.run(Principal.service(), [lacking])
        if not rows:
            return made
        after = {"namespace": rows[-1].namespace, "key": rows[-1].key}
        texts = [(row, field, text_of(row.value, field)) for row in rows for field in row.fields]
        vectors = await index.embed([text for _, _, text in texts])
        given = {
            "namespaces": [row.namespace for row, _, _ in texts],
            "keys": [row.key for row, _, _ in texts],
            "versions": [row.version for row, _, _ in texts],
            "fields": [field for _, field, _ in texts],
            "embeddings": model.encode([vectors[text] for _, _, text in texts]),
            "model": model.id,
        }
        await database.run(Principal.service(), [Query(_SQL["fill_in"], given)])
        made += len(texts)
        progress(done + made, max(of, done + made))


def text_of(value: dict[str, Any], field: str) -> str:
    """Return the text of a vector's field: a path, or the n-th element at a path."""
    texts = _texts_at(value, field)
    path, _, n = field.rpartition(".")
    if len(texts) != 1 and n.isdigit():
        texts = _texts_at(value, path)[int(n) :]
    return texts[0] if texts else ""


def _texts_at(value: dict[str, Any], path: str) -> list[str]:
    return get_text_at_path(value, path if path == "$" else tokenize_path(path))


def _untold(done: int, of: int | None) -> None:
    """Nobody wants to know."""
