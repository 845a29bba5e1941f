"""Get, put, delete and list: what the store does by address."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from langgraph.store.base import GetOp, InvalidNamespaceError, Item, ListNamespacesOp, PutOp

from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.database.vectors import Model, Vector
from graphs.memory.errors import InvalidInput, InvalidValue
from graphs.memory.values.namespaces import (
    MAX_KEY_BYTES,
    Namespace,
    bounds,
    check_address,
    to_text,
)
from graphs.memory.values.text import to_json

_SQL = statements.load("items", __package__)

StoredAddress = tuple[str, str]
"""A namespace as it is stored, and a key."""

MAX_TTL_MINUTES = 1000 * 366 * 24 * 60
"""Longest life that can be asked for; without a TTL an item lives until it is deleted."""


class ExpectingPutOp(NamedTuple):
    """A put that succeeds only if the item is still at the version that was read: compare and set.

    Beside LangGraph's operations in `abatch`; `MemoryManager.aput(…, expected=…)` makes one.
    """

    put: PutOp
    expected: datetime | None
    """`updated_at` of the item that was read; None if there must be none yet."""


@dataclass(frozen=True, slots=True)
class ItemWrite:
    """A checked, serialised and embedded put, ready to be stored; `value` None deletes.

    `vectors` maps fields to vectors. `document` is a label and a text, for full-text search.
    """

    namespace: Namespace
    key: str
    value: str | None
    ttl_minutes: float | None = None
    vectors: dict[str, Vector] = field(default_factory=dict)
    document: tuple[str, str] | None = None
    expecting: bool = False
    expected: datetime | None = None
    """The version at which the item must be, if `expecting`; None if it must not exist."""


def check_put(op: PutOp) -> str | None:
    """Return an op's value as JSON text, or None for a deletion.

    Raises:
        InvalidValue: the address or the value cannot be stored.
    """
    if not op.namespace:
        raise InvalidNamespaceError("Namespace cannot be empty.")
    check_address(op.namespace, op.key)
    if op.value is None:
        return None
    if op.ttl is not None and not (
        isinstance(op.ttl, (int, float)) and 0 < op.ttl <= MAX_TTL_MINUTES
    ):
        raise InvalidValue(
            "ttl",
            f"must be a positive number of minutes, at most a thousand years; got {op.ttl!r}.",
        )
    if not isinstance(op.value, Mapping):
        raise InvalidValue(
            "value", f"must be a mapping with string keys; got {type(op.value).__name__}."
        )
    return to_json(op.value, "value")


def check_get(op: GetOp) -> None:
    """Check the address of a get.

    Raises:
        InvalidValue: the key is no text, or not one that Postgres can store.
    """
    check_address(op.namespace, op.key)


def get(ops: Sequence[GetOp]) -> Query[tuple[list[Item | None], list[StoredAddress]]]:
    """Return the query for the items of some ops.

    Returns:
        The item of each op, None if it is missing or expired; and the addresses whose TTL must
        be refreshed.
    """

    def read(rows: Rows) -> tuple[list[Item | None], list[StoredAddress]]:
        found: list[Item | None] = [None] * len(ops)
        stale = []
        for n, value, created_at, updated_at, is_stale in rows:
            op = ops[n - 1]
            found[n - 1] = Item(
                value=value,
                key=op.key,
                namespace=op.namespace,
                created_at=created_at,
                updated_at=updated_at,
            )
            if is_stale and op.refresh_ttl:
                stale.append((to_text(op.namespace), op.key))
        return found, stale

    return Query(_SQL["get"], _addresses([(to_text(op.namespace), op.key) for op in ops]), read)


def refresh_ttl(addresses: Iterable[StoredAddress]) -> Query[None]:
    """Return the query that restarts the TTL of items."""
    return Query(_SQL["refresh_ttl"], _addresses(sorted(set(addresses))))


def put(writes: Iterable[ItemWrite], model: Model | None, configuration: str) -> list[Query[None]]:
    """Return the queries that store or delete items; of two writes to an address, the last counts.

    Args:
        writes: the writes; vectors belong to `model`.
        model: the embedding model, None for a store without an index.
        configuration: Postgres' text-search configuration for the documents, such as `english`.
    """
    last: dict[StoredAddress, ItemWrite] = {}
    for write in writes:
        address = (to_text(write.namespace), write.key)
        before = last.pop(address, None)
        expects = (
            before is not None and before.expecting
        )  # the address must be at the version that the first one expected
        last[address] = (
            replace(write, expecting=True, expected=before.expected)
            if expects and before
            else write
        )
    gone = [address for address, w in last.items() if w.value is None]
    stored = [(address, w) for address, w in last.items() if w.value is not None]
    queries: list[Query[None]] = []
    expecting = sorted(
        ((a, w.expected) for a, w in last.items() if w.expecting), key=lambda pair: pair[0]
    )
    if expecting:
        versions = [expected and expected.isoformat() for _, expected in expecting]
        queries.append(
            Query(_SQL["expect"], _addresses([a for a, _ in expecting]) | {"versions": versions})
        )
    if gone and stored:
        queries.append(Query(_SQL["lock"], _addresses([*last])))
    if gone:
        queries.append(Query(_SQL["delete"], _addresses(gone)))
    if len(stored) == 1:
        queries += _put_one(*stored[0], model, configuration)
    elif stored:
        queries += _put_many(stored, model, configuration)
    if new := [
        address
        for address, expected in expecting
        if expected is None and last[address].value is not None
    ]:
        queries.append(Query(_SQL["expect_created"], _addresses(new)))
    return queries


def _put_one(
    address: StoredAddress, write: ItemWrite, model: Model | None, configuration: str
) -> list[Query[None]]:
    namespace, key = address
    label, text = write.document or (None, None)
    given = {"namespace": namespace, "key": key}
    item = {"value": write.value, "label": label, "text": text, "ttl": write.ttl_minutes}
    vectors = {
        "model": model and model.id,
        "fields": list(write.vectors),
        "embeddings": model.encode([*write.vectors.values()]) if model and write.vectors else [],
    }
    return [
        Query(_SQL["put_item"], given | item | {"configuration": configuration}),
        Query(_SQL["put_item_vectors"], given | vectors),
    ]


def _put_many(
    stored: Sequence[tuple[StoredAddress, ItemWrite]], model: Model | None, configuration: str
) -> list[Query[None]]:
    addresses = _addresses([address for address, _ in stored])
    values = {
        "values": [w.value for _, w in stored],
        "labels": [w.document and w.document[0] for _, w in stored],
        "texts": [w.document and w.document[1] for _, w in stored],
        "ttls": [w.ttl_minutes for _, w in stored],
        "configuration": configuration,
    }
    found = [(address, name, vector) for address, w in stored for name, vector in w.vectors.items()]
    where = _addresses([address for address, _, _ in found])
    vectors = {
        "model": model and model.id,
        "vector_namespaces": where["namespaces"],
        "vector_keys": where["keys"],
        "fields": [name for _, name, _ in found],
        "embeddings": model.encode([vector for _, _, vector in found]) if model and found else [],
    }
    return [Query(_SQL["put"], addresses | values), Query(_SQL["put_vectors"], addresses | vectors)]


def wait_for_vectors(writes: Iterable[ItemWrite]) -> Query[None]:
    """Return the query that marks stored items for the job that indexes them."""
    return Query(
        _SQL["wait_for_vectors"],
        _addresses([(to_text(write.namespace), write.key) for write in writes]),
    )


def _addresses(addresses: Sequence[StoredAddress]) -> dict[str, Any]:
    return {
        "namespaces": [namespace for namespace, _ in addresses],
        "keys": [key for _, key in addresses],
    }


def check_list(op: ListNamespacesOp) -> None:
    """Check an op.

    Raises:
        InvalidInput: a negative limit, offset or depth, or an unknown kind of condition.
    """
    for name, number in (
        ("limit", op.limit),
        ("offset", op.offset),
        ("max_depth", op.max_depth or 0),
    ):
        if not isinstance(number, int) or number < 0:
            raise InvalidInput(f"{name} must be a number, and not negative; got {number!r}.")
    for condition in op.match_conditions or ():
        if condition.match_type not in ("prefix", "suffix"):
            raise InvalidInput(
                f"match_type must be prefix or suffix; got {condition.match_type!r}."
            )


def list_namespaces(op: ListNamespacesOp) -> Query[list[Namespace]]:
    """Return the query for the namespaces of an op, in stored order."""
    conditions = op.match_conditions or ()
    prefixes = [c.path for c in conditions if c.match_type == "prefix"]
    literal = max((_literal_part(path) for path in prefixes), key=len, default=())
    low, high = bounds(literal)
    depth = MAX_KEY_BYTES if op.max_depth is None else op.max_depth
    given = {"low": low, "high": high, "max_depth": depth, "limit": op.limit, "offset": op.offset}

    def read(rows: Rows) -> list[Namespace]:
        return [tuple(row.path) for row in rows]

    if op.max_depth != 0 and all(
        c.match_type == "prefix" and c.path == literal[: len(c.path)] for c in conditions
    ):
        return Query(_SQL["list_namespaces"], given, read)  # the range is the whole condition
    told = json.dumps([{"match_type": c.match_type, "path": list(c.path)} for c in conditions])
    return Query(_SQL["match_namespaces"], given | {"conditions": told}, read)


def _literal_part(path: Namespace) -> Namespace:
    """Return the labels before the first wildcard, which bound the range to read."""
    return path[: path.index("*")] if "*" in path else path


def sweep(limit: int = 1000) -> Query[int]:
    """Return the query that deletes up to `limit` expired items, and counts them."""
    return Query(_SQL["sweep"], {"limit": limit}, lambda rows: int(rows[0].swept))


def ping() -> Query[None]:
    """Return the cheapest query that needs the schema."""
    return Query(_SQL["ping"])
