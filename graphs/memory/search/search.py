"""Search in a scope: by vector, by filter, or both."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from langgraph.store.base import SearchOp

from graphs.memory.contract import check_types
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.database.statements import Statement
from graphs.memory.database.vectors import Model, Vector
from graphs.memory.errors import InvalidInput
from graphs.memory.search.filters import check_filter, split_filter
from graphs.memory.search.recalled import Found, search_item
from graphs.memory.values.namespaces import bounds, check_address, user_scope
from graphs.memory.values.text import problem_with

_SQL = statements.load("search", __package__)


def check_search(op: SearchOp) -> None:
    """Check a search.

    Raises:
        InvalidInput: a negative limit or offset.
        InvalidFilter: the filter cannot be carried out; `operator` names the offending part.
    """
    for name, number in (("limit", op.limit), ("offset", op.offset)):
        if not isinstance(number, int) or number < 0:
            raise InvalidInput(f"{name} must be a number, and not negative; got {number!r}.")
    check_address(op.namespace_prefix, "")
    if op.query and (problem := problem_with(op.query)):
        raise InvalidInput(f"query {problem}")
    if op.filter:
        check_filter(op.filter)


def looked_at(op: SearchOp) -> int:
    """Return the number of fitting vectors to read from the index.

    Twice the wanted items, since an item may have several vectors; and at least 30, since a scan
    meets some near vectors late. Each costs the steps until the next one that fits.
    """
    return min(max(30, 2 * (op.limit + op.offset)), 2**30)


def search(
    op: SearchOp, query_vector: Vector | None, model: Model | None, *, wide: bool | None = None
) -> Query[Found]:
    """Return the query for the items of an op, best first; without a vector, the latest first.

    Args:
        op: the search; checked by `check_search`.
        query_vector: the embedded query, None without a query or an index.
        model: the embedding model of the vector.
        wide: True to use the vector index, False to scan the scope; None lets the database choose.
    """
    low, high = bounds(op.namespace_prefix)
    scope = {
        "low": low,
        "high": high,
        "limit": op.limit,
        "offset": op.offset,
        **split_filter(op.filter),
    }

    def read(rows: Rows) -> Found:
        found = [row for row in rows if row.key is not None]
        stale = [(row.namespace, row.key) for row in found if row.stale] if op.refresh_ttl else []
        is_wide = rows[0].wide if query_vector is not None else None
        return Found([search_item(row, row.score) for row in found], stale, is_wide)

    if query_vector is None or model is None:
        return Query(_SQL["browse"], scope, read)
    statement = _for_model("nearest_filtered" if op.filter else "nearest", model)
    return Query(
        statement, scope | {"query": query_vector, "wide": wide, "looked_at": looked_at(op)}, read
    )


@lru_cache(64)
def _for_model(name: str, model: Model) -> Statement:
    return _SQL[name].with_constants(model=model.id, dimensions=model.dimensions)


def recall_op(
    user_id: str,
    query: str | None,
    tags: Sequence[str],
    agent: str | None,
    limit: int,
    types: Sequence[str] | None = None,
) -> SearchOp:
    """Return the search of a user's memories, without turns and superseded beliefs.

    It is narrowed to memories with all `tags`, of `agent`, and of `types`, which may include turns.

    Raises:
        InvalidInput: a negative limit, an impossible tag, or an unknown type.
    """
    conditions: list[dict[str, Any]] = [
        {"superseded": {"$ne": True}},
        *({"tags": {"$contains": tag}} for tag in tags),
    ]
    if types is None:
        conditions.append({"type": {"$ne": "turn"}})
    else:
        wanted = check_types(types)
        conditions.append({"type": {"$in": wanted} if len(wanted) != 1 else wanted[0]})
    if agent:
        conditions.append({"agent": agent})
    op = SearchOp(user_scope(user_id), filter={"$and": conditions}, limit=limit, query=query)
    check_search(op)
    return op
