"""Hybrid search: read the signals of a scope, rank them in Python, and fetch the best items."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from langgraph.store.base import SearchOp

from graphs.memory.database import statements
from graphs.memory.database.query import Query, Rows
from graphs.memory.database.statements import Statement
from graphs.memory.database.vectors import Model, Vector
from graphs.memory.search.filters import split_filter
from graphs.memory.search.ranking import (
    Array,
    Ranking,
    Signals,
    Weights,
    composed,
    order_gate,
    relevance,
)
from graphs.memory.search.recalled import Found, search_item
from graphs.memory.values.namespaces import bounds, from_text
from graphs.memory.values.text import normalised

_SQL = statements.load("hybrid", __package__)

WHOLE = 1500
"""Scopes of up to so many items are ranked whole; of larger ones those that may matter."""

WHOLE_PAST = 10_000_000
"""The same for the past, which no index of words or vectors serves."""

NEAREST = 200
RARE = 500
"""The candidate set of a large scope: nearest items, and items with one of the rarer words."""

MAX_QUERY = 10_000
"""Characters of a query that full-text search reads."""

_COUNTED = 200_000
_SURVEY_SECONDS = 300.0
_YOUNG_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Scope:
    """The size of a scope, and the meaning of its order."""

    items: int
    order: float
    wide: bool | None = None
    """True if the vector index serves it; None until that is known."""
    whole: int = WHOLE
    """Size up to which it is ranked whole."""

    @property
    def seconds(self) -> float:
        """Seconds for which this is cached: a small scope changes more with each item."""
        return _SURVEY_SECONDS if self.items > 200 else _YOUNG_SECONDS

    @property
    def large(self) -> bool:
        """True if only a candidate set is ranked."""
        return self.items > self.whole


@dataclass(slots=True)
class HybridSearch:
    """One search: `signals` or `candidates`, then `rank`, `fetch` until it is None, `found`."""

    op: SearchOp
    vector: Vector
    model: Model
    configuration: str
    weights: Weights
    beyond: int = 0
    """Items after the page to return as nearly found."""
    whole: int = WHOLE
    """Size up to which a scope is ranked whole."""
    words: list[str] = field(default_factory=list)
    """The words of the query that count, as the text search knows them."""
    _ids: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    _places: dict[int, str] = field(default_factory=dict)
    _ranking: Ranking | None = None
    _ranked_whole: bool = False
    _looked_at: int = 0
    _entries: list[tuple[Any, float, Mapping[str, float]]] = field(default_factory=list)
    _taken: set[int] = field(default_factory=set)
    _exhausted: bool = False

    def survey(self) -> Query[Scope]:
        """Return the query for the size and order of a large scope."""
        return Query(
            _for_model("survey", self.model),
            self._scope() | {"most": _COUNTED},
            lambda rows: self.surveyed(rows[0]),
        )

    def surveyed(self, row: Any) -> Scope:
        """Return the scope of an answer; for a `known` scope, only its size class."""
        order = order_gate(row.neighbours, row.deviation, row.any_two, row.pairs)
        return Scope(row.items, order, whole=self.whole)

    def signals(self, *, known: bool) -> Query[Any]:
        """Return the query for the signals of all items, and for the scope unless it is `known`."""
        return Query(
            _for_model("signals", self.model),
            self._asked() | {"whole": self.whole, "known": known},
            _only,
        )

    def candidates(self, wide: bool | None) -> Query[Any]:
        """Return the query for the signals of a large scope's candidate set."""
        how = {"most": NEAREST, "rare": RARE, "wide": wide, "filtered": bool(self.op.filter)}
        return Query(_for_model("candidate_signals", self.model), self._asked() | how, _only)

    def _asked(self) -> dict[str, Any]:
        query = normalised((self.op.query or "")[:MAX_QUERY])
        given = {"query": query, "vector": self.vector, "configuration": self.configuration}
        return self._scope() | split_filter(self.op.filter) | given

    def _scope(self) -> dict[str, Any]:
        low, high = bounds(self.op.namespace_prefix)
        return {"low": low, "high": high}

    def rank(self, row: Any, scope: Scope) -> None:
        """Rank by the answer to `signals` or `candidates`."""
        ids = _array(row.ids, ">i8")
        self.words = row.words or []
        self._ranked_whole = not scope.large
        if scope.large:
            self._places = dict(zip(row.places or [], row.place_names or [], strict=True))
        by_id = np.argsort(ids)
        self._ids = ids = ids[by_id]
        matches, label = _words_of(ids, row)
        counted = _array(row.frequencies if scope.large else None, ">i8")
        signals = Signals(
            namespace=_array(row.namespaces, ">i8")[by_id],
            position=_array(row.positions, ">i8")[by_id],
            similarity=_best_of(
                ids, _array(row.vector_ids, ">i8"), _array(row.similarities, ">f4")
            ),
            words=matches,
            length=_array(row.lengths, ">f4")[by_id],
            label=label,
            frequency=_frequencies(matches, len(self.words), counted, scope.items),
            items=max(scope.items, ids.size) if scope.large else ids.size,
            order=scope.order,
        )
        importances = (
            _array(row.importances, ">f4")[by_id] if row.importances else np.full(ids.size, np.nan)
        )
        self._ranking = composed(
            relevance(signals), _array(row.ages, ">f4")[by_id], importances, self.weights
        )

    def fetch(self) -> Query[Rows] | None:
        """Return the query for the rest of the page, after `rank`; None if there is none.

        A promoted neighbour may not exist, or not fit the filter; then the page needs more.
        """
        ranking = self._ranking
        assert ranking is not None  # noqa: S101  ranked before
        end = self.op.offset + self.op.limit
        if len(self._entries) >= end or self._exhausted:
            return None
        rest = self._scope() | split_filter(self.op.filter)
        if self._looked_at >= ranking.row.size:
            self._exhausted = True
            if self._ranked_whole:
                return None
            rest |= {
                "limit": end - len(self._entries),
                "offset": 0,
                "ids": self._ids.tolist() + sorted(self._taken),
            }
            return Query(_SQL["others"], rest, self._take_others)
        spare = 0 if self._ranked_whole else 8
        next_ = slice(
            self._looked_at, self._looked_at + end - len(self._entries) + max(self.beyond, spare)
        )
        rows, places = ranking.row[next_], np.flatnonzero(ranking.row[next_] < 0)
        rest |= {
            "ids": self._ids[rows[rows >= 0]].tolist(),
            "namespaces": [self._places[n] for n in ranking.namespace[next_][places].tolist()],
            "positions": ranking.position[next_][places].tolist(),
        }
        return Query(_SQL["fetch"], rest, lambda found: self._take(found, next_))

    def _take(self, found: Rows, looked_at: slice) -> Rows:
        ranking = self._ranking
        assert ranking is not None  # noqa: S101
        by_id = {row.id: row for row in found}
        by_place = {(row.namespace, row.position): row for row in found}
        for n in range(looked_at.start, min(ranking.row.size, looked_at.stop)):
            if ranking.row[n] >= 0:
                row = by_id.get(int(self._ids[ranking.row[n]]))
            else:
                row = by_place.get(
                    (self._places[int(ranking.namespace[n])], int(ranking.position[n]))
                )
            if row is not None and row.id not in self._taken:
                self._taken.add(row.id)
                parts = {name: float(part[n]) for name, part in ranking.parts.items()}
                self._entries.append((row, float(ranking.score[n]), parts))
        self._looked_at = looked_at.stop
        return found

    def _take_others(self, found: Rows) -> Rows:
        self._entries += [(row, 0.0, {}) for row in found]
        return found

    def found(self) -> Found:
        """Return the page, after everything was fetched."""
        end = self.op.offset + self.op.limit
        page, beyond = self._entries[self.op.offset : end], self._entries[end : end + self.beyond]
        return Found(
            items=[search_item(row, score) for row, score, _ in page],
            stale=[(row.namespace, row.key) for row, _, _ in page if row.stale]
            if self.op.refresh_ttl
            else [],
            parts=[parts for _, _, parts in page],
            nearly=[
                (from_text(row.namespace), row.key, score, parts) for row, score, parts in beyond
            ],
        )


@lru_cache(64)
def _for_model(name: str, model: Model) -> Statement:
    return _SQL[name].with_constants(model=model.id, dimensions=model.dimensions)


def _only(rows: Rows) -> Any:
    return rows[0]


def _array(data: bytes | None, element: str) -> Array:
    """Read an array in Postgres' binary format: 20 bytes of header, then lengths and elements."""
    numbers = np.frombuffer(
        data or b"", np.dtype([("length", ">i4"), ("value", element)]), offset=20 if data else 0
    )
    return numbers["value"].astype(element[1:])


def _best_of(ids: Array, vector_ids: Array, similarities: Array) -> Array:
    """Return the best similarity of each id's vectors; NaN without vectors."""
    best = np.full(ids.size, -np.inf, np.float32)
    at, ours = _places_of(ids, vector_ids)
    np.fmax.at(best, at, similarities[ours])
    return np.where(np.isfinite(best), best, np.nan)


def _words_of(ids: Array, row: Any) -> tuple[Array, Array]:
    """Return the words of each id as bits, and whether one of them is in its label."""
    matches, label = np.zeros(ids.size, np.uint64), np.zeros(ids.size, bool)
    at, ours = _places_of(ids, _array(row.hit_ids, ">i8"))
    hits = _array(row.hit_words, ">u8")[ours]
    np.bitwise_or.at(matches, at, np.uint64(1) << (hits >> 1))
    label[at[hits % 2 == 1]] = True
    return matches, label


def _places_of(ids: Array, others: Array) -> tuple[Array, Array]:
    """Return the places of the others in the sorted `ids`, and a mask of those found."""
    if not ids.size or not others.size:
        return np.zeros(0, np.int64), np.zeros(others.size, bool)
    at = np.minimum(np.searchsorted(ids, others), ids.size - 1)
    ours = ids[at] == others
    return at[ours], ours


def _frequencies(matches: Array, words: int, counted: Array, items: int) -> Array:
    """Return the number of items with each word: counted, or estimated for frequent words.

    The estimate is the share among the candidates, which is rather high. A factor of two changes
    little.
    """
    shifts = np.arange(words, dtype=np.uint64)[:, None]
    among: Array = ((matches[None, :] >> shifts) & np.uint64(1)).sum(axis=1).astype(np.float32)
    if counted.size != words:
        return among
    estimated = np.maximum(among / max(matches.size, 1) * items, float(RARE))
    return np.where(counted >= 0, counted, estimated).astype(np.float32)
