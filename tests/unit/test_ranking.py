"""Ranking: the weight of each signal, and unusual scopes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.memory.errors import ConfigurationError
from graphs.memory.search.ranking import (
    Ranking,
    Signals,
    Weights,
    composed,
    order_gate,
    rank,
)


def signals(n: int, **given: Any) -> Signals:
    """Return signals of `n` items of one namespace, unrelated to the query except as given."""
    words = np.asarray(given.pop("words", [0] * n), np.uint64)
    frequency = [int(((words >> np.uint64(j)) & np.uint64(1)).sum()) for j in range(2)]
    plain: dict[str, Any] = {
        "namespace": np.zeros(n, np.int64),
        "position": np.arange(1, n + 1),
        "similarity": np.full(n, 0.1, np.float32),
        "words": words,
        "length": np.full(n, 10, np.float32),
        "label": np.zeros(n, bool),
        "frequency": np.asarray(frequency, np.float32),
        "items": n,
        "order": 1.0,
    }
    return Signals(
        **plain | {name: np.asarray(v) if isinstance(v, list) else v for name, v in given.items()}
    )


def first(ranking: Ranking) -> int:
    return int(ranking.row[0])


@pytest.mark.parametrize(
    ("better", "part"),
    [
        ({"similarity": [0.1, 0.9, 0.1]}, "similarity"),
        ({"words": [0, 1, 0]}, "keywords"),
        ({"length": [5.0, 40.0, 5.0]}, "length"),
        ({"label": [False, True, False]}, "label"),
    ],
)
def test_each_signal_lifts_an_item_by_its_part(better: dict[str, Any], part: str) -> None:
    ranking = rank(signals(3, order=0.0, **better))
    assert first(ranking) == 1
    assert ranking.parts[part][0] > ranking.parts[part][1]


def test_a_rare_word_counts_more_than_a_frequent_one() -> None:
    ranking = rank(signals(6, words=[2, 1, 2, 2, 2, 0], order=0.0))
    assert first(ranking) == 1


def test_the_neighbour_of_a_hit_is_lifted_where_order_means_something() -> None:
    words = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    context = rank(signals(11, words=words)).parts["context"]
    assert context[1] > 0
    assert list(rank(signals(11, words=words)).row[:2]) == [3, 4], (
        "the item after a hit counts more than the item before it"
    )
    assert not rank(signals(11, words=words, order=0.0)).parts["context"].any()


def test_context_does_not_leave_a_namespace() -> None:
    ranking = rank(signals(4, words=[0, 1, 0, 0], namespace=[7, 7, 8, 8], position=[1, 2, 1, 2]))
    lifted = {
        int(row)
        for row, part in zip(ranking.row, ranking.parts["context"], strict=True)
        if part > 0
    }
    assert lifted == {0}


def test_an_unknown_neighbour_of_candidates_is_promoted() -> None:
    ranking = rank(signals(1, words=[1], position=[50], items=1000))
    assert (ranking.row == -1).any()
    assert set(ranking.position[ranking.row == -1]) <= {46, 47, 48, 49, 51, 52, 53, 54}
    assert not (rank(signals(1, words=[1])).row == -1).any(), (
        "if all items are hits, there are no neighbours to promote"
    )


def test_two_items_at_one_place_are_both_ranked() -> None:
    """Cover two writers that take the same place at the same moment."""
    ranking = rank(signals(3, position=[1, 1, 2]))
    assert sorted(ranking.row) == [0, 1, 2]


numbers = st.integers(0, 12)


@given(
    items=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(1, 30),
            st.one_of(st.none(), st.floats(-1, 1, width=32)),
            st.integers(0, 3),
            st.integers(0, 40),
            st.booleans(),
        ),
        max_size=30,
    ),
    beyond=st.integers(0, 100),
    order=st.floats(0, 1),
)
def test_any_scope_is_ranked_completely_with_finite_scores_that_are_the_sum_of_their_parts(
    items: list[Any], beyond: int, order: float
) -> None:
    columns = list(zip(*items, strict=True)) or [()] * 6
    similarity = [np.nan if cosine is None else cosine for cosine in columns[2]]
    given = signals(
        len(items),
        namespace=np.asarray(columns[0], np.int64),
        position=np.asarray(columns[1], np.int64),
        similarity=np.asarray(similarity, np.float32),
        words=list(columns[3]),
        length=np.asarray(columns[4], np.float32),
        label=np.asarray(columns[5], bool),
        items=len(items) + beyond,
        order=order,
    )
    ages = np.zeros(len(items), np.float32)
    for ranking in (
        rank(given),
        composed(rank(given), ages, np.full(len(items), np.nan), Weights()),
    ):
        assert sorted(row for row in ranking.row if row >= 0) == list(range(len(items)))
        assert np.isfinite(ranking.score).all()
        assert (np.diff(ranking.score) <= 0).all()
        assert sum(ranking.parts.values(), np.zeros(len(ranking.row))) == pytest.approx(
            ranking.score, abs=1e-5
        )
        assert (ranking.score <= 1.1).all()


def test_recency_and_importance_decide_between_what_is_equally_relevant() -> None:
    alike = rank(signals(3, order=0.0))
    week = 7 * 86400.0
    by_age = composed(alike, np.asarray([week, 0.0, 2 * week]), np.full(3, np.nan), Weights())
    assert list(by_age.row) == [1, 0, 2]
    by_importance = composed(alike, np.zeros(3), np.asarray([0.1, np.nan, 0.9]), Weights())
    assert list(by_importance.row) == [2, 1, 0]
    assert by_age.parts["recency"][1] == pytest.approx(0.1 * 0.5 ** (7 / 30), rel=1e-3)


def test_a_memory_of_the_future_is_as_recent_as_now() -> None:
    alike = rank(signals(3, order=0.0))
    ages = np.asarray([0.0, -1e11, -60.0], np.float32)
    ranking = composed(alike, ages, np.full(3, np.nan), Weights())
    assert list(ranking.row) == [0, 1, 2], "equal scores keep their order"
    assert ranking.parts["recency"] == pytest.approx(np.full(3, 0.1))


def test_order_means_nothing_where_neighbours_are_as_alike_as_any_two() -> None:
    assert order_gate(0.30, 0.2, 0.30, 199) == 0
    assert order_gate(0.45, 0.2, 0.30, 199) == 1
    assert order_gate(0.99, 0.0, 0.1, 2) == 0, "two pairs are too few"


@pytest.mark.parametrize(
    "weights",
    [{"relevance": -1.0}, {"relevance": 0, "recency": 0, "importance": 0}, {"half_life_days": 0}],
)
def test_weights_that_weigh_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="weights"):
        Weights(**weights)
