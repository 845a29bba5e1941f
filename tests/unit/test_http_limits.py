"""Rate limits of HTTP requests, and the ids of memories."""

from contextlib import suppress
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from graphs.api.limits import Buckets
from graphs.api.routes.common import etag, version
from graphs.memory.values.ids import UnknownId, from_id, to_id

LABELS = st.text(
    st.characters(exclude_characters=".\0", exclude_categories=["Cs"]), min_size=1, max_size=20
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=100),
)
def test_no_span_of_time_has_more_requests_than_the_burst_and_the_rate_allow(
    rate: float, burst: int, pauses: list[float]
) -> None:
    clock = Clock()
    buckets = Buckets(rate, burst, clock=clock)
    taken: list[float] = []
    for pause in pauses:
        clock.now += pause
        if (wait := buckets.take("ann")) == 0:
            taken.append(clock.now)
        else:
            assert 0 < wait <= 1 / rate
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) * rate + 1e-6


@given(rate=st.floats(0.1, 100), burst=st.integers(1, 20))
def test_who_waits_as_long_as_told_gets_through(rate: float, burst: int) -> None:
    clock = Clock()
    buckets = Buckets(rate, burst, clock=clock)
    while not (wait := buckets.take("ann")):
        pass
    clock.now += wait + 1e-6
    assert buckets.take("ann") == 0


def test_only_so_many_people_are_kept_count_of_and_who_asked_longest_ago_goes() -> None:
    buckets = Buckets(0.001, 1, most=2, clock=Clock())
    assert [buckets.take(who) == 0 for who in ("ann", "bob", "ann")] == [True, True, False]
    assert buckets.take("cem") == 0, "a third bucket evicts Bob's, which was used before Ann's"
    assert [buckets.take(who) == 0 for who in ("ann", "bob")] == [False, True]


def test_no_rate_is_no_limit() -> None:
    buckets = Buckets(0, 1)
    assert not any(buckets.take("ann") for _ in range(1000))


@given(st.lists(LABELS, min_size=1, max_size=6), LABELS)
def test_an_id_leads_back_to_its_memory(labels: list[str], key: str) -> None:
    assert from_id(to_id(tuple(labels), key)) == (tuple(labels), key)


@given(st.text(st.sampled_from("ABCabc012_-W10yz"), min_size=1, max_size=40))
def test_what_is_no_id_is_nobodys_and_no_fault(word: str) -> None:
    with suppress(UnknownId):
        assert to_id(*from_id(word)) == word


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_version_is_told_to_the_microsecond(at: datetime) -> None:
    assert version(etag(at)) == at
