"""Batches: the calls of `abatch` as shared queries, and the results of each call."""

import logging
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, cast

from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchOp,
    validate_op_namespace,
)

from graphs.memory.database.coalescing import TryAlone
from graphs.memory.database.database import Database, PrincipalQueries
from graphs.memory.database.rounds import Reading, asking, read, side_by_side
from graphs.memory.database.vectors import Vector
from graphs.memory.errors import GraphMemoryError, InvalidInput
from graphs.memory.principal import Principal
from graphs.memory.search import search
from graphs.memory.search.embeddings import Index
from graphs.memory.search.filters import conditions_of
from graphs.memory.search.recalled import Found
from graphs.memory.search.searching import Searching, find
from graphs.memory.store import items
from graphs.memory.store.items import ExpectingPutOp, ItemWrite, StoredAddress
from graphs.memory.values.namespaces import Namespace, to_text

log = logging.getLogger(__name__)

_FEW_OPERATIONS = 100
_FEW_CONDITIONS = 16


@dataclass(slots=True)
class Call:
    """One call of `abatch`: its operations, what they write, and the vectors of its queries."""

    operations: Sequence[Op | ExpectingPutOp]
    writes: Sequence[ItemWrite] = ()
    vectors: dict[str, Vector] = field(default_factory=dict)
    unembedded: bool = False
    """True if the model was unavailable: what it writes waits for its vectors."""
    looks_through: bool = field(init=False)
    """Whether it looks through scopes, and does not only get and put items."""
    is_heavy: bool = field(init=False)
    """Whether it is so much work that it is not to share a group with calls of others."""

    def __post_init__(self) -> None:
        searches = [op for op in self.operations if isinstance(op, SearchOp)]
        self.looks_through = bool(searches) or any(
            isinstance(op, ListNamespacesOp) for op in self.operations
        )
        self.is_heavy = len(self.operations) > _FEW_OPERATIONS or any(
            conditions_of(op.filter) > _FEW_CONDITIONS for op in searches if op.filter
        )

    def deletes(self) -> bool:
        """Return whether it deletes. Deletes and puts lock in different orders: never mix them."""
        return any(write.value is None for write in self.writes)


def check(op: Op | ExpectingPutOp) -> str | None:
    """Check an operation and return the JSON of what it puts, if it puts something.

    Raises:
        InvalidInput: it cannot be carried out.
    """
    if not isinstance(op, ExpectingPutOp):
        validate_op_namespace(op)
    match op:
        case PutOp():
            return items.check_put(op)
        case ExpectingPutOp():
            return check(op.put)
        case SearchOp():
            search.check_search(op)
        case ListNamespacesOp():
            items.check_list(op)
        case GetOp():
            items.check_get(op)
        case _:
            raise InvalidInput(f"Unknown operation: {type(op).__name__}.")
    return None


def embeds(op: Op | ExpectingPutOp) -> bool:
    """Return whether an operation may need the embedding model."""
    return isinstance(op, (PutOp, ExpectingPutOp)) or (isinstance(op, SearchOp) and bool(op.query))


_NAMES: dict[type, str] = {GetOp: "get", SearchOp: "search", ListNamespacesOp: "list_namespaces"}


def name_of(operations: Sequence[Op | ExpectingPutOp]) -> str:
    """Return a call's name in metrics: get, put, delete, search, list_namespaces or batch."""
    names = {_NAMES.get(type(op)) or _name_of_put(op) for op in operations}
    return names.pop() if len(names) == 1 else "batch"


def _name_of_put(op: Any) -> str:
    put = op.put if isinstance(op, ExpectingPutOp) else op
    return "delete" if getattr(put, "value", None) is None else "put"


def _with_tuple(op: Op | ExpectingPutOp) -> Op | ExpectingPutOp:
    """Return the operation with its namespace as a tuple. Callers also give lists.

    Raises:
        InvalidNamespaceError: it is one text.
    """
    match op:
        case ExpectingPutOp():
            return op._replace(put=cast("PutOp", _with_tuple(op.put)))
        case SearchOp(namespace_prefix=given) if not isinstance(given, tuple):
            return op._replace(namespace_prefix=_labels(given))
        case GetOp() | PutOp() if not isinstance(op.namespace, tuple):
            return op._replace(namespace=_labels(op.namespace))
    return op


def _labels(given: Any) -> Namespace:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidNamespaceError(f"A namespace is a tuple of labels; got {given!r}.")
    return tuple(given)


async def prepare(
    operations: Sequence[Op | ExpectingPutOp], index: Index | None, caller: Hashable = None
) -> Call:
    """Check operations and embed their texts; the writes of one caller keep their order.

    Raises:
        InvalidInput: one of them cannot be carried out.
        EmbeddingFailed: the embedding model did not answer.
    """
    operations = [_with_tuple(op) for op in operations]
    checked = [(op, check(op)) for op in operations]
    puts = [(op, value) for op, value in checked if isinstance(op, (PutOp, ExpectingPutOp))]
    plain = [op.put if isinstance(op, ExpectingPutOp) else op for op, _ in puts]
    texts = [index.texts(op) if index else {} for op in plain]
    vectors: dict[str, Vector] = {}
    asked: dict[str, Vector] = {}
    if index:
        queries = [
            op.query
            for op in operations
            if isinstance(op, SearchOp) and op.query and op.query.strip()
        ]
        asked = await index.embed_queries(queries)
        if puts:
            vectors = await index.embed(
                [text for found in texts for text in found.values()], caller
            )
    writes = [
        ItemWrite(
            op.namespace,
            op.key,
            value,
            op.ttl,
            {name: vectors[text] for name, text in found.items()},
            index.document(op, found) if index else None,
            isinstance(given, ExpectingPutOp),
            given.expected if isinstance(given, ExpectingPutOp) else None,
        )
        for op, (given, value), found in zip(plain, puts, texts, strict=True)
    ]
    return Call(operations, writes, asked)


class Caller(NamedTuple):
    """Principal, provenance and kinds of operations of a call: equal callers share a batch."""

    principal: Principal
    provenance: tuple[tuple[str, str], ...]
    kinds: frozenset[type]
    moment: datetime | None = None
    """The moment as of which it reads; None for the present."""


class _Batch:
    """The calls of one caller: what they read, and what they write."""

    def __init__(self, caller: Caller, calls: Sequence[Call]) -> None:
        self.caller = caller
        self._calls = calls
        self._writes = [write for call in calls for write in call.writes]

    def read(self, how: Searching) -> Reading[tuple[list[list[Result]], list[StoredAddress]]]:
        """Return the results of each call, and the items whose TTL is to be refreshed.

        All gets are one query; every read comes before the writes.
        """
        results: list[list[Result]] = [[None] * len(call.operations) for call in self._calls]
        stale: list[StoredAddress] = []
        gets: dict[tuple[int, int], GetOp] = {}
        others: dict[tuple[int, int], Reading[Any]] = {}
        for c, call in enumerate(self._calls):
            for n, op in enumerate(call.operations):
                match op:
                    case GetOp():
                        gets[c, n] = op
                    case SearchOp():
                        vector = call.vectors.get(op.query or "")
                        searching = how if self.caller.moment is None else how.of_past()
                        others[c, n] = find(op, vector, searching, self.caller.principal)
                    case ListNamespacesOp():
                        others[c, n] = asking(items.list_namespaces(op))
        got = [asking(items.get([*gets.values()]))] if gets else []
        answers = yield from side_by_side([*others.values(), *got])
        if gets:
            found, stale = answers.pop()
            for (c, n), item in zip(gets, found, strict=True):
                results[c][n] = item
        for (c, n), answer in zip(others, answers, strict=True):
            results[c][n] = answer.items if isinstance(answer, Found) else answer
            stale += answer.stale if isinstance(answer, Found) else ()
        return results, stale

    def write(self, how: Searching) -> PrincipalQueries:
        """Return the queries that store what the calls write, all or nothing."""
        queries = items.put(self._writes, how.model, how.configuration)
        return PrincipalQueries(self.caller.principal, queries, dict(self.caller.provenance))

    def first_address(self) -> StoredAddress:
        """Return the first address that it writes: one lock order prevents deadlocks."""
        return min(
            ((to_text(write.namespace), write.key) for write in self._writes), default=("", "")
        )


def reads_of(call: Call, results: Sequence[Result]) -> Iterator[tuple[Namespace, str, int]]:
    """Yield the reads of a call: scope, kind, and number of items."""
    for op, result in zip(call.operations, results, strict=True):
        match op:
            case GetOp():
                yield op.namespace, "gets", int(result is not None)
            case SearchOp():
                yield op.namespace_prefix, "searches", len(cast("list[Any]", result))
            case ListNamespacesOp():
                prefix = (
                    c.path
                    for c in op.match_conditions or ()
                    if c.match_type == "prefix" and "*" not in c.path
                )
                yield tuple(next(prefix, ())), "lists", len(cast("list[Any]", result))


async def carry_out(
    database: Database, calls: Sequence[tuple[Caller, Call]], how: Searching
) -> list[list[Result]]:
    """Return the results of calls, which share round trips and, if they write, a transaction.

    Raises:
        TryAlone: they have to be carried out one by one.
        GraphMemoryError: nothing was written.
    """
    if len(calls) > 1 and any(write.expecting for _, call in calls for write in call.writes):
        raise TryAlone  # of two that expect the same version, one has to see the other
    batches = [
        _Batch(caller, [call for _, call in its_calls])
        for caller, its_calls in groupby(calls, key=itemgetter(0))
    ]
    readings = [(batch.caller.principal, batch.read(how)) for batch in batches]
    answers = await read(database, readings, [batch.caller.moment for batch in batches])
    writes = [batch.write(how) for batch in sorted(batches, key=_Batch.first_address)]
    if any(part.queries for part in writes):
        await database.run_parts([part for part in writes if part.queries])
    if refreshed := [
        PrincipalQueries(batch.caller.principal, [items.refresh_ttl(stale)])
        for batch, (_, stale) in zip(batches, answers, strict=True)
        if stale
    ]:
        try:
            await database.run_parts(refreshed)
        except GraphMemoryError as error:  # what was read and written stands all the same
            log.warning("Items that were read could not be prolonged: %s", error)
    return [results for found, _ in answers for results in found]
