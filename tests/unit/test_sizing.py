"""The best vector index for a number of vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.operations.sizing import (
    IndexChoice,
    Method,
    advice,
    fits,
    wanted_by,
)

METHODS: st.SearchStrategy[Method] = st.sampled_from(("hnsw", "ivfflat"))
VECTORS = st.integers(min_value=0, max_value=10**10)


@pytest.mark.parametrize(
    ("vectors", "lists"),
    [
        (0, 1),
        (1_999, 1),
        (10_000, 10),
        (100_000, 100),
        (1_000_000, 1000),
        (4_000_000, 2000),
        (10**10, 32_768),
    ],
)
def test_lists_are_a_thousandth_of_the_vectors_and_of_more_than_a_million_the_root(
    vectors: int, lists: int
) -> None:
    assert wanted_by(vectors, "ivfflat").lists == lists


@pytest.mark.parametrize(
    ("vectors", "m", "ef_construction"),
    [(10_000, 10, 112), (1_000_000, 10, 112), (1_000_001, 16, 128), (10**8, 24, 200)],
)
def test_more_vectors_want_more_neighbours(vectors: int, m: int, ef_construction: int) -> None:
    assert wanted_by(vectors, "hnsw") == IndexChoice(
        method="hnsw", m=m, ef_construction=ef_construction
    )


@given(METHODS, VECTORS)
def test_what_is_chosen_can_be_built_and_is_as_it_should_be(method: Method, vectors: int) -> None:
    chosen = IndexChoice(method=method).completed(vectors)
    chosen.check()
    assert fits(chosen, vectors)
    assert IndexChoice(method=method).asks_for(chosen, vectors)
    assert advice(chosen, vectors).endswith("as it should be.")


@given(st.integers(min_value=2, max_value=100), VECTORS)
def test_whatever_m_is_asked_for_gets_enough_candidates(m: int, vectors: int) -> None:
    asked = IndexChoice(method="hnsw", m=m)
    chosen = asked.completed(vectors)
    chosen.check()
    assert (chosen.m, asked.asks_for(chosen, vectors)) == (m, True)


@given(st.integers(min_value=1, max_value=32_768), VECTORS)
def test_lists_that_are_asked_for_are_had_and_others_are_not_what_was_asked(
    lists: int, vectors: int
) -> None:
    asked = IndexChoice(method="ivfflat", lists=lists)
    assert asked.completed(vectors) == asked
    assert not asked.asks_for(IndexChoice(method="ivfflat", lists=lists + 1), vectors)
    assert not asked.asks_for(IndexChoice(method="hnsw", m=10, ef_construction=112), vectors)


def test_advice_names_what_is_wanted_and_the_command() -> None:
    told = advice(IndexChoice(method="ivfflat", lists=10), 100_000)
    assert told == (
        "100,000 vectors need IVFFlat with 100 lists, and have IVFFlat with 10 lists: "
        "run `graph-memory indexes migrate --to ivfflat`."
    )
    assert "need HNSW with m 16" in advice(
        IndexChoice(method="hnsw", m=10, ef_construction=112), 2_000_000
    )
    assert "as it should be" in advice(IndexChoice(method="ivfflat", lists=60), 100_000), (
        "half or twice the best value is near enough"
    )
