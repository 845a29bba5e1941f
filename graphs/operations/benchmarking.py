"""How fast a deployment is, against its targets: measured as somebody who is made up, and erased again afterwards."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from langgraph.store.base import Item, PutOp
from pydantic import BaseModel, ConfigDict, Field, computed_field

from graphs.memory.errors import SchemaPartMissing, StoreUnavailable
from graphs.memory.principal import Principal, acting_as
from graphs.memory.values.namespaces import Namespace, user_scope
from graphs.memory.values.progress import Progress

T = TypeVar("T")

CALLS = 100
"""How often a work is measured."""

CONVERSATIONS = 100
"""How many people talk at once."""

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
"""Milliseconds that each work may take. What 100 people do at once has that of a whole answer."""

FEWEST = 105
"""Memories, so that each call meets another one."""

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
"""Has an agent answer, in the session that is named first, what is said to it."""


class Measurement(BaseModel):
    """How long one kind of work takes, in milliseconds."""

    model_config = ConfigDict(frozen=True)

    work: str
    at_once: int = Field(description="How many did it at the same time.")
    calls: int
    p50: float
    p95: float
    p99: float
    target: float

    @computed_field(description="Whether 95 of 100 calls take no longer than the target.")  # type: ignore[prop-decorator]
    @property
    def met(self) -> bool:
        """Whether 95 of 100 calls take no longer than the target."""
        return self.p95 <= self.target


class MeasuredStore(Protocol):
    """What is measured; `MemoryManager` is one."""

    relationships: Any
    sessions: Any

    async def abatch(self, ops: Sequence[PutOp]) -> Any:
        """Store items."""

    async def aput(self, namespace: Namespace, key: str, value: Mapping[str, Any]) -> None:
        """Store an item."""

    async def aget(self, namespace: Namespace, key: str) -> Item | None:
        """Return an item."""

    async def write_memory(self, user_id: str, session_id: str, payload: dict[str, Any]) -> Any:
        """Store a payload."""

    async def load_context(self, user_id: str, session_id: str, *, query: str) -> Any:
        """Return what a run starts with."""

    async def recall_memory(self, user_id: str, query: str, *, limit: int) -> Any:
        """Search a user's memory."""

    async def wait_until_indexed(self) -> Any:
        """Return when no vector waits for the index."""

    async def erase_user(self, user_id: str) -> Any:
        """Remove all that is kept about a user."""


@dataclass(frozen=True, slots=True)
class _Workload:
    name: str
    call: Callable[[int], Awaitable[object]]
    at_once: int = 1


@asynccontextmanager
async def somebody_made_up(store: MeasuredStore) -> AsyncIterator["Trial"]:
    """Lend somebody who is made up; all that is kept about them is erased at the end, and if it is interrupted.

    What stays is what stays of everybody who is erased: a certificate and its audit record, which name nobody.

    Raises:
        StoreUnavailable: the database is away, so that they were not erased; the message names them.
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
                f"{error} What was made up for the benchmark is still there: remove it with "
                f"`graph-memory erase-user --user-id {user_id}`."
            ) from error


class Trial:
    """The works, done as one person. Get it from `somebody_made_up`.

    Args:
        store: the memory.
        user_id: who it is.
    """

    def __init__(self, store: MeasuredStore, user_id: str) -> None:
        self._store = store
        self._user_id = user_id
        self._facts = user_scope(user_id, "facts")
        self._memories = 0
        self._has_graph = True

    async def fill(self, memories: int, told: Progress) -> None:
        """Give them so many memories, a graph of the first thousand, and a session, and wait for the vector index."""
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
        """Do each kind of work, and yield how long it takes; without a graph nothing is traversed.

        Args:
            told: gets how many calls are done.
            answer: has the deployment's agent answer; without one only the memory is measured.
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
        """Draw edges to two others, so that every walk finds something."""
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
    """Make calls at once; when all have ended, raise what the first of them raised that failed."""
    for came in await asyncio.gather(*map(_whole, calls), return_exceptions=True):
        if isinstance(came, BaseException):
            raise came


async def _whole(call: Awaitable[T]) -> T:
    """Make a call whose end is waited for even if it is interrupted: nothing is to be written after the erasure."""
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
