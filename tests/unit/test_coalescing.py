"""Coalescing: concurrent calls share a batch, keep their order, and fail alone."""

import asyncio
from collections.abc import Sequence

import pytest

from graphs.memory.database.coalescing import Coalescer, Slow, TryAlone


class Recorder:
    """A handler that records its batches of numbers; numbers in `bad` fail."""

    def __init__(self, *bad: int, seconds: float = 0.0) -> None:
        self.groups: list[tuple[str, list[int]]] = []
        self.bad = set(bad)
        self.seconds = seconds

    async def __call__(self, calls: Sequence[tuple[str, int]]) -> list[int]:
        keys, numbers = zip(*calls, strict=True)
        self.groups.append(("".join(dict.fromkeys(keys)), list(numbers)))
        await asyncio.sleep(self.seconds)
        if self.bad & set(numbers):
            raise ValueError("bad")
        return [10 * number for number in numbers]


def coalescer(record: Recorder, at_once: int = 2, most: int = 100) -> Coalescer[str, int, int]:
    return Coalescer(
        record,
        at_once=at_once,
        most=lambda _: most,
        in_turn=lambda key: key == "in turn",
        hopeless=lambda error: isinstance(error, ConnectionError),
    )


async def test_calls_of_one_moment_are_one_group_for_each_key() -> None:
    record = Recorder()
    calls = coalescer(record)
    answers = await asyncio.gather(*(calls.submit("ab"[n % 2], n) for n in range(6)))
    assert answers == [0, 10, 20, 30, 40, 50]
    assert record.groups == [("a", [0, 2, 4]), ("b", [1, 3, 5])]


async def test_a_bad_call_fails_alone() -> None:
    calls = coalescer(Recorder(2))
    answers = await asyncio.gather(
        *(calls.submit("a", n) for n in range(4)), return_exceptions=True
    )
    assert [str(answer) for answer in answers] == ["0", "10", "bad", "30"]


async def test_what_is_hopeless_is_not_tried_again() -> None:
    tried = 0

    async def fail(_: Sequence[tuple[str, int]]) -> list[int]:
        nonlocal tried
        tried += 1
        raise ConnectionError

    calls: Coalescer[str, int, int] = Coalescer(
        fail,
        at_once=1,
        in_turn=lambda _: False,
        hopeless=lambda error: isinstance(error, ConnectionError),
    )
    answers = await asyncio.gather(
        *(calls.submit("a", n) for n in range(5)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {ConnectionError}
    assert tried == 1


async def test_a_group_can_ask_to_be_carried_out_one_by_one() -> None:
    async def alone(calls: Sequence[tuple[str, int]]) -> list[int]:
        if len(calls) > 1:
            raise TryAlone
        return [number + 1 for _, number in calls]

    calls: Coalescer[str, int, int] = Coalescer(alone, at_once=1, in_turn=lambda _: False)
    assert await asyncio.gather(*(calls.submit("a", n) for n in range(3))) == [1, 2, 3]


async def test_groups_of_a_key_that_goes_in_turn_never_overtake_one_another() -> None:
    record = Recorder(seconds=0.005)
    calls = coalescer(record, at_once=8, most=2)
    await asyncio.gather(*(calls.submit("in turn", n) for n in range(9)))
    assert [n for _, group in record.groups for n in group] == list(range(9))
    assert max(len(group) for _, group in record.groups) == 2


async def test_a_cancelled_caller_does_not_stop_its_group() -> None:
    record = Recorder(seconds=0.01)
    calls = coalescer(record)
    leaving, staying = (asyncio.create_task(calls.submit("a", n)) for n in range(2))
    await asyncio.sleep(0.005)
    leaving.cancel()
    assert await staying == 10
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await calls.submit("a", 5) == 50


async def test_a_group_ends_where_its_calls_are_no_longer_alike() -> None:
    record = Recorder(seconds=0.001)
    calls: Coalescer[str, int, int] = Coalescer(
        record, at_once=8, alike=lambda n: n >= 3, in_turn=lambda _: True
    )
    await asyncio.gather(*(calls.submit("a", n) for n in (0, 1, 5, 6, 2)))
    assert [group for _, group in record.groups] == [[0, 1], [5, 6], [2]]


async def test_keys_that_may_meet_are_divided_among_the_hands() -> None:
    record = Recorder(seconds=0.001)
    calls: Coalescer[str, int, int] = Coalescer(
        record, at_once=4, together=lambda _: "all", in_turn=lambda _: True
    )
    answers = await asyncio.gather(*(calls.submit(str(n % 48), n) for n in range(96)))
    assert answers == [10 * n for n in range(96)]
    assert [len(group) for _, group in record.groups] == [24, 24, 24, 24]


async def test_a_bad_call_of_one_key_leaves_the_others_of_its_group_alone() -> None:
    record = Recorder(2)
    calls: Coalescer[str, int, int] = Coalescer(
        record, at_once=4, together=lambda _: "all", in_turn=lambda _: True
    )
    answers = await asyncio.gather(
        *(calls.submit("abc"[n], n) for n in range(3)), return_exceptions=True
    )
    assert [str(answer) for answer in answers] == ["0", "10", "bad"]
    assert record.groups == [("abc", [0, 1, 2]), ("a", [0]), ("b", [1]), ("c", [2])]


async def test_what_a_key_does_in_turn_stays_in_order_in_groups_of_many_keys() -> None:
    record = Recorder(seconds=0.001)
    calls: Coalescer[str, int, int] = Coalescer(
        record, at_once=3, together=lambda _: "all", most=lambda _: 5, in_turn=lambda _: True
    )
    await asyncio.gather(*(calls.submit("abcdefghij"[n % 10], n) for n in range(60)))
    order = [n for _, group in record.groups for n in group]
    assert sorted(order) == list(range(60))
    assert all([n for n in order if n % 10 == key] == list(range(key, 60, 10)) for key in range(10))


class Hall:
    """A handler whose slow calls, those that begin with "slow", wait until they are released."""

    def __init__(self) -> None:
        self.groups: list[list[tuple[str, str]]] = []
        self.released = asyncio.Event()

    async def __call__(self, calls: Sequence[tuple[str, str]]) -> list[str]:
        self.groups.append(list(calls))
        if any(call.startswith("slow") for _, call in calls):
            await self.released.wait()
        return [call for _, call in calls]


def hall_of(hall: Hall, most: int = 100) -> Coalescer[str, str, str]:
    """Return a coalescer with 8 hands, of which slow calls have 6, and their owner 2."""
    return Coalescer(
        hall,
        at_once=8,
        together=lambda _: "all",
        most=lambda _: most,
        in_turn=lambda _: False,
        slow=lambda key, call: Slow(key, 2) if call.startswith("slow") else None,
        kept=2,
    )


async def test_quick_calls_find_a_hand_beside_everybody_elses_slow_ones() -> None:
    hall = Hall()
    calls = hall_of(hall, most=1)
    slow = [asyncio.create_task(calls.submit("abcdefgh"[n % 8], f"slow {n}")) for n in range(64)]
    async with asyncio.timeout(5):
        assert [await calls.submit("z", f"get {n}") for n in range(3)] == [
            "get 0",
            "get 1",
            "get 2",
        ]
    assert len(hall.groups) == 6 + 3
    hall.released.set()
    assert len(await asyncio.gather(*slow)) == 64


async def test_an_owner_has_two_hands_for_slow_calls_and_others_find_the_rest() -> None:
    hall = Hall()
    calls = hall_of(hall, most=1)
    slow = [asyncio.create_task(calls.submit("a", f"slow {n}")) for n in range(20)]
    await asyncio.sleep(0)
    slow += [asyncio.create_task(calls.submit("b", "slow"))]
    for _ in range(4):
        await asyncio.sleep(0)
    assert [group[0][0] for group in hall.groups] == ["a", "a", "b"]
    hall.released.set()
    assert len(await asyncio.gather(*slow)) == 21


async def test_slow_calls_of_two_owners_never_share_a_group_nor_do_slow_and_quick_ones() -> None:
    hall = Hall()
    hall.released.set()
    calls = hall_of(hall)
    await asyncio.gather(
        *(calls.submit("abc"[n % 3], ["slow", "quick"][n % 2] + f" {n}") for n in range(60))
    )
    assert {len({call.split()[0] for _, call in group}) for group in hall.groups} == {1}
    slow = [group for group in hall.groups if group[0][1].startswith("slow")]
    assert {len({key for key, _ in group}) for group in slow} == {1}
