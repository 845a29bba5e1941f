"""What calls of a store's `abatch` become: queries that serve all of them, and each one's results."""

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, cast

from langgraph.store.base import (
    GetOp,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchOp,
    validate_op_namespace,
)

from graphs.memory.database.coalescing import TryAlone
from graphs.memory.database.database import Database, PrincipalQueries
from graphs.memory.database.query import Query
from graphs.memory.database.vectors import Model, Vector
from graphs.memory.errors import GraphMemoryError, InvalidInput
from graphs.memory.principal import Principal
from graphs.memory.search import search
from graphs.memory.search.embeddings import Index
from graphs.memory.search.hybrid import HybridSearch, Scope
from graphs.memory.search.ranking import Weights
from graphs.memory.search.recalled import Found
from graphs.memory.store import items
from graphs.memory.store.items import ExpectingPutOp, ItemWrite, StoredAddress
from graphs.memory.values.namespaces import Namespace, to_text
from graphs.memory.values.remembered import Remembered

log = logging.getLogger(__name__)

WIDE_SECONDS = 300.0
"""How long it is remembered whether a scope is wide; counting that takes as long as a search."""


@dataclass(slots=True)
class Call:
    """One call of `abatch`: its operations, what they write, and the vectors of its queries."""

    operations: Sequence[Op | ExpectingPutOp]
    writes: Sequence[ItemWrite] = ()
    vectors: dict[str, Vector] = field(default_factory=dict)

    def deletes(self) -> bool:
        """Return whether it deletes. Such calls lock what is there, and puts what is not: together they would cross."""
        return any(write.value is None for write in self.writes)


@dataclass(slots=True)
class Searching:
    """How a store searches: its embedding model, its text search, and the weights of a hybrid ranking if it has one."""

    model: Model | None = None
    configuration: str = "simple"
    weights: Weights | None = None
    scopes: Remembered[Scope] = field(default_factory=Remembered)
    """What scopes are like, for a hybrid ranking."""
    wide: Remembered[bool] = field(default_factory=Remembered)
    """Which scopes are answered from the vector index."""


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
    """Return a call's name in metrics: get, put, delete, search, list_namespaces, or batch where it is several."""
    names = {_NAMES.get(type(op)) or _name_of_put(op) for op in operations}
    return names.pop() if len(names) == 1 else "batch"


def _name_of_put(op: Any) -> str:
    put = op.put if isinstance(op, ExpectingPutOp) else op
    return "delete" if getattr(put, "value", None) is None else "put"


async def prepare(
    operations: Sequence[Op | ExpectingPutOp], index: Index | None, caller: Hashable = None
) -> Call:
    """Check operations and embed their texts, each once; writes of one caller come back in their order.

    Raises:
        InvalidInput: one of them cannot be carried out.
        EmbeddingFailed: the embedding model did not answer.
    """
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


class Reads:
    """Queries, each with what is to be done with its answer, which may be to ask more.

    `while queries := reads.queries(): reads.take(answers to them)`.
    """

    def __init__(self) -> None:
        self._asked: list[tuple[Query[Any], Callable[[Any], None]]] = []
        self._taken: list[Callable[[Any], None]] = []

    def ask(self, query: Query[Any], then: Callable[[Any], None]) -> None:
        """Have a query answered in the next round."""
        self._asked.append((query, then))

    def queries(self) -> list[Query[Any]]:
        """Return the next round of queries, none when all is answered."""
        asked, self._asked = self._asked, []
        self._taken = [then for _, then in asked]
        return [query for query, _ in asked]

    def take(self, answers: Sequence[Any]) -> None:
        """Hand each answer to whom it is for."""
        for then, answer in zip(self._taken, answers, strict=True):
            then(answer)

    def search(
        self,
        op: SearchOp,
        vector: Vector | None,
        how: Searching,
        who: Any,
        then: Callable[[Found], None],
        *,
        beyond: int = 0,
    ) -> None:
        """Search, in as many rounds as it takes: one, for a hybrid ranking two, and one more in a large scope at first.

        Args:
            op: what to search for.
            vector: the embedded query, None without a query.
            how: the store's way of searching.
            who: what distinguishes the principal; scopes look different to different people.
            then: gets what was found.
            beyond: how many items that were nearly found to tell of, if the ranking is hybrid.
        """
        if vector is not None and how.model and how.weights:
            hybrid = HybridSearch(op, vector, how.model, how.configuration, how.weights, beyond)
            self._search_hybrid(hybrid, how, who, then)
            return

        key = (who, op.namespace_prefix, search.looked_at(op))

        def read_scope_if_short(found: Found) -> None:
            if found.wide is not None:
                how.wide.put(key, found.wide, WIDE_SECONDS)
            if found.wide and len(found.items) < op.limit:
                self.ask(search.search(op, vector, how.model, wide=False), then)
            else:
                then(found)

        self.ask(search.search(op, vector, how.model, wide=how.wide.get(key)), read_scope_if_short)

    def _search_hybrid(
        self, hybrid: HybridSearch, how: Searching, who: Any, then: Callable[[Found], None]
    ) -> None:
        key = (who, hybrid.op.namespace_prefix)
        scope = how.scopes.get(key)

        def surveyed(found: Scope) -> None:
            nonlocal scope
            scope = found
            how.scopes.put(key, found, found.seconds)

        def told_of_all(row: Any) -> None:
            found = hybrid.surveyed(row)
            if found.large:
                self.ask(hybrid.survey(), surveyed)
                self.ask(hybrid.candidates(None), told_of_candidates)
                return
            if scope is None:
                surveyed(found)
            rank(row)

        def told_of_candidates(row: Any) -> None:
            assert scope is not None  # noqa: S101  remembered, or surveyed before
            if scope.wide is None:
                how.scopes.put(key, replace(scope, wide=row.wide), scope.seconds)
            rank(row)

        def rank(row: Any) -> None:
            assert scope is not None  # noqa: S101
            hybrid.rank(row, scope)
            fetch_the_rest(())

        def fetch_the_rest(_: Any) -> None:
            if lacking := hybrid.fetch():
                self.ask(lacking, fetch_the_rest)
            else:
                then(hybrid.found())

        if scope and scope.large:
            self.ask(hybrid.candidates(scope.wide), told_of_candidates)
        else:
            self.ask(hybrid.signals(known=scope is not None), told_of_all)


class Caller(NamedTuple):
    """Who calls, where it comes from, and which kinds of operation they are: the calls of one become one `Batch`."""

    principal: Principal
    provenance: tuple[tuple[str, str], ...]
    kinds: frozenset[type]


class Batch:
    """Calls that go to the database together; all reads come before the writes.

    Args:
        calls: of one principal.
        how: the store's way of searching.
        who: what distinguishes the principal.
    """

    def __init__(self, calls: Sequence[Call], how: Searching, who: Any) -> None:
        self.reads = Reads()
        self.results: list[list[Result]] = [[None] * len(call.operations) for call in calls]
        self.stale: list[StoredAddress] = []
        self._how = how
        self._writes = [write for call in calls for write in call.writes]
        gets: list[tuple[int, int, GetOp]] = []
        for c, call in enumerate(calls):
            for n, op in enumerate(call.operations):
                match op:
                    case GetOp():
                        gets.append((c, n, op))
                    case SearchOp():
                        self.reads.search(
                            op, call.vectors.get(op.query or ""), how, who, self._found(c, n)
                        )
                    case ListNamespacesOp():
                        self.reads.ask(items.list_namespaces(op), self._listed(c, n))
        if gets:
            self.reads.ask(
                items.get([op for _, _, op in gets]), self._got([(c, n) for c, n, _ in gets])
            )

    def writes(self) -> list[Query[None]]:
        """Return what to write, all or nothing."""
        return items.put(self._writes, self._how.model, self._how.configuration)

    def first_address(self) -> StoredAddress:
        """Return where writing begins: what locks rows goes through them in one order."""
        return min(
            ((to_text(write.namespace), write.key) for write in self._writes), default=("", "")
        )

    def _found(self, c: int, n: int) -> Callable[[Found], None]:
        def place(found: Found) -> None:
            self.results[c][n] = found.items
            self.stale += found.stale

        return place

    def _listed(self, c: int, n: int) -> Callable[[Any], None]:
        def place(namespaces: Any) -> None:
            self.results[c][n] = namespaces

        return place

    def _got(self, places: Sequence[tuple[int, int]]) -> Callable[[Any], None]:
        def place(answer: Any) -> None:
            found, stale = answer
            for (c, n), item in zip(places, found, strict=True):
                self.results[c][n] = item
            self.stale += stale

        return place


def reads_of(call: Call, results: Sequence[Result]) -> Iterator[tuple[Namespace, str, int]]:
    """Yield what a call read: the scope, the kind of read, and how many items it gave."""
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
    """Return the results of calls, which share their round trips and, if they write, their transaction.

    Raises:
        TryAlone: they have to be carried out one by one.
        GraphMemoryError: nothing was written.
    """
    if len(calls) > 1 and any(write.expecting for _, call in calls for write in call.writes):
        raise TryAlone  # of two that expect the same version, one has to see the other
    batches = [
        (caller, Batch([call for _, call in its_calls], how, caller.principal))
        for caller, its_calls in groupby(calls, key=itemgetter(0))
    ]
    await answer(database, [(caller.principal, batch.reads) for caller, batch in batches])
    in_order = sorted(batches, key=lambda pair: pair[1].first_address())
    writes = [
        PrincipalQueries(caller.principal, batch.writes(), dict(caller.provenance))
        for caller, batch in in_order
    ]
    if any(part.queries for part in writes):
        await database.run_parts([part for part in writes if part.queries])
    if stale := [
        PrincipalQueries(caller.principal, [items.refresh_ttl(batch.stale)])
        for caller, batch in batches
        if batch.stale
    ]:
        try:
            await database.run_parts(stale)
        except GraphMemoryError as error:  # what was read and written stands all the same
            log.warning("Items that were read could not be prolonged: %s", error)
    return [results for _, batch in batches for results in batch.results]


async def answer(database: Database, asking: Sequence[tuple[Principal, Reads]]) -> None:
    """Answer the reads of some principals, each round of them in one transaction."""
    while round_of := [
        (reads, PrincipalQueries(who, queries))
        for who, reads in asking
        if (queries := reads.queries())
    ]:
        answers = await database.run_parts([part for _, part in round_of])
        for (reads, _), found in zip(round_of, answers, strict=True):
            reads.take(found)
