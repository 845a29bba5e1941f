"""Get, put, delete and list: what the store does by address."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph.store.base import GetOp, InvalidNamespaceError, Item, ListNamespacesOp, PutOp
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from graphs.memory import sql
from graphs.memory.errors import InvalidInput, InvalidValue
from graphs.memory.namespaces import Namespace, bounds, check_address, from_text, to_text
from graphs.memory.text import to_json

_SQL = sql.load("items")

Connection = AsyncConnection[DictRow]

MAX_TTL_MINUTES = 1000 * 366 * 24 * 60
"""Longest life that can be asked for; without a TTL an item lives until it is deleted."""


@dataclass(frozen=True, slots=True)
class Write:
    """A put that was checked, serialised and embedded, ready to be stored; `value` None deletes.

    `vectors` maps field to vector in pgvector's notation.
    """

    namespace: Namespace
    key: str
    value: str | None
    ttl_minutes: float | None = None
    vectors: dict[str, str] = field(default_factory=dict)


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
    if op.ttl is not None and not (isinstance(op.ttl, (int, float)) and 0 < op.ttl <= MAX_TTL_MINUTES):
        raise InvalidValue("ttl", f"must be a positive number of minutes, at most a thousand years; got {op.ttl!r}.")
    if not isinstance(op.value, Mapping):
        raise InvalidValue("value", f"must be a mapping with string keys; got {type(op.value).__name__}.")
    return to_json(op.value, "value")


def check_get(op: GetOp) -> None:
    """Refuse an address that no item can have.

    Raises:
        InvalidValue: the key is no text, or not one that Postgres can store.
    """
    check_address(op.namespace, op.key)


async def get(conn: Connection, ops: Sequence[GetOp]) -> list[Item | None]:
    """Return the item of each op, None where there is none or it has expired."""
    cursor = await conn.execute(
        _SQL["get"],
        {
            "namespaces": [to_text(op.namespace) for op in ops],
            "keys": [op.key for op in ops],
            "refresh": [op.refresh_ttl for op in ops],
        },
    )
    found: list[Item | None] = [None] * len(ops)
    for row in await cursor.fetchall():
        found[row["n"] - 1] = Item(
            namespace=from_text(row["namespace"]),
            key=row["key"],
            value=row["value"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )
    return found


async def put(conn: Connection, writes: Iterable[Write], model: int | None) -> None:
    """Store or delete items and their vectors. Of two writes to one address the last one counts.

    Args:
        conn: a connection inside a transaction.
        writes: what to store; vectors belong to `model`.
        model: id of the embedding model, None for a store without an index.
    """
    last: dict[tuple[str, str], Write] = {}
    for write in writes:
        address = (to_text(write.namespace), write.key)
        last.pop(address, None)
        last[address] = write
    ordered = list(last.items())
    stored = [(address, w) for address, w in ordered if w.value is not None]
    if gone := [address for address, w in ordered if w.value is None]:
        await conn.execute(_SQL["delete"], _addresses(gone))
    if not stored:
        return
    addresses = _addresses([address for address, _ in stored])
    ttls = [None if w.ttl_minutes is None else float(w.ttl_minutes) for _, w in stored]
    await conn.execute(_SQL["put"], addresses | {"values": [w.value for _, w in stored], "ttls": ttls})
    if model is None:
        return
    await conn.execute(_SQL["forget_vectors"], addresses)
    vectors = [(address, name, v) for address, w in stored for name, v in w.vectors.items()]
    if vectors:
        await conn.execute(
            _SQL["put_vectors"],
            _addresses([address for address, _, _ in vectors])
            | {"model": model, "fields": [name for _, name, _ in vectors]}
            | {"embeddings": [vector for _, _, vector in vectors]},
        )


def _addresses(addresses: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {"namespaces": [namespace for namespace, _ in addresses], "keys": [key for _, key in addresses]}


def check_list(op: ListNamespacesOp) -> None:
    """Refuse an op that cannot be answered.

    Raises:
        InvalidInput: a negative limit, offset or depth, or an unknown kind of condition.
    """
    for name, number in (("limit", op.limit), ("offset", op.offset), ("max_depth", op.max_depth or 0)):
        if not isinstance(number, int) or number < 0:
            raise InvalidInput(f"{name} must be a number, and not negative; got {number!r}.")
    for condition in op.match_conditions or ():
        if condition.match_type not in ("prefix", "suffix"):
            raise InvalidInput(f"match_type must be prefix or suffix; got {condition.match_type!r}.")


async def list_namespaces(conn: Connection, op: ListNamespacesOp) -> list[Namespace]:
    """Return the namespaces that fit an op, in the order of their labels."""
    conditions = op.match_conditions or ()
    prefixes = [c.path for c in conditions if c.match_type == "prefix"]
    literal = max((_literal_part(path) for path in prefixes), key=len, default=())
    low, high = bounds(literal)
    cursor = await conn.execute(
        _SQL["list_namespaces"],
        {
            "low": low,
            "high": high,
            "conditions": json.dumps([{"match_type": c.match_type, "path": list(c.path)} for c in conditions]),
            "max_depth": op.max_depth,
            "limit": op.limit,
            "offset": op.offset,
        },
    )
    return [tuple(row["path"]) for row in await cursor.fetchall()]


def _literal_part(path: Namespace) -> Namespace:
    """The labels before the first wildcard: they bound the range that is read."""
    return path[: path.index("*")] if "*" in path else path


async def sweep(conn: Connection, limit: int = 1000) -> int:
    """Delete up to `limit` expired items and return how many."""
    row = await (await conn.execute(_SQL["sweep"], {"limit": limit})).fetchone()
    return int(row["swept"]) if row else 0


async def ping(conn: Connection) -> None:
    """Ask the least that the schema can answer."""
    await (await conn.execute(_SQL["ping"])).fetchone()
