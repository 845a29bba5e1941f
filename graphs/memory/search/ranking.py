"""Hybrid ranking: a score from the signals of a search, with its parts by name. Pure functions.

A memory is relevant if its vector is close to the query's (`similarity`), if it has the query's
words (`keywords`), if its neighbours have either (`context`), if it is longer (`length`), and if
the query names its label, such as the speaker of a turn (`label`). Each part is between 0 and its
weight; the weights sum to 1.

The formula, with weights w, over the items d of a scope and the words l of a query:

    similarity = w cos(d, q)
    keywords   = w Σ idf'(l) f(m(d,l))            m: 1 where d has l; f(x) = 1 - exp(-2x)
    context    = w G Σ w_o (cos(d_o, q) - floor) + w Σ idf'(l) (f(m + G Σ w_o m(d_o,l)) - f(m))
    w_o        = 0.6^o for the o-th item before d in its namespace, 0.6·0.6^o after it, o = 1 … 4
    idf(l)     = ln(1 + (N - df + 0.5) / (df + 0.5)), as in BM25; idf' = idf / Σ idf
    floor      = the 200th best known similarity, assumed for an unknown neighbour
    G          = the meaning of the order of the items, see `order_gate`

Sources: BM25's idf and saturation are from Robertson and Zaragoza, "The Probabilistic Relevance
Framework" (2009). Measurements on conversations (`benchmarks/recall.py`) showed that the neighbours
of a hit are evidence, and that sums of normalised scores beat sums of reciprocal ranks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphs.memory.errors import ConfigurationError

Array = np.ndarray[Any, Any]

SIMILARITY, KEYWORDS, LENGTH, LABEL = 0.25, 0.55, 0.11, 0.09
"""Weights of the parts; context shares those of similarity and keywords."""

REACH = 4
BEFORE = 0.6
AFTER = 0.6
"""Neighbours on each side, the decay of each step, and the factor of those after an item."""

SATURATION = 2.0
HALF_LENGTH = 20.0
FLOOR_RANK = 200


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals of some items of a scope, an array element for each item."""

    namespace: Array
    """A number for each namespace (int64)."""
    position: Array
    """Place in the namespace, in order of insertion (int64)."""
    similarity: Array
    """Cosine to the query's vector; NaN where there is none (float32)."""
    words: Array
    """Bit j is set where the item has the j-th word of the query (uint64)."""
    length: Array
    """The number of different words of the item (float32)."""
    label: Array
    """True if a word of the query is in its label (bool)."""
    frequency: Array
    """The number of items with each word of the query; an estimate for frequent words."""
    items: int
    """The number of items of the scope, which may exceed that of known candidates."""
    order: float
    """The meaning of the order of the items, 0 to 1: `order_gate`."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Items by score, best first, and the parts of each score.

    `row` is an item's element in the signals, or -1 for an unknown neighbour: it must be looked up
    by namespace and position, and may not exist.
    """

    row: Array
    namespace: Array
    position: Array
    score: Array
    parts: dict[str, Array]


def order_gate(neighbours: float, deviation: float, any_two: float, pairs: int) -> float:
    """Return the meaning of the order of items, from 0 (neighbours are like any two items) to 1.

    The turns of a conversation follow from one another. In an unordered list of facts, context
    would be noise.

    Args:
        neighbours: mean cosine of items that follow one another.
        deviation: standard deviation of these cosines.
        any_two: mean cosine of any two of the items.
        pairs: the number of neighbours; fewer than three give 0.
    """
    if pairs < 3:
        return 0.0
    t = (neighbours - any_two) / (deviation + 1e-6) * pairs**0.5
    return float(np.clip((t - 1) / 2, 0, 1))


def rank(signals: Signals) -> Ranking:
    """Return the items of a scope by relevance, with those that only their neighbours support."""
    return _best_first(relevance(signals))


def relevance(signals: Signals) -> Ranking:
    """Return the same in the order of their places."""
    if not signals.position.size:
        nothing = np.zeros(0)
        return Ranking(nothing.astype(int), nothing.astype(int), nothing.astype(int), nothing, {})
    line = _SlotLine(signals)
    floor, similarity = _similarity(signals.similarity[line.order])
    own, around = line.spread(_matches(signals, line.order), similarity - floor, signals.order)
    idf = _idf(signals)
    keywords = idf @ _saturated(own[:-1])
    length = line.of_known(signals.length, float(signals.length.mean()))
    parts = {
        "similarity": SIMILARITY * (floor + own[-1]),
        "keywords": KEYWORDS * keywords,
        "context": SIMILARITY * around[-1]
        + KEYWORDS * (idf @ _saturated(own[:-1] + around[:-1]) - keywords),
        "length": LENGTH * length / (length + HALF_LENGTH),
        "label": LABEL * line.of_known(signals.label, 0),
    }
    score = sum(parts.values(), np.zeros(line.size, np.float32))
    position = line.position
    promoted = (position > 0) & (parts["context"] > 0) & (signals.position.size < signals.items)
    kept = np.flatnonzero(line.known | promoted)
    row = np.where(line.known, line.order[line.nearest], -1)
    return _taken(Ranking(row, line.namespace, position, score, parts), kept)


def _best_first(ranking: Ranking) -> Ranking:
    """Return the ranking sorted by score; ties keep their order."""
    return _taken(ranking, np.argsort(-ranking.score, kind="stable"))


def _taken(ranking: Ranking, which: Array) -> Ranking:
    parts = {name: part[which] for name, part in ranking.parts.items()}
    return Ranking(
        ranking.row[which],
        ranking.namespace[which],
        ranking.position[which],
        ranking.score[which],
        parts,
    )


class _SlotLine:
    """The items in a line of slots, with room around each for unknown neighbours.

    Long gaps are cut, and namespaces do not touch. If the order has no meaning, no item has
    neighbours.
    """

    def __init__(self, signals: Signals) -> None:
        self.reach = reach = REACH if signals.order else 0
        self.order = np.lexsort((signals.position, signals.namespace))
        namespace, position = signals.namespace[self.order], signals.position[self.order]
        gap = 2 * reach + 1
        steps = np.clip(
            np.diff(position, prepend=position[0]), 1, gap
        )  # two may have taken one place in a race
        steps[np.flatnonzero(np.diff(namespace)) + 1] = gap
        steps[0] = reach
        self.slot = np.cumsum(steps)
        self.size = int(self.slot[-1]) + reach + 1
        at = np.arange(self.size)
        left = np.maximum(np.searchsorted(self.slot, at, side="right") - 1, 0)
        right = np.minimum(left + 1, self.slot.size - 1)
        beyond = (at < self.slot[left]) | ((at - self.slot[left] > reach) & (right > left))
        self.nearest = np.where(beyond, right, left)
        """For each slot the item that is nearest to it, and `offset` how far away that is."""
        self.offset = at - self.slot[self.nearest]
        self.known = self.offset == 0
        self.namespace = namespace[self.nearest]
        self.position = position[self.nearest] + self.offset

    def of_known(self, values: Array, otherwise: float) -> Array:
        """Lay out values of the items, and something else where nothing is known."""
        return np.where(self.known, values[self.order][self.nearest], otherwise).astype(np.float32)

    def spread(self, matches: Array, excess: Array, gate: float) -> tuple[Array, Array]:
        """Lay out the words and the similarity of items, a row each, and of their neighbours."""
        own = np.zeros((len(matches) + 1, self.size), np.float32)
        own[:-1, self.slot] = matches
        own[-1, self.slot] = excess
        around = np.zeros_like(own)
        weight = BEFORE * gate
        for distance in range(1, self.reach + 1):
            around[:, distance:] += weight * own[:, :-distance]
            around[:, :-distance] += weight * AFTER * own[:, distance:]
            weight *= BEFORE
        return own, around


def _similarity(similarity: Array) -> tuple[float, Array]:
    """Return the floor of the similarities, and the similarities with it for unknown ones."""
    similarity = np.maximum(
        similarity, 0
    )  # what points the other way is no less alike than nothing
    known = similarity[~np.isnan(similarity)]
    rank_of_floor = max(known.size - FLOOR_RANK, 0)
    floor = float(np.partition(known, rank_of_floor)[rank_of_floor]) if known.size else 0.0
    return floor, np.where(np.isnan(similarity), np.float32(floor), similarity)


def _matches(signals: Signals, order: Array) -> Array:
    """Return a row for each word of the query, which is 1 for items with the word."""
    shifts = np.arange(signals.frequency.size, dtype=np.uint64)[:, None]
    return (signals.words[order][None, :] >> shifts) & np.uint64(1)


def _idf(signals: Signals) -> Array:
    """Return the worth of each word of the query; unknown words have 0, and the sum is 1."""
    df = signals.frequency
    idf = np.where(df > 0, np.log1p(np.maximum(signals.items - df + 0.5, 0.5) / (df + 0.5)), 0)
    return (idf / max(float(idf.sum()), 1e-9)).astype(np.float32)


def _saturated(matches: Array) -> Array:
    return 1 - np.exp(-SATURATION * matches)


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of relevance, recency and importance; they are scaled to sum to 1."""

    relevance: float = 0.8
    recency: float = 0.1
    importance: float = 0.1
    half_life_days: float = 30.0
    """After how long without a change the recency of a memory is half of what it was."""

    def __post_init__(self) -> None:
        shares = (self.relevance, self.recency, self.importance)
        if (
            not all(0 <= share < float("inf") for share in shares)
            or not sum(shares) > 0
            or not self.half_life_days > 0
        ):
            raise ConfigurationError(
                "The weights of relevance, recency and importance must be numbers, not negative "
                f"and not all zero, and the half-life a positive number of days; got {self}."
            )


def composed(ranking: Ranking, ages: Array, importances: Array, weights: Weights) -> Ranking:
    """Return a ranking in which recency and importance count beside relevance.

    recency = 0.5^(age / half-life), at most 1: a memory of the future is as old as now. A memory
    without an importance counts as half important. A promoted neighbour counts as the youngest and
    half important.

    Args:
        ranking: the ranking by relevance; it breaks ties.
        ages: seconds since each of the items was changed.
        importances: 0 to 1; NaN where the item has none.
        weights: of the three.
    """
    if not ranking.row.size:
        return ranking
    total = weights.relevance + weights.recency + weights.importance
    known = ranking.row >= 0
    ages = np.maximum(ages, 0)
    age = np.where(known, ages[ranking.row], float(ages.min()))
    importance = np.where(
        known & ~np.isnan(importances[ranking.row]), importances[ranking.row], 0.5
    )
    parts = {name: part * (weights.relevance / total) for name, part in ranking.parts.items()}
    parts["recency"] = weights.recency / total * np.exp2(-age / (weights.half_life_days * 86400))
    parts["importance"] = weights.importance / total * importance
    score = sum(parts.values(), np.zeros(known.size, np.float32))
    return _best_first(Ranking(ranking.row, ranking.namespace, ranking.position, score, parts))
