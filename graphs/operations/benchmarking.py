"""Latencies of a deployment against their targets, measured as a temporary user."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any, TypeVar
from uuid import uuid4

from langgraph.store.base import PutOp
from pydantic import BaseModel, ConfigDict, Field, computed_field

from graphs.memory.errors import SchemaPartMissing, StoreUnavailable
from graphs.memory.principal import Principal, acting_as
from graphs.memory.values.namespaces import user_scope
from graphs.memory.values.progress import Progress
from graphs.memory_manager import MemoryManager

T = TypeVar("T")

CALLS = 100
"""Measured calls per workload."""

CONVERSATIONS = 100
"""Number of concurrent conversations."""

_TRAVERSAL = "traverse 2 hops"

TARGETS = {
    "add a memory": 50.0,
    "insert an item": 50.0,
    "get by id": 10.0,
    "search, 5 results": 100.0,
    "search, top 10": 100.0,
    "retrieve a chat session": 30.0,
    _TRAVERSAL: 150.0,
    "memory of a turn": 3000.0,
    "agent's answer": 3000.0,
}
"""Target latency of each workload in milliseconds.

For 100 concurrent conversations the target is that of a whole answer.
"""

FEWEST = 105
"""Fewest memories: one for each call, warm-up included."""

_WARM_UP = 5
_PORTION = 500
_RELATED = 1000
_TURNS = 10
_SESSION = "benchmark"
_QUESTIONS = (
    "Who services the welding robot?",
    "What does the customer want to pay?",
    "Where is the spare part?",
)
_SENTENCES = [
    *product(
        ("Ada", "The dealer", "A customer", "The supplier", "Bob", "The technician", "The bank"),
        ("services", "asks about", "orders", "returns", "inspects", "pays for", "recommends"),
        (
            "the welding robot",
            "a spare part",
            "the palletiser",
            "a gripper",
            "the lease",
            "a painting robot",
        ),
        (
            "in Lyon",
            "in hall seven",
            "by Friday",
            "for the new line",
            "at a lower price",
            "after the training",
        ),
    )
]


AskAgent = Callable[[str, str], Awaitable[object]]
"""Ask an agent: the first argument is the session, the second the message."""


class Measurement(BaseModel):
    """The latency of one workload, in milliseconds."""

    model_config = ConfigDict(frozen=True)

    work: str
    at_once: int = Field(description="Number of concurrent calls.")
    calls: int
    p50: float
    p95: float
    p99: float
    target: float

    @computed_field(description="Whether at least 95 % of the calls meet the target.")  # type: ignore[prop-decorator]
    @property
    def met(self) -> bool:
        """Return whether at least 95 % of the calls meet the target."""
        return self.p95 <= self.target


@dataclass(frozen=True, slots=True)
class _Workload:
    name: str
    call: Callable[[int], Awaitable[object]]
    at_once: int = 1


@asynccontextmanager
async def somebody_made_up(store: MemoryManager) -> AsyncIterator["Trial"]:
    """Yield a trial with a temporary user, who is erased at the end in any case.

    As after every erasure, a certificate and its audit record stay, which name nobody.

    Raises:
        StoreUnavailable: the database is away, so the user was not erased. The message has their
            id.
    """
    user_id = str(uuid4())
    try:
        with acting_as(Principal.user(user_id)):
            yield Trial(store, user_id)
    finally:
        try:
            with acting_as(Principal.service()):
                await store.erase_user(user_id)
        except StoreUnavailable as error:
            raise StoreUnavailable(
                f"{error} The benchmark's data is still in the database: remove it with "
                f"`graph-memory erase-user --user-id {user_id}`."
            ) from error


class Trial:
    """The workloads, run as one user. Get it from `somebody_made_up`.

    Args:
        store: the store to measure.
        user_id: the temporary user.
    """

    def __init__(self, store: MemoryManager, user_id: str) -> None:
        self._store = store
        self._user_id = user_id
        self._facts = user_scope(user_id, "facts")
        self._memories = 0
        self._has_graph = True

    async def fill(self, memories: int, told: Progress) -> None:
        """Store memories, relationships among the first thousand, and a session.

        Returns when all vectors are in the vector index.

        Args:
            memories: number of memories to store.
            told: receives the number of stored memories and the total.
        """
        for first in range(0, memories, _PORTION):
            numbers = range(first, min(first + _PORTION, memories))
            await _whole(
                self._store.abatch([PutOp(self._facts, f"m{n}", _value(n)) for n in numbers])
            )
            self._memories = numbers.stop
            told(numbers.stop, memories)
        try:
            await self._relate_all(min(memories, _RELATED))
        except SchemaPartMissing:
            self._has_graph = False
        for n in range(_TURNS):
            await _whole(self._say(_SESSION, f"{n}"))
        await self._store.wait_until_indexed()

    async def measure(
        self, told: Progress, answer: AskAgent | None = None
    ) -> AsyncIterator[Measurement]:
        """Run each workload and yield its latency. Skip the traversal without the graph part.

        Args:
            told: receives the number of finished calls and the total.
            answer: asks the deployment's agent; if None, only the store is measured.
        """
        works = [work for work in self._works() if self._has_graph or work.name != _TRAVERSAL]
        works += self._answers(answer) if answer else ()
        for done, work in enumerate(works):
            yield await _measured(
                work,
                lambda n, done=done: told(done * CALLS + n, len(works) * CALLS),  # type: ignore[misc]
            )

    def _works(self) -> Sequence[_Workload]:
        store, user_id, facts = self._store, self._user_id, self._facts
        return (
            _Workload("add a memory", self._remember),
            _Workload(
                "insert an item",
                lambda n: store.aput(facts, f"more{n}", _value(self._memories + n)),
            ),
            _Workload("get by id", lambda n: store.aget(facts, f"m{n * 7 % self._memories}")),
            _Workload(
                "search, 5 results", lambda n: store.recall_memory(user_id, _question(n), limit=5)
            ),
            _Workload(
                "search, top 10", lambda n: store.recall_memory(user_id, _question(n), limit=10)
            ),
            _Workload("retrieve a chat session", self._retrieve),
            _Workload(
                _TRAVERSAL, lambda n: store.relationships.traverse(user_id, (facts, f"m{n}"))
            ),
            _Workload("memory of a turn", self._converse, CONVERSATIONS),
        )

    def _answers(self, answer: AskAgent) -> Sequence[_Workload]:
        def ask(n: int) -> Awaitable[object]:
            return answer(f"answer-{n}", _question(n))

        return _Workload("agent's answer", ask), _Workload("agent's answer", ask, CONVERSATIONS)

    async def _remember(self, n: int) -> None:
        await self._write(_SESSION, "fact", f"{_value(n)['content']} It was added.")

    async def _retrieve(self, _: int) -> None:
        await self._store.sessions.get(self._user_id, _SESSION)
        await self._store.sessions.turns(self._user_id, _SESSION, limit=2 * _TURNS)

    async def _converse(self, n: int) -> None:
        session = f"talk-{n}"
        await self._store.load_context(self._user_id, session, query=_question(n))
        await self._say(session, f"{n}")

    async def _say(self, session_id: str, turn: str) -> None:
        said = {"id": turn, "user": _question(len(turn)), "assistant": "I do not know."}
        await self._write(session_id, "turn", said)

    async def _write(self, session_id: str, type_: str, content: object) -> None:
        payload = {
            "identity": self._user_id,
            "agent": "benchmark",
            "session_id": session_id,
            "type": type_,
        }
        payload |= {"timestamp": datetime.now(UTC).isoformat(), "content": content}  # type: ignore[dict-item]
        await self._store.write_memory(self._user_id, session_id, payload)

    async def _relate_all(self, memories: int) -> None:
        for first in range(0, memories, CONVERSATIONS):
            await _together(
                self._relate(n, memories)
                for n in range(first, min(first + CONVERSATIONS, memories))
            )

    async def _relate(self, n: int, of: int) -> None:
        """Create edges to two other memories, so that every traversal finds something."""
        for step in (1, 7):
            target = (self._facts, f"m{(n + step) % of}")
            await self._store.relationships.relate(
                self._user_id, (self._facts, f"m{n}"), target, "follows", 0.9
            )


def _value(n: int) -> dict[str, Any]:
    return {
        "content": f"{' '.join(_SENTENCES[n * 11 % len(_SENTENCES)])}, as noted {n} times.",
        "type": "fact",
    }


def _question(n: int) -> str:
    return _QUESTIONS[n % len(_QUESTIONS)]


async def _measured(work: _Workload, told: Callable[[int], None]) -> Measurement:
    for n in range(_WARM_UP):
        await _whole(work.call(n))
    latencies: list[float] = []

    async def call(n: int) -> None:
        began = time.perf_counter()
        await work.call(n)
        latencies.append(1000 * (time.perf_counter() - began))
        told(len(latencies))

    for first in range(0, CALLS, work.at_once):
        await _together(call(_WARM_UP + n) for n in range(first, first + work.at_once))
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    p50, p95, p99 = (round(cuts[percent - 1], 2) for percent in (50, 95, 99))
    return Measurement(
        work=work.name,
        at_once=work.at_once,
        calls=CALLS,
        p50=p50,
        p95=p95,
        p99=p99,
        target=TARGETS[work.name],
    )


async def _together(calls: Iterable[Awaitable[object]]) -> None:
    """Run calls concurrently; when all have ended, raise the first error."""
    for came in await asyncio.gather(*map(_whole, calls), return_exceptions=True):
        if isinstance(came, BaseException):
            raise came


async def _whole(call: Awaitable[T]) -> T:
    """Run a call to its end, even if the caller is cancelled.

    Otherwise the call could write after the erasure.
    """
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
