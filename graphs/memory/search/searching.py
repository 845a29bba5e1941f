"""Searching: the statements of a search, in their order."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import numpy as np
from langgraph.store.base import SearchOp

from graphs.memory.database.rounds import Reading
from graphs.memory.database.vectors import Model, Vector, to_vector
from graphs.memory.search import search
from graphs.memory.search.hybrid import WHOLE, WHOLE_PAST, HybridSearch, Scope
from graphs.memory.search.ranking import Weights
from graphs.memory.search.recalled import Found
from graphs.memory.values.remembered import Remembered

WIDE_SECONDS = 300.0
"""Seconds for which a scope counts as wide or not: finding out costs as much as a search."""


@dataclass(slots=True)
class Searching:
    """A store's way of searching: its embedding model, text search and weights, and its caches."""

    model: Model | None = None
    configuration: str = "simple"
    weights: Weights | None = None
    """The weights of a hybrid ranking; None ranks by vector similarity alone."""
    scopes: Remembered[Scope] = field(default_factory=Remembered)
    """Size and order of scopes, for a hybrid ranking."""
    wide: Remembered[bool] = field(default_factory=Remembered)
    """True for scopes that the vector index answers."""

    past: bool = False
    """Whether the past is searched: scopes are then read whole, since the indexes have the
    present."""

    def of_past(self) -> "Searching":
        """Return the same way of searching in the past, with caches of its own."""
        return replace(self, past=True, scopes=Remembered(), wide=Remembered())

    def by_words(self) -> tuple["Searching", Vector | None]:
        """Return a way of searching by words alone, and the vector that is like nothing."""
        if self.model is None:
            return self, None
        nothing = to_vector(np.zeros(self.model.dimensions))
        return replace(self, weights=self.weights or Weights()), nothing


def find(
    op: SearchOp, vector: Vector | None, how: Searching, who: Hashable, *, beyond: int = 0
) -> Reading[Found]:
    """Search a scope: in one round by vector, mostly; in two with a hybrid ranking.

    Args:
        op: the search.
        vector: the embedded query, None without a query.
        how: the store's way of searching.
        who: distinguishes the principal, since two people see different parts of a scope.
        beyond: how many items after the page to return as nearly found, if the ranking is hybrid.
    """
    if vector is not None and how.model and how.weights:
        whole = WHOLE_PAST if how.past else WHOLE
        hybrid = HybridSearch(op, vector, how.model, how.configuration, how.weights, beyond, whole)
        return (yield from _find_hybrid(hybrid, how, who))
    key = (who, op.namespace_prefix, search.looked_at(op))
    found: Found
    wide = False if how.past else how.wide.get(key)
    [found] = yield [search.search(op, vector, how.model, wide=wide)]
    if found.wide is not None:
        how.wide.put(key, found.wide, WIDE_SECONDS)
    if found.wide and len(found.items) < op.limit:  # the index gave out: read the whole scope
        [found] = yield [search.search(op, vector, how.model, wide=False)]
    return found


def _find_hybrid(hybrid: HybridSearch, how: Searching, who: Hashable) -> Reading[Found]:
    key = (who, hybrid.op.namespace_prefix)
    scope = how.scopes.get(key)
    large = scope is not None and scope.large
    if scope is None or not scope.large:
        [signals] = yield [hybrid.signals(known=scope is not None)]
        told = hybrid.surveyed(signals)
        if large := told.large:
            scope, signals = yield [hybrid.survey(), hybrid.candidates(None)]
            how.scopes.put(key, scope, scope.seconds)
        elif scope is None:
            scope = told
            how.scopes.put(key, scope, scope.seconds)
    else:
        [signals] = yield [hybrid.candidates(scope.wide)]
    assert scope is not None  # noqa: S101  remembered, or surveyed above
    if large and scope.wide is None:
        how.scopes.put(key, replace(scope, wide=signals.wide), scope.seconds)
    hybrid.rank(signals, scope)
    while (lacking := hybrid.fetch()) is not None:
        yield [lacking]
    return hybrid.found()
