"""Search in a scope: by vector, by filter, or both."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from langgraph.store.base import SearchOp

from graphs.memory.contract import check_types
from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.database.statements import Statement
from graphs.memory.database.vectors import Model, Vector
from graphs.memory.errors import InvalidFilter, InvalidInput, InvalidValue
from graphs.memory.search.recalled import Found, search_item
from graphs.memory.values.namespaces import bounds, check_address, user_scope
from graphs.memory.values.text import problem_with, to_json

_SQL = statements.load("search", __package__)

_FIELD_OPERATORS = frozenset(
    {"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains", "$not"}
)
_LIST_OPERANDS = frozenset({"$in", "$nin"})


def check_search(op: SearchOp) -> None:
    """Check a search.

    Raises:
        InvalidInput: a negative limit or offset.
        InvalidFilter: an unknown operator or a malformed operand; `operator` names it.
    """
    for name, number in (("limit", op.limit), ("offset", op.offset)):
        if not isinstance(number, int) or number < 0:
            raise InvalidInput(f"{name} must be a number, and not negative; got {number!r}.")
    check_address(op.namespace_prefix, "")
    if op.query and (problem := problem_with(op.query)):
        raise InvalidInput(f"query {problem}")
    if op.filter:
        _check_storable(op.filter)
        _check_filter(op.filter)


def _check_storable(condition: Mapping[str, Any]) -> None:
    """Refuse conditions that no stored value can equal, and those nested too deep."""
    try:
        to_json(condition, "filter")
    except InvalidValue as error:
        raise InvalidFilter(error.path, error.problem) from error


def _check_filter(condition: Any) -> None:
    if not isinstance(condition, Mapping):
        raise InvalidFilter(
            "filter", f"must be a mapping of fields to conditions; got {type(condition).__name__}."
        )
    for name, operand in condition.items():
        if name in ("$and", "$or"):
            _check_list(name, operand)
            for part in operand:
                _check_filter(part)
        elif name == "$not":
            _check_filter(operand)
        elif not isinstance(name, str) or (name.startswith("$") and not _has_operators(operand)):
            raise InvalidFilter(
                str(name),
                "is not an operator; at this place use a field's name, $and, $or or $not. A field "
                'whose name begins with $ is compared by an operator, as in {"$eq": …}.',
            )
        else:
            _check_condition(operand)


def _check_condition(condition: Any) -> None:
    if isinstance(condition, (list, tuple)):
        for part in condition:
            _check_condition(part)
    elif isinstance(condition, Mapping):
        if not _has_operators(condition):
            _check_filter(condition)
            return
        for name, operand in condition.items():
            if name not in _FIELD_OPERATORS:
                raise InvalidFilter(
                    str(name),
                    f"is not supported; use one of {', '.join(sorted(_FIELD_OPERATORS))}.",
                )
            if name in _LIST_OPERANDS:
                _check_list(name, operand)
            elif name == "$exists" and not isinstance(operand, bool):
                raise InvalidFilter(name, f"needs true or false; got {operand!r}.")
            elif name == "$not":
                _check_condition(operand)


def _has_operators(condition: Any) -> bool:
    return isinstance(condition, Mapping) and any(str(name).startswith("$") for name in condition)


def _check_list(name: str, operand: Any) -> None:
    if not isinstance(operand, (list, tuple)):
        raise InvalidFilter(name, f"needs a list; got {type(operand).__name__}.")


def split_filter(condition: Mapping[str, Any] | None) -> dict[str, Any]:
    """Split a filter into exact and fast jsonb containment, and the rest.

    Returns:
        Parameters: `contains`, JSON that a value must contain; `lacks`, JSON texts of which it must
        contain none; `filter`, JSON of the other conditions, or None.
    """
    contains: dict[str, Any] = {}
    lacks: list[str] = []
    rest: list[Mapping[str, Any]] = []
    for name, expected in _conditions(condition or {}):
        match expected:
            case str() | int() | float() if not name.startswith("$") and name not in contains:
                contains[name] = expected
            case {"$ne": str() | int() | float() as other, **more} if (
                not name.startswith("$") and not more
            ):
                lacks.append(to_json({name: other}, "filter"))
            case _:
                rest.append({name: expected})
    found = {"contains": to_json(contains, "filter"), "lacks": lacks}
    return found | {"filter": to_json({"$and": rest}, "filter") if rest else None}


def _conditions(condition: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the conditions of a filter that must all hold."""
    for name, expected in condition.items():
        if name == "$and":
            for part in expected:
                yield from _conditions(part)
        else:
            yield name, expected


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
