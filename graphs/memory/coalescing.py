"""Calls of the same moment go to the database together."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Call = TypeVar("Call")
Answer = TypeVar("Answer")


class TryAlone(Exception):
    """Raised by what carries out a group, to have each of its calls carried out alone."""


class Coalescer(Generic[Key, Call, Answer]):
    """Gathers the calls that are made in one turn of the event loop, and those that come while all hands are full.

    A call that is alone pays one turn of the loop; under load the groups grow by themselves. Calls of different keys
    never meet in one group. Where a group fails, each of its calls is tried alone, so that a bad one fails alone.

    Args:
        run: carries out a group of calls and returns their answers, in order. Cancelling a caller does not reach it.
        at_once: how many groups may be under way at the same time.
        most: how many calls a group of a key has at most.
        alike: what calls of one group have in common beside their key; a group ends where that changes.
        in_turn: of which keys a group waits for the one before, so that what is written last stays.
        hopeless: whether an error would meet every call of the group again alone, which is not tried then.
    """

    def __init__(
        self,
        run: Callable[[Key, Sequence[Call]], Awaitable[Sequence[Answer]]],
        *,
        at_once: int,
        most: Callable[[Key], int] = lambda _: 512,
        alike: Callable[[Call], Hashable] = lambda _: None,
        in_turn: Callable[[Key], bool],
        hopeless: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        self._run = run
        self._at_once = at_once
        self._most = most
        self._alike = alike
        self._in_turn = in_turn
        self._hopeless = hopeless
        self._waiting: dict[Key, list[tuple[Call, asyncio.Future[Answer]]]] = {}
        self._tasks: dict[asyncio.Task[None], Key] = {}
        self._awake = False

    async def submit(self, key: Key, call: Call) -> Answer:
        """Return the answer to a call, which is carried out together with others of its key."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.setdefault(key, []).append((call, answer))
        if not self._awake:
            self._awake = True
            loop.call_soon(self._start)
        return await answer

    def _start(self) -> None:
        """Send off what waits, as far as there are hands; the key that waits longest goes first."""
        self._awake = False
        under_way = set(self._tasks.values())
        for key in [key for key in self._waiting if not (key in under_way and self._in_turn(key))]:
            if len(self._tasks) >= self._at_once:
                return
            calls = self._waiting.pop(key)
            size = self._size(key, calls)
            if rest := calls[size:]:
                self._waiting[key] = rest
            task = asyncio.create_task(self._carry_out(key, calls[:size]))
            self._tasks[task] = key
            task.add_done_callback(self._done)

    def _size(self, key: Key, calls: list[tuple[Call, "asyncio.Future[Answer]"]]) -> int:
        """How many of the first calls make a group."""
        kind, most = self._alike(calls[0][0]), min(self._most(key), len(calls))
        return next((n for n in range(1, most) if self._alike(calls[n][0]) != kind), most)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if self._waiting:
            self._start()

    async def _carry_out(self, key: Key, calls: list[tuple[Call, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._run(key, [call for call, _ in calls])
        except asyncio.CancelledError:
            for _, future in calls:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001  handed on to whoever called
            if len(calls) > 1 and not self._hopeless(error):
                await self._one_by_one(key, calls)
                return
            for _, future in calls:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(calls, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def _one_by_one(self, key: Key, calls: list[tuple[Call, "asyncio.Future[Answer]"]]) -> None:
        try:
            for call in calls:
                await self._carry_out(key, [call])
        finally:
            for _, future in calls:
                future.cancel()  # has no effect on those that are answered
