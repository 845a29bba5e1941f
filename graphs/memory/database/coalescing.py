"""Coalescing: concurrent calls share a round trip to the database."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
CallT = TypeVar("CallT")
AnswerT = TypeVar("AnswerT")
Group = Sequence[tuple[KeyT, CallT]]

_KEYS = 8
"""As many keys are worth one group: more hands would only wait for one another."""


class TryAlone(Exception):
    """Raised by what carries out a group, to have each of its calls carried out alone."""


class Slow(NamedTuple):
    """The bounds of calls that may take long, such as searches of large scopes.

    Their groups never mix owners, so that nobody waits in a group for somebody else's call.
    """

    owner: Hashable
    hands: int
    """The groups of slow calls that this owner may have under way."""


class Coalescer(Generic[KeyT, CallT, AnswerT]):
    """Groups the calls of one turn of the event loop, and those that wait while all slots are busy.

    A single call pays one turn of the loop. Under load the groups grow by themselves. If a group
    fails, each of its calls is repeated alone, so that a bad call fails alone.

    Args:
        run: carries out a group of calls with their keys, and returns their answers in order. The
            calls of a key are adjacent. Cancelling a caller does not reach it.
        at_once: the number of concurrent groups. Waiting keys are divided among free slots.
        together: keys with the same value of this may share a group.
        most: the most calls of a group, by its first key.
        alike: calls of a group have the same value of this; a key's part ends where it changes.
        in_turn: true for keys whose groups run one after the other, so that the last write wins.
        slow: the bounds of a call that may take long; None for quick calls.
        kept: the number of concurrent groups that slow calls leave free for quick ones.
        hopeless: true for an error that every call would meet again alone; nothing is repeated.
    """

    def __init__(
        self,
        run: Callable[[Group[KeyT, CallT]], Awaitable[Sequence[AnswerT]]],
        *,
        at_once: int,
        together: Callable[[KeyT], Hashable] = lambda key: key,
        most: Callable[[KeyT], int] = lambda _: 512,
        alike: Callable[[CallT], Hashable] = lambda _: None,
        in_turn: Callable[[KeyT], bool],
        slow: Callable[[KeyT, CallT], Slow | None] = lambda *_: None,
        kept: int = 0,
        hopeless: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        self._run = run
        self._at_once = at_once
        self._together = together
        self._most = most
        self._alike = alike
        self._in_turn = in_turn
        self._slow = slow
        self._kept = kept
        self._hopeless = hopeless
        self._waiting: dict[KeyT, list[tuple[CallT, asyncio.Future[AnswerT]]]] = {}
        self._tasks: dict[asyncio.Task[None], set[KeyT]] = {}
        self._slow_tasks: dict[asyncio.Task[None], Hashable] = {}
        self._awake = False

    async def submit(self, key: KeyT, call: CallT) -> AnswerT:
        """Return the answer to a call, which is carried out together with others."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[AnswerT] = loop.create_future()
        self._waiting.setdefault(key, []).append((call, answer))
        if not self._awake:
            self._awake = True
            loop.call_soon(self._start)
        return await answer

    def has(self, key: KeyT) -> bool:
        """Return whether a call of this key waits or is under way."""
        return key in self._waiting or any(key in keys for keys in self._tasks.values())

    def _start(self) -> None:
        """Send off what waits, as far as there are hands; the key that waits longest goes first."""
        self._awake = False
        while len(self._tasks) < self._at_once and (ready := self._ready()):
            slow = self._slow_one(ready[0])
            calls = self._take(ready)
            task = asyncio.create_task(self._carry_out(calls))
            self._tasks[task] = {key for key, _, _ in calls}
            if slow:
                self._slow_tasks[task] = slow.owner
            task.add_done_callback(self._done)

    def _ready(self) -> list[KeyT]:
        """Return the keys of the next group: the longest waiting one, and a share of its peers."""
        under_way = set().union(*self._tasks.values())
        taken = Counter(self._slow_tasks.values())
        free = [
            key
            for key in self._waiting
            if not (key in under_way and self._in_turn(key)) and self._has_hand(key, taken)
        ]
        if not free:
            return []
        kind = self._kind(free[0])
        alike = [key for key in free if self._kind(key) == kind]
        share = -(-len(alike) // (self._at_once - len(self._tasks)))
        return alike[: max(share, _KEYS)]

    def _has_hand(self, key: KeyT, taken: Counter[Hashable]) -> bool:
        """Return whether a key's next call may begin, given the hands that slow calls have."""
        slow = self._slow_one(key)
        return slow is None or (
            taken.total() < self._at_once - self._kept and taken[slow.owner] < slow.hands
        )

    def _slow_one(self, key: KeyT) -> Slow | None:
        """Return the bounds of a key's next call, if it may take long."""
        return self._slow(key, self._waiting[key][0][0])

    def _kind(self, key: KeyT) -> Hashable:
        return self._together(key), self._sort_of(key, self._waiting[key][0][0])

    def _sort_of(self, key: KeyT, call: CallT) -> Hashable:
        return self._alike(call), self._slow(key, call)

    def _take(self, keys: Sequence[KeyT]) -> "list[tuple[KeyT, CallT, asyncio.Future[AnswerT]]]":
        """Take from each key its first calls that are alike, until the group is full."""
        taken: list[tuple[KeyT, CallT, asyncio.Future[AnswerT]]] = []
        most = self._most(keys[0])
        for key in keys:
            calls = self._waiting.pop(key)
            room = min(most - len(taken), len(calls))
            kinds = [self._sort_of(key, call) for call, _ in calls[:room]]
            size = next((n for n, kind in enumerate(kinds) if kind != kinds[0]), room)
            taken += [(key, *waiting) for waiting in calls[:size]]
            if rest := calls[size:]:
                self._waiting[key] = rest
        return taken

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._slow_tasks.pop(task, None)
        if self._waiting:
            self._start()

    async def _carry_out(
        self, calls: "Sequence[tuple[KeyT, CallT, asyncio.Future[AnswerT]]]"
    ) -> None:
        try:
            answers = await self._run([(key, call) for key, call, _ in calls])
        except asyncio.CancelledError:
            for *_, future in calls:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001  handed on to whoever called
            if len(calls) > 1 and not self._hopeless(error):
                await self._one_by_one(calls)
                return
            for *_, future in calls:
                if not future.done():
                    future.set_exception(error)
            return
        for (*_, future), answer in zip(calls, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def _one_by_one(
        self, calls: "Sequence[tuple[KeyT, CallT, asyncio.Future[AnswerT]]]"
    ) -> None:
        try:
            for call in calls:
                await self._carry_out([call])
        finally:
            for *_, future in calls:
                future.cancel()  # has no effect on those that are answered
