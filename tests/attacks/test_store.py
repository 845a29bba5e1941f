"""The store itself: direct calls, calls in a node, and coalesced batches of several users."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypedDict

import psycopg
import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import IndexConfig, Op

from graphs.deployment.pools import open_pool
from graphs.memory.database.database import Pool
from graphs.memory.errors import GraphMemoryError, PrincipalRequired
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.operations.operations import Operations
from tests.attacks.calls import (
    StoreCall,
    brain,
    from_ones_own,
    knowledge,
    memories,
    reads,
    surveys,
    unchecked,
    unchecked_writes,
    writes,
)
from tests.attacks.people import ALICE, BOB, PEOPLE, VICTIMS, Actor, Victim, may
from tests.attacks.tally import Attempt, Tally
from tests.attacks.world import World

LEFT_OVER = """
SELECT current_setting('role') AS role, current_user AS me,
  current_setting('request.jwt.claims', true) AS claims,
  current_setting('memory.provenance', true) AS provenance
"""


@dataclass
class StoreDoor:
    """A store that acts for nobody by default, and the pool behind it."""

    name: str
    store: MemoryManager
    pool: Pool
    people: Sequence[Actor] = PEOPLE

    async def call(self, call: StoreCall) -> str:
        """Return the result or the error of a call, as text."""
        try:
            called = _method(self.store, call.method)(*call.args, **call.kwargs)
            return str(
                [part async for part in called]
                if isinstance(called, AsyncIterator)
                else await called
            )
        except (GraphMemoryError, ValueError, TypeError) as error:
            return f"{type(error).__name__}: {error}"

    async def left_over(self) -> str | None:
        """Return state of an earlier user that is left on a pooled connection."""
        async with self.pool.connection() as conn:
            [row] = await (await conn.execute(LEFT_OVER, prepare=False)).fetchall()
        clean = (
            row["role"] == "none"
            and row["me"] == "postgres"
            and not row["claims"]
            and not row["provenance"]
        )
        return None if clean else str(row)


@pytest.fixture
async def door(world: World, route: str, index: IndexConfig) -> AsyncIterator[StoreDoor]:
    hybrid: Any = {**index, "ranking": "hybrid"}
    async with (
        open_pool(route, min_size=3, max_size=3) as pool,
        MemoryManager(pool, index=hybrid) as store,
    ):
        if route == world.database:
            yield StoreDoor("the store", store, pool)
        else:
            yield StoreDoor("the store through pgbouncer", store, pool, PEOPLE[::2])


@pytest.fixture
def unchanged(world: World) -> Iterator[None]:
    """Compare the whole database before and after: no victim's data may change.

    Users' own refusals and receipts may be added.
    """
    with psycopg.connect(world.database, autocommit=True) as conn:
        before = world.snapshot(conn)
        yield
        after = world.snapshot(conn)
        foreign = conn.execute(
            "SELECT actor FROM memory.audit_logs WHERE action = 'noted' AND data = '{}'"
            " UNION ALL SELECT actor FROM memory.recall_receipts WHERE actor <> user_id"
        ).fetchall()
    for victim in VICTIMS:
        for name in {*before[victim.id], *after[victim.id]} - {
            "memory.audit_logs",
            "memory.recall_receipts",
        }:
            assert before[victim.id].get(name) == after[victim.id].get(name), (
                f"{name} of {victim.name} has changed"
            )
    assert foreign == [], "an event or a recall about another user was recorded"


def _method(store: MemoryManager, name: str) -> Any:
    """Return a method of the store, or one of its operations."""
    facet, _, rest = name.partition(".")
    if facet == "operations":
        return attrgetter(rest)(Operations(store))
    return attrgetter(name)(store)


def principal(actor: Actor) -> Principal:
    assert actor.user_id
    return Principal.user(actor.user_id)


def anonymous(text: str, victim: Victim) -> str:
    """Return an answer without the caller's own words, and without scores, which change in time."""
    text = re.sub(r"score=[0-9.e-]+", "score", text)
    for piece in (
        victim.id,
        victim.id.upper(),
        victim.id.replace("-", ""),
        victim.id[:-1],
        f"{victim.id[:4]}%",
    ):
        text = text.replace(piece, "…")
    return text


async def test_the_owner_is_let_in(door: StoreDoor, tally: Tally) -> None:
    """Check that the same calls return the marker to its owner."""
    for actor, victim in ((PEOPLE[0], ALICE), (PEOPLE[1], BOB)):
        with acting_as(principal(actor)):
            found = [await door.call(call) for call in reads(victim)]
            recalled = await door.call(next(memories(victim)))
            by_slug = [await door.call(call) for call in brain(victim) if not call.writes]
        assert sum(victim.marker in text for text in found) > 30
        assert victim.marker in recalled
        assert sum(victim.marker in text for text in by_slug) == 2


async def test_nobody_crosses_a_border_while_everybody_calls_at_once(
    door: StoreDoor, tally: Tally, unchanged: None
) -> None:
    """Run all attackers in the same event loop ticks, so that the store coalesces their calls."""

    async def attack(
        actor: Actor, victim: Victim, call: StoreCall, twin: StoreCall, nobody: Victim
    ) -> None:
        with acting_as(principal(actor)):
            there, nowhere = await asyncio.gather(door.call(call), door.call(twin))
        attempt = Attempt(actor.name, victim.name, door.name, call.verb)
        tally.judge(attempt, there, victim.marker)
        if anonymous(there, victim) != anonymous(nowhere, nobody):
            tally.leaked(attempt, f"{there} where it exists, {nowhere} where it does not")

    async def survey(actor: Actor, call: StoreCall) -> None:
        with acting_as(principal(actor)):
            seen = await door.call(call)
        for victim in VICTIMS:
            if not may(actor, "read", victim):
                attempt = Attempt(actor.name, victim.name, door.name, call.verb)
                tally.judge(attempt, seen, victim.marker)
                if victim.id in seen:
                    tally.leaked(attempt, seen)

    async def look() -> None:
        attempt = tally.count(
            Attempt("whoever comes next", "everyone", door.name, "take over a connection")
        )
        if left := await door.left_over():
            tally.leaked(attempt, left)

    attacks = [survey(actor, call) for call in surveys() for actor in door.people]
    for victim in VICTIMS:
        nobody = victim.twin()
        for calls in (reads, writes, memories, brain, knowledge):
            for call, twin in zip(calls(victim), calls(nobody), strict=True):
                attacks += [
                    attack(actor, victim, call, twin, nobody)
                    for actor in door.people
                    if not may(actor, "write" if call.writes else "read", victim)
                    and forbidden(call, victim)
                ]
                attacks.append(look())
        for actor in (a for a in door.people if not may(a, "read", victim)):
            assert actor.user_id
            pairs = zip(
                from_ones_own(actor.user_id, victim),
                from_ones_own(actor.user_id, nobody),
                strict=True,
            )
            attacks += [attack(actor, victim, call, twin, nobody) for call, twin in pairs]
    await asyncio.gather(*attacks)
    tally.verdict()


def forbidden(call: StoreCall, victim: Victim) -> bool:
    """Return whether a call is an attack on this victim: the manager's methods are about users."""
    return call.method.startswith(("a", "brain.")) or victim.kind == "users"


async def test_bare_operations_cross_no_border_either(
    door: StoreDoor, tally: Tally, unchanged: None
) -> None:
    async def attack(actor: Actor, victim: Victim, verb: str, operations: list[Op]) -> None:
        with acting_as(principal(actor)):
            try:
                seen: object = await door.store.abatch(operations)
            except (GraphMemoryError, ValueError) as error:
                seen = error
        tally.judge(Attempt(actor.name, victim.name, door.name, verb), seen, victim.marker)

    attacks = []
    for victim in VICTIMS:
        for actor in door.people:
            if not may(actor, "read", victim):
                attacks += [
                    attack(actor, victim, f"bare {type(op).__name__}", [op])
                    for op in unchecked(victim)
                ]
            if not may(actor, "write", victim):
                attacks += [
                    attack(actor, victim, f"bare {op}", [op]) for op in unchecked_writes(victim)
                ]
                attacks.append(attack(actor, victim, "all in one batch", unchecked_writes(victim)))
    await asyncio.gather(*attacks)
    tally.verdict()


async def test_nobody_in_particular_is_refused(
    door: StoreDoor, tally: Tally, unchanged: None
) -> None:
    """Expect an error instead of an empty result, in a thread as on the loop."""
    for victim in (ALICE, BOB):
        for call in (
            *reads(victim),
            *writes(victim),
            *memories(victim),
            *brain(victim),
            *knowledge(victim),
        ):
            attempt = tally.count(Attempt("an anonymous caller", victim.name, door.name, call.verb))
            if not (said := await door.call(call)).startswith(
                (PrincipalRequired.__name__, "Invalid", "ContractError")
            ):
                tally.leaked(attempt, said)
        with pytest.raises(PrincipalRequired):
            await asyncio.to_thread(door.store.get, victim.namespace, "secret")
    tally.verdict()


class Seen(TypedDict, total=False):
    seen: list[str]


async def test_a_node_that_calls_the_store_is_held_to_the_same_rules(
    door: StoreDoor, tally: Tally, unchanged: None
) -> None:
    """Ignore any identity in the configuration of the run."""

    calls = (*reads(BOB), *writes(BOB), *memories(BOB), *brain(BOB), *knowledge(BOB))

    async def node(state: Seen, runtime: Runtime[Any]) -> Seen:
        assert isinstance(runtime.store, MemoryManager)
        seen = [str(await asyncio.to_thread(runtime.store.get, BOB.namespace, "secret"))]
        return {"seen": seen + [await door.call(call) for call in calls]}

    graph = (
        StateGraph(Seen)
        .add_node(node)
        .add_edge(START, "node")
        .add_edge("node", END)
        .compile(store=door.store)
    )
    bob: dict[str, Any] = {"identity": BOB.id, "is_authenticated": True}
    forged: Any = {
        "langgraph_auth_user": bob,
        "langgraph_auth_user_id": BOB.id,
        "user_id": BOB.id,
        "role": "service_role",
    }
    verbs = ["get in a thread", *(call.verb for call in calls)]
    for actor in (actor for actor in PEOPLE if not may(actor, "read", BOB)):
        with acting_as(principal(actor)):
            result = await graph.ainvoke({}, {"configurable": forged, "metadata": forged})
        for verb, seen in zip(verbs, result["seen"], strict=True):
            tally.judge(
                Attempt(actor.name, BOB.name, f"{door.name} in a node", verb), seen, BOB.marker
            )
    with pytest.raises(PrincipalRequired):
        await graph.ainvoke({}, {"configurable": forged})
    tally.verdict()


async def test_what_is_left_of_an_attack_on_a_connection_is_found(world: World) -> None:
    """Check that a role set for the session, not for the transaction, is detected."""
    async with (
        open_pool(world.database, min_size=1, max_size=1) as pool,
        MemoryManager(pool) as store,
    ):
        door = StoreDoor("a careless store", store, pool)
        assert await door.left_over() is None
        async with pool.connection() as conn:
            await conn.execute("SELECT set_config('role', 'authenticated', false)")
        assert "authenticated" in str(await door.left_over())
