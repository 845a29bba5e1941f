"""Beliefs, goals, reflections and metrics: typed memories with more fields than their text."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import IndexConfig

from graphs.deployment.pools import open_pool
from graphs.memory.errors import (
    AccessDenied,
    ContractError,
    InvalidInput,
    InvalidValue,
    MemoryNotFound,
)
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.support.sql import rows

ANN, BOB = "a0000000-0000-4000-8000-00000000000a", "b0000000-0000-4000-8000-00000000000b"
SAID: Any = {"session_id": "s1", "agent": "sales"}


@pytest.fixture
async def store(database: str, index: IndexConfig) -> AsyncIterator[MemoryManager]:
    """Yield a store in which Ann acts by default."""
    async with (
        open_pool(database) as pool,
        MemoryManager(pool, index=index, principal=Principal.user(ANN)) as store,
    ):
        yield store


# Beliefs ------------------------------------------------------------------------------------------


async def test_a_belief_is_a_memory_of_its_type_with_a_confidence(
    store: MemoryManager, database: str
) -> None:
    held = await store.beliefs.hold(
        ANN,
        "Ann prefers used robots.",
        confidence=0.7,
        tags=["taste"],
        metadata={"heard": 2},
        importance=0.9,
        **SAID,
    )
    assert (held.content, held.confidence, held.tags, held.metadata) == (
        *("Ann prefers used robots.", 0.7, ["taste"], {"heard": 2}),
    )
    assert (held.agent, held.session_id, held.superseded) == ("sales", "s1", False)
    assert await store.beliefs.of(ANN) == [held] == [await store.beliefs.get(ANN, held.key)]

    item = await store.aget(held.namespace, held.key)
    assert item is not None
    assert (item.value["type"], item.value["importance"]) == ("belief", 0.9)
    [recalled] = await store.recall_memory(ANN, "which robots are liked?", tags=["taste"])
    assert (recalled.key, recalled.type) == (held.key, "belief")
    assert (await store.load_context(ANN, "s1")).session.agent == "sales"
    assert len(await rows(database, "SELECT 1 FROM memory.memory_embeddings")) == 1
    assert [row["type"] for row in await rows(database, "SELECT type FROM memory.memory_logs")] == [
        "belief"
    ]


async def test_the_same_words_are_the_same_belief_with_its_latest_confidence(
    store: MemoryManager,
) -> None:
    first = await store.beliefs.hold(ANN, "Robots weld.", confidence=0.2, **SAID)
    again = await store.beliefs.hold(ANN, "robots  weld", confidence=0.8, **SAID)
    assert (again.key, again.created_at) == (first.key, first.created_at)
    weaker = await store.beliefs.set_confidence(ANN, first.key, 0.1)
    assert weaker.confidence == 0.1
    assert weaker.updated_at > again.updated_at
    assert await store.beliefs.of(ANN) == [weaker]


async def test_a_revised_belief_is_kept_but_no_longer_recalled(store: MemoryManager) -> None:
    old = await store.beliefs.hold(ANN, "The budget for robots is 80k.", confidence=0.9, **SAID)
    new = await store.beliefs.revise(
        ANN, old.key, "The budget for robots is 120k.", confidence=0.6, **SAID
    )

    assert [belief.content for belief in await store.beliefs.of(ANN)] == [
        "The budget for robots is 120k."
    ]
    assert [(b.content, b.superseded) for b in await store.beliefs.of(ANN, superseded=True)] == [
        (old.content, True),
        (new.content, False),
    ]
    [edge] = await store.relationships.of(ANN, new.address)
    assert (edge.source, edge.target, edge.type) == (new.address, old.address, "supersedes")
    for query in ("budget for robots", ""):
        assert [m.content for m in await store.recall_memory(ANN, query)] == [new.content]
        assert [m.content for m in (await store.load_context(ANN, "s1", query=query)).memories] == [
            new.content
        ]


async def test_a_belief_that_is_held_again_takes_its_place_back(store: MemoryManager) -> None:
    tea = await store.beliefs.hold(ANN, "Ann drinks tea.", **SAID)
    coffee = await store.beliefs.revise(ANN, tea.key, "Ann drinks coffee.", **SAID)
    again = await store.beliefs.revise(ANN, coffee.key, "Ann drinks tea.", **SAID)
    assert [belief.key for belief in await store.beliefs.of(ANN)] == [tea.key]
    [edge] = await store.relationships.of(ANN, again.address)
    assert (edge.source, edge.target) == (tea.address, coffee.address)
    assert [memory.content for memory in await store.recall_memory(ANN, "drinks")] == [
        "Ann drinks tea."
    ]


async def test_nothing_is_written_of_a_revision_that_fails(
    store: MemoryManager, database: str
) -> None:
    held = await store.beliefs.hold(ANN, "Ann drinks tea.", **SAID)
    nowhere = ("users", ANN, "facts"), "nothing"
    for attempt in (
        store.beliefs.revise(ANN, "nothing", "Ann drinks coffee.", **SAID),
        store.beliefs.revise(ANN, held.key, "Ann drinks coffee.", about=[nowhere], **SAID),
        store.beliefs.hold(ANN, "Ann drinks milk.", about=[nowhere], **SAID),
        store.beliefs.set_confidence(ANN, "nothing", 0.5),
        store.beliefs.get(ANN, "nothing"),
    ):
        with pytest.raises(MemoryNotFound):
            await attempt
    with pytest.raises(InvalidValue):
        await store.beliefs.revise(ANN, held.key, "ann drinks TEA", **SAID)
    assert await store.beliefs.of(ANN, superseded=True) == [held]
    assert len(await rows(database, "SELECT 1 FROM memory.memories")) == 1
    assert await rows(database, "SELECT id FROM memory.memory_relationships") == []


async def test_a_belief_leads_to_what_it_is_about(store: MemoryManager) -> None:
    fact = ("users", ANN, "facts"), "budget"
    await store.aput(*fact, {"content": "The budget is 80k.", "type": "fact"})
    held = await store.beliefs.hold(ANN, "Ann is careful with money.", about=[fact], **SAID)
    [edge] = await store.relationships.of(ANN, fact, types=["about"])
    assert edge.source == held.address
    [path] = await store.relationships.traverse(ANN, fact, direction="in")
    assert path.end.content == "Ann is careful with money."


async def test_beliefs_are_listed_by_what_they_carry_the_firmest_first(
    store: MemoryManager,
) -> None:
    for content, confidence, tags, agent in (
        *(("one", 0.2, ["a"], "sales"), ("two", 0.9, ["a", "b"], "sales")),
        *(("three", 0.5, ["b"], "financing"), ("four", 1.0, [], "sales")),
    ):
        given: Any = {"confidence": confidence, "tags": tags, "agent": agent, "session_id": "s1"}
        await store.beliefs.hold(ANN, content, **given)

    async def found(**given: Any) -> list[str]:
        return [belief.content for belief in await store.beliefs.of(ANN, **given)]

    assert await found() == ["four", "two", "three", "one"]
    assert await found(tags=["a"]) == ["two", "one"]
    assert await found(tags=["b", "a"]) == ["two"]
    assert await found(agent="financing") == ["three"]
    assert await found(min_confidence=0.5) == ["four", "two", "three"]
    assert await found(limit=1) == ["four"]


async def test_what_write_memory_stored_as_a_belief_or_a_goal_is_one(store: MemoryManager) -> None:
    for type_ in ("belief", "goal"):
        payload = {
            "identity": ANN,
            "timestamp": datetime.now(UTC),
            "type": type_,
            "content": "Robots weld.",
        }
        await store.write_memory(ANN, "s1", payload | SAID)
    [belief], [goal] = await store.beliefs.of(ANN), await store.goals.list(ANN)
    assert (belief.content, belief.confidence) == ("Robots weld.", 1.0)
    assert (goal.content, goal.status, goal.progress) == ("Robots weld.", "open", 0.0)
    assert (await store.beliefs.set_confidence(ANN, belief.key, 0.5)).confidence == 0.5
    assert (await store.goals.assess(ANN, goal.key, progress=0.5)).progress == 0.5


async def test_items_of_another_shape_beside_beliefs_and_goals_are_none(
    store: MemoryManager,
) -> None:
    for scope in ("beliefs", "goals", "reflections"):
        await store.aput(("users", ANN, scope), "k1", {"n": 1}, index=False)
        await store.aput(
            ("users", ANN, scope), "k2", {"content": "x", "tags": "t", "metadata": 1, "agent": 5}
        )
    assert [belief.content for belief in await store.beliefs.of(ANN)] == ["x"]
    assert [goal.content for goal in await store.goals.list(ANN)] == ["x"]
    assert [reflection.content for reflection in await store.reflections.of(ANN)] == ["x"]
    with pytest.raises(MemoryNotFound):
        await store.beliefs.set_confidence(ANN, "k1", 0.5)
    with pytest.raises(MemoryNotFound):
        await store.goals.assess(ANN, "k1", progress=0.5)


# Goals --------------------------------------------------------------------------------------------


async def test_a_goal_keeps_its_latest_assessment_and_the_audit_log_those_before(
    store: MemoryManager, database: str
) -> None:
    goal = await store.goals.set(ANN, "Finance a welding robot.", tags=["robots"], **SAID)
    assert (goal.status, goal.progress, goal.assessment, goal.tags) == ("open", 0.0, {}, ["robots"])
    halfway = await store.goals.assess(ANN, goal.key, progress=0.5, assessment={"next": "sign"})
    assert (halfway.status, halfway.progress, halfway.assessment) == ("open", 0.5, {"next": "sign"})
    done = await store.goals.assess(ANN, goal.key, status="achieved")
    assert (done.status, done.progress, done.assessment) == ("achieved", 1.0, {"next": "sign"})
    assert await store.goals.get(ANN, goal.key) == done

    told = await rows(
        database, "SELECT * FROM memory.audit_logs WHERE action LIKE 'memory.goal%' ORDER BY id"
    )
    assert [(row["action"], row["data"]["progress"], row["data"]["status"]) for row in told] == [
        ("memory.goal.insert", 0, "open"),
        ("memory.goal.update", 0.5, "open"),
        ("memory.goal.update", 1, "achieved"),
    ]


async def test_a_goal_that_is_set_again_is_open_again(store: MemoryManager) -> None:
    goal = await store.goals.set(ANN, "Learn to weld.", **SAID)
    await store.goals.assess(ANN, goal.key, progress=0.3)
    assert (await store.goals.set(ANN, "Learn to weld.", **SAID)).progress == 0.3, (
        "it is still open"
    )
    await store.goals.assess(ANN, goal.key, status="abandoned", assessment={"because": "tired"})
    again = await store.goals.set(ANN, "Learn to weld.", **SAID)
    assert (again.status, again.progress, again.assessment) == ("open", 0.0, {})


async def test_goals_are_listed_by_status_and_by_what_they_carry(store: MemoryManager) -> None:
    for content, tags in (("one", ["a"]), ("two", []), ("three", ["a"])):
        goal = await store.goals.set(ANN, content, tags=tags, **SAID)
    await store.goals.assess(ANN, goal.key, status="achieved", progress=0.9)

    async def found(**given: Any) -> list[str]:
        return sorted(goal.content for goal in await store.goals.list(ANN, **given))

    assert await found() == ["one", "three", "two"]
    assert await found(status="open") == ["one", "two"]
    assert await found(status="achieved", tags=["a"], agent="sales") == ["three"]
    assert await found(agent="financing") == []
    assert [goal.progress for goal in await store.goals.list(ANN, status="achieved")] == [0.9]


# Reflections and metrics --------------------------------------------------------------------------


async def test_a_reflection_leads_to_what_it_was_made_of(store: MemoryManager) -> None:
    one = await store.beliefs.hold(ANN, "Ann asks for prices first.", **SAID)
    two = await store.goals.set(ANN, "Buy a robot.", **SAID)
    made = await store.reflections.write(
        ANN, "Price decides.", on=[one.address, two.address], tags=["t"], **SAID
    )
    other = await store.reflections.write(ANN, "Be brief.", **SAID)
    assert await store.reflections.of(ANN) == [other, made]
    assert await store.reflections.of(ANN, on=one.address) == [made]
    assert await store.reflections.of(ANN, on=one.address, tags=["u"]) == []
    edges = await store.relationships.of(ANN, made.address, types=["reflects_on"], direction="out")
    assert {edge.target for edge in edges} == {one.address, two.address}
    with pytest.raises(MemoryNotFound):
        await store.reflections.write(ANN, "Nothing.", on=[(("users", ANN), "nothing")], **SAID)
    assert len(await store.reflections.of(ANN)) == 2


async def test_a_series_is_the_latest_values_oldest_first(store: MemoryManager) -> None:
    for n in range(5):
        await store.metrics.record(
            ANN, "helpful", n / 4, agent="ab"[n % 2], session_id="s1", metadata={"n": n}
        )
    await store.metrics.record(ANN, "other", 7)
    assert [metric.value for metric in await store.metrics.series(ANN, "helpful")] == [
        0,
        0.25,
        0.5,
        0.75,
        1,
    ]
    assert [metric.metadata for metric in await store.metrics.series(ANN, "helpful", limit=2)] == [
        {"n": 3},
        {"n": 4},
    ]
    assert [metric.value for metric in await store.metrics.series(ANN, "helpful", agent="b")] == [
        0.25,
        0.75,
    ]
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await store.metrics.series(ANN, "helpful", since=later) == []
    for wrong in (float("nan"), float("inf"), "1"):
        with pytest.raises(InvalidValue):
            await store.metrics.record(ANN, "helpful", wrong)  # type: ignore[arg-type]


# All of them --------------------------------------------------------------------------------------


class State(TypedDict, total=False):
    done: bool


async def in_a_task(store: MemoryManager, work: Callable[[], Awaitable[Any]]) -> None:
    """Do work twice in one node of a graph, as in a retry."""

    async def node(state: State, runtime: Runtime[Any]) -> State:
        await work()
        await work()
        return {"done": True}

    graph = (
        StateGraph(State)
        .add_node(node)
        .add_edge(START, "node")
        .add_edge("node", END)
        .compile(store=store)
    )
    await graph.ainvoke({})


async def test_a_task_that_says_the_same_twice_writes_it_once(
    store: MemoryManager, database: str
) -> None:
    await in_a_task(store, lambda: store.beliefs.hold(ANN, "Robots weld.", confidence=0.5, **SAID))
    await in_a_task(store, lambda: store.goals.set(ANN, "Weld.", **SAID))
    told = "SELECT action FROM memory.audit_logs WHERE action <> 'memory.read' ORDER BY id"
    assert sorted(row["action"] for row in await rows(database, told)) == [
        *("memory.belief.insert", "memory.goal.insert", "memory.insert", "memory.insert")
    ]


async def test_a_task_may_say_the_same_words_more_firmly(store: MemoryManager) -> None:
    confidences = iter([0.5, 0.9])
    await in_a_task(
        store, lambda: store.beliefs.hold(ANN, "Robots weld.", confidence=next(confidences), **SAID)
    )
    assert [belief.confidence for belief in await store.beliefs.of(ANN)] == [0.9]


async def test_what_is_said_of_a_memory_goes_with_it(store: MemoryManager, database: str) -> None:
    belief = await store.beliefs.hold(ANN, "Robots weld.", **SAID)
    goal = await store.goals.set(ANN, "Weld.", **SAID)
    await store.reflections.write(ANN, "Hot.", on=[belief.address, goal.address], **SAID)
    for one in (belief, goal):
        await store.adelete(one.namespace, one.key)
    for table in ("belief_graphs", "goal_assessments", "memory_relationships"):
        assert await rows(database, f"SELECT user_id FROM memory.{table}") == []


async def test_what_has_expired_is_no_belief_and_no_goal(
    store: MemoryManager, database: str
) -> None:
    belief = await store.beliefs.hold(ANN, "Robots weld.", **SAID)
    goal = await store.goals.set(ANN, "Weld.", **SAID)
    await rows(database, "UPDATE memory.memories SET expires_at = now()")
    assert (await store.beliefs.of(ANN, superseded=True), await store.goals.list(ANN)) == ([], [])
    for attempt in (
        store.beliefs.get(ANN, belief.key),
        store.beliefs.set_confidence(ANN, belief.key, 0.5),
        store.beliefs.revise(ANN, belief.key, "Robots paint.", **SAID),
        store.goals.assess(ANN, goal.key, progress=1),
    ):
        with pytest.raises(MemoryNotFound):
            await attempt


async def test_nobody_reads_or_writes_anothers(store: MemoryManager, database: str) -> None:
    belief = await store.beliefs.hold(ANN, "secret", **SAID)
    goal = await store.goals.set(ANN, "secret", **SAID)
    await store.metrics.record(ANN, "secret", 1)
    before = await rows(
        database, "SELECT (SELECT count(*) FROM memory.memories) AS m, * FROM memory.belief_graphs"
    )
    with acting_as(Principal.user(BOB)):
        for attempt in (
            store.beliefs.hold(ANN, "planted", **SAID),
            store.beliefs.revise(ANN, belief.key, "planted", **SAID),
            store.beliefs.set_confidence(ANN, belief.key, 0),
            store.beliefs.of(ANN),
            store.beliefs.get(ANN, belief.key),
            store.beliefs.confidences(ANN, [belief.key]),
            store.goals.set(ANN, "planted", **SAID),
            store.goals.assess(ANN, goal.key, status="abandoned"),
            store.goals.list(ANN),
            store.reflections.write(ANN, "planted", **SAID),
            store.reflections.of(ANN),
            store.metrics.record(ANN, "planted", 1),
            store.metrics.series(ANN, "secret"),
            store.origins.of(ANN, [belief.address]),
        ):
            with pytest.raises(AccessDenied):
                await attempt
        assert await store.beliefs.of(BOB) == []
        assert await store.goals.list(BOB) == []
        assert await store.metrics.series(BOB, "secret") == []
        assert await store.origins.of(BOB, [belief.address]) == {}
        with pytest.raises(MemoryNotFound):
            await store.beliefs.hold(BOB, "planted", about=[belief.address], **SAID)
    after = await rows(
        database, "SELECT (SELECT count(*) FROM memory.memories) AS m, * FROM memory.belief_graphs"
    )
    assert after == before


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan"), True, "0.5"], ids=repr)
async def test_a_confidence_that_is_none_is_refused_before_anything_is_written(
    store: MemoryManager, confidence: Any
) -> None:
    with pytest.raises(InvalidValue) as refused:
        await store.beliefs.hold(ANN, "Robots weld.", confidence=confidence, **SAID)
    assert refused.value.path == "confidence"
    assert await store.beliefs.of(ANN) == []


async def test_what_breaks_the_contract_is_refused_by_field(store: MemoryManager) -> None:
    for attempt, field in (
        (store.beliefs.hold(ANN, " ", **SAID), "content"),
        (store.goals.set(ANN, "x", session_id="", agent="sales"), "session_id"),
        (store.reflections.write(ANN, "x", tags="tag", **SAID), "tags"),
    ):
        with pytest.raises(ContractError) as refused:
            await attempt
        assert set(refused.value.fields) == {field}
    for listing in (store.beliefs.of(ANN, tags="tag"), store.goals.list(ANN, limit=0)):
        with pytest.raises(InvalidInput):
            await listing


async def test_all_revisions_that_are_made_at_once_count(store: MemoryManager) -> None:
    """Make concurrent revisions: each is a new belief, and all supersede the old one."""
    old = await store.beliefs.hold(ANN, "It is zero.", **SAID)
    await asyncio.gather(
        *(store.beliefs.revise(ANN, old.key, f"It is {n}.", **SAID) for n in range(1, 6))
    )
    assert {belief.content for belief in await store.beliefs.of(ANN)} == {
        f"It is {n}." for n in range(1, 6)
    }
    assert (
        len(await store.relationships.of(ANN, old.address, types=["supersedes"], direction="in"))
        == 5
    )


async def test_recall_by_type_finds_only_these(store: MemoryManager) -> None:
    await store.beliefs.hold(ANN, "Robots weld well.", **SAID)
    await store.goals.set(ANN, "Buy robots that weld.", **SAID)
    await store.reflections.write(ANN, "Robots come up often.", **SAID)

    async def found(query: str, types: list[str] | None) -> set[str | None]:
        return {memory.type for memory in await store.recall_memory(ANN, query, types=types)}

    for query in ("robots", ""):
        assert await found(query, None) == {"belief", "goal", "reflection"}
        assert await found(query, ["belief"]) == {"belief"}
        assert await found(query, ["belief", "reflection"]) == {"belief", "reflection"}
        assert await found(query, []) == set()
    for wrong in (["beliefs"], "belief"):
        with pytest.raises(InvalidInput):
            await store.recall_memory(ANN, "robots", types=wrong)
