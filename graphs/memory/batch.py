"""What calls of a store's `abatch` become: queries that serve all of them, and each one's results."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph.store.base import GetOp, ListNamespacesOp, Op, PutOp, Result, SearchOp, validate_op_namespace

from graphs.memory import items, search
from graphs.memory.errors import InvalidInput
from graphs.memory.items import Address, Write
from graphs.memory.transaction import Query
from graphs.memory.vectors import Model, Vector


@dataclass(slots=True)
class Call:
    """One call of `abatch`: its operations, what they write, and the vectors of its queries."""

    operations: Sequence[Op]
    writes: Sequence[Write] = ()
    vectors: dict[str, Vector] = field(default_factory=dict)


def check(op: Op) -> str | None:
    """Check an operation and return the JSON of what it puts, if it puts something.

    Raises:
        InvalidInput: it cannot be carried out.
    """
    validate_op_namespace(op)
    match op:
        case PutOp():
            return items.check_put(op)
        case SearchOp():
            search.check_search(op)
        case ListNamespacesOp():
            items.check_list(op)
        case GetOp():
            items.check_get(op)
        case _:
            raise InvalidInput(f"Unknown operation: {type(op).__name__}.")
    return None


class Batch:
    """Calls that go to the database together. Reads see the state before the writes.

    Args:
        calls: of one principal.
        model: the embedding model of their vectors, None for a store without an index.
        configuration: the text-search configuration of their documents.
    """

    def __init__(self, calls: Sequence[Call], model: Model | None, configuration: str) -> None:
        self._model = model
        self._configuration = configuration
        self._writes = [write for call in calls for write in call.writes]
        self.results: list[list[Result]] = [[None] * len(call.operations) for call in calls]
        self.stale: list[Address] = []
        self.short: list[tuple[int, int, SearchOp, Vector | None]] = []
        self._gets: list[tuple[int, int, GetOp]] = []
        self._searches: list[tuple[int, int, SearchOp, Vector | None]] = []
        self._lists: list[tuple[int, int, ListNamespacesOp]] = []
        for c, call in enumerate(calls):
            for n, op in enumerate(call.operations):
                match op:
                    case GetOp():
                        self._gets.append((c, n, op))
                    case SearchOp():
                        self._searches.append((c, n, op, call.vectors.get(op.query or "")))
                    case ListNamespacesOp():
                        self._lists.append((c, n, op))

    def reads(self) -> list[Query[Any]]:
        """Return what to ask; it has to be answered before the writes."""
        queries: list[Query[Any]] = []
        if self._gets:
            queries.append(items.get([op for _, _, op in self._gets]))
        queries += [search.search(op, vector, self._model) for _, _, op, vector in self._searches]
        queries += [items.list_namespaces(op) for _, _, op in self._lists]
        return queries

    def writes(self) -> list[Query[None]]:
        """Return what to write, all or nothing."""
        return items.put(self._writes, self._model, self._configuration)

    def take(self, answers: Sequence[Any]) -> None:
        """Put the answers to `reads` in their places among the results."""
        given = iter(answers)
        if self._gets:
            found, self.stale = next(given)
            for (c, n, _), item in zip(self._gets, found, strict=True):
                self.results[c][n] = item
        for c, n, op, vector in self._searches:
            self._place(c, n, answer := next(given))
            if answer.short:
                self.short.append((c, n, op, vector))
        for c, n, _ in self._lists:
            self.results[c][n] = next(given)

    def reads_again(self) -> list[Query[Any]]:
        """Return the searches that the vector index left short, now to be answered by reading their scopes."""
        return [search.search(op, vector, self._model, exact=True) for _, _, op, vector in self.short]

    def take_again(self, answers: Sequence[search.Found]) -> None:
        """Put the answers to `reads_again` in their places."""
        for (c, n, _, _), found in zip(self.short, answers, strict=True):
            self._place(c, n, found)

    def _place(self, c: int, n: int, found: search.Found) -> None:
        self.results[c][n] = found.items
        self.stale += found.stale
