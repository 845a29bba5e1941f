"""Hybrid ranking: one score out of the signals of a search, taken apart by name. Pure; no database, no clock.

A memory is relevant because its vector is close to the query's (`similarity`), because it has the query's words
(`keywords`), because those around it have either (`context`), because it says more (`length`), and because its label,
such as the speaker of a turn, is asked for (`label`). The parts are between 0 and their weights, which sum to 1.

The formula, with weights w, over the items d of a scope and the words l of a query:

    similarity = w cos(d, q)
    keywords   = w Σ idf'(l) f(m(d,l))                                       m: 1 where d has l; f(x) = 1 - exp(-2x)
    context    = w G Σ w_o (cos(d_o, q) - floor) + w Σ idf'(l) (f(m + G Σ w_o m(d_o,l)) - f(m))
    w_o        = 0.6^o for the o-th item before d in its namespace, 0.6·0.6^o for the o-th after it, o = 1 … 4
    idf(l)     = ln(1 + (N - df + 0.5) / (df + 0.5)), as in BM25; idf' = idf / Σ idf
    floor      = the 200th best similarity that is known: what an unknown neighbour is taken to have
    G          = how far the order of the items means anything, see `order_gate`

Sources: BM25's idf and saturation from Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009); that the
neighbours of a hit are evidence, and that sums of normalised scores beat sums of reciprocal ranks, was measured on
conversations (`benchmarks/recall.py`).
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
"""How many neighbours count on each side, how each step away counts less, and how those after an item count less."""

SATURATION = 2.0
HALF_LENGTH = 20.0
FLOOR_RANK = 200


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known about some items of a scope, an array element for each item."""

    namespace: Array
    """A number for each namespace (int64)."""
    position: Array
    """Place in the namespace, in order of insertion (int64)."""
    similarity: Array
    """Cosine to the query's vector; NaN where there is none (float32)."""
    words: Array
    """Bit j is set where the item has the j-th word of the query (uint64)."""
    length: Array
    """How many different words the item has (float32)."""
    label: Array
    """Whether a word of the query is in its label (bool)."""
    frequency: Array
    """For each word of the query, how many items of the scope have it; an estimate will do where it is frequent."""
    items: int
    """How many items the scope has; more than there are elements where only candidates are known."""
    order: float
    """How far the order of the items means anything, 0 to 1: `order_gate`."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Items by score, best first, and what each score is made of.

    `row` is an item's element in the signals, or -1 for a neighbour that nothing was known about: it has to be looked
    up by namespace and position, and may turn out not to exist.
    """

    row: Array
    namespace: Array
    position: Array
    score: Array
    parts: dict[str, Array]


def order_gate(neighbours: float, deviation: float, any_two: float, pairs: int) -> float:
    """Return how far the order of items means anything: 0 if neighbours are no more alike than any two items, up to 1.

    A conversation's turns follow from one another; a list of facts in no order does not, and context would be noise.

    Args:
        neighbours: mean cosine of items that follow one another.
        deviation: standard deviation of these cosines.
        any_two: mean cosine of any two of the items.
        pairs: how many neighbours were looked at; of less than three nothing can be said.
    """
    if pairs < 3:
        return 0.0
    t = (neighbours - any_two) / (deviation + 1e-6) * pairs**0.5
    return float(np.clip((t - 1) / 2, 0, 1))


def rank(signals: Signals) -> Ranking:
    """Return the items of a scope in the order of their relevance, with those that only their neighbours speak for."""
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
    """The same by score; of what is equally good, what came first stays first."""
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
    """The items in a line of slots, with room around each for the neighbours that nothing is known about.

    Long gaps are cut, and namespaces do not touch. Where order means nothing nobody has neighbours, nor room for any.
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
        """Lay out what items have themselves, a row for each word and one for similarity, and what lies around them."""
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
    """The floor of the similarities, and they themselves with the floor where they are unknown."""
    known = similarity[~np.isnan(similarity)]
    rank_of_floor = max(known.size - FLOOR_RANK, 0)
    floor = float(np.partition(known, rank_of_floor)[rank_of_floor]) if known.size else 0.0
    return floor, np.where(np.isnan(similarity), np.float32(floor), similarity)


def _matches(signals: Signals, order: Array) -> Array:
    """For each word of the query a row that is 1 where an item has it."""
    shifts = np.arange(signals.frequency.size, dtype=np.uint64)[:, None]
    return (signals.words[order][None, :] >> shifts) & np.uint64(1)


def _idf(signals: Signals) -> Array:
    """What each word of the query is worth: words that nobody has count nothing, and all together 1."""
    df = signals.frequency
    idf = np.where(df > 0, np.log1p(np.maximum(signals.items - df + 0.5, 0.5) / (df + 0.5)), 0)
    return (idf / max(float(idf.sum()), 1e-9)).astype(np.float32)


def _saturated(matches: Array) -> Array:
    return 1 - np.exp(-SATURATION * matches)


@dataclass(frozen=True, slots=True)
class Weights:
    """How much relevance, recency and importance count in a score; they are made to sum to 1."""

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
                "The weights of relevance, recency and importance must be numbers that are not negative and not all "
                f"zero, and the half-life a positive number of days; got {self}."
            )


def composed(ranking: Ranking, ages: Array, importances: Array, weights: Weights) -> Ranking:
    """Return a ranking in which recency and importance count beside relevance.

    recency = 0.5^(age / half-life). A memory without an importance counts as half important, and a neighbour that was
    promoted as the youngest and half important.

    Args:
        ranking: by relevance; of what is equally good, what comes first in it stays first.
        ages: seconds since each of the items was changed.
        importances: 0 to 1; NaN where the item has none.
        weights: of the three.
    """
    if not ranking.row.size:
        return ranking
    total = weights.relevance + weights.recency + weights.importance
    known = ranking.row >= 0
    age = np.where(known, ages[ranking.row], float(ages.min()))
    importance = np.where(
        known & ~np.isnan(importances[ranking.row]), importances[ranking.row], 0.5
    )
    parts = {name: part * (weights.relevance / total) for name, part in ranking.parts.items()}
    parts["recency"] = weights.recency / total * np.exp2(-age / (weights.half_life_days * 86400))
    parts["importance"] = weights.importance / total * importance
    score = sum(parts.values(), np.zeros(known.size, np.float32))
    return _best_first(Ranking(ranking.row, ranking.namespace, ranking.position, score, parts))
