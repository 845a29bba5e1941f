"""Memory follows the graph: forks, rollbacks and undo change memory as they change a thread."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.pools import open_pool
from graphs.memory.errors import AccessDenied, RunNotFound
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.support.branching import Thread, known
from tests.support.sql import rows


@pytest.fixture
async def checkpointer(database: str) -> AsyncIterator[PostgresCheckpointer]:
    async with open_pool(database) as pool:
        yield PostgresCheckpointer(pool)


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


@pytest.fixture
def thread(store: MemoryManager, checkpointer: PostgresCheckpointer, user_id: str) -> Thread:
    return Thread(store, checkpointer, user_id)


async def facts(thread: Thread) -> list[str]:
    await thread.store.jobs.run_pending()
    return (await known(thread.store, thread.user_id))["fact"]


async def test_an_edit_sets_the_old_message_and_its_fact_aside(thread: Thread) -> None:
    """6.1, 6.2: edit a message."""
    await thread.say("My dog is called Rex.")
    second = await thread.say("My budget is 80k.")
    assert await facts(thread) == ["My budget is 80k.", "My dog is called Rex."]
    await thread.say("My cat is called Tom.", at=thread.before[second])
    assert await facts(thread) == ["My cat is called Tom.", "My dog is called Rex."]


async def test_going_on_at_a_branch_that_was_left_brings_its_memory_back(thread: Thread) -> None:
    """3.1, 3.2, 6.10: memory is what the head of the thread says, there and back."""
    await thread.say("My dog is called Rex.")
    first = await thread.say("My budget is 80k.")
    end_of_first = await thread.newest()
    second = await thread.say("My cat is called Tom.", at=thread.before[first])
    end_of_second = await thread.newest()
    assert await facts(thread) == ["My cat is called Tom.", "My dog is called Rex."]

    await thread.say("My car is a Volvo.", at=end_of_first)
    assert await facts(thread) == [
        "My budget is 80k.",
        "My car is a Volvo.",
        "My dog is called Rex.",
    ]
    await thread.say("My bike is a Brompton.", at=end_of_second)
    assert await facts(thread) == [
        "My bike is a Brompton.",
        "My cat is called Tom.",
        "My dog is called Rex.",
    ]
    status = {
        run.run_id: run.status for run in (await thread.store.runs.list(thread.user_id)).items
    }
    assert (status[first], status[second]) == ("left", "kept")


async def test_an_edit_of_the_first_message_leaves_all_that_was_said_after_it(
    thread: Thread,
) -> None:
    """6.4, 1.12: edit the first of three messages."""
    first = await thread.say("My dog is called Rex.")
    await thread.say("My budget is 80k.")
    await thread.say("My car is a Volvo.")
    assert len(await facts(thread)) == 3
    await thread.say("My cat is called Tom.", at=thread.before[first])
    assert await facts(thread) == ["My cat is called Tom."]
    turns = (await known(thread.store, thread.user_id))["turn"]
    assert len(turns) == 2
    assert "My cat is called Tom." in turns


async def test_a_branch_that_is_left_before_its_facts_are_made_makes_none(thread: Thread) -> None:
    """6.3: edit before the extraction."""
    await thread.say("My dog is called Rex.")
    second = await thread.say("My budget is 80k.")
    await thread.say("My cat is called Tom.", at=thread.before[second])
    assert await facts(thread) == ["My cat is called Tom.", "My dog is called Rex."]


async def test_a_value_that_a_left_branch_replaced_is_back(thread: Thread) -> None:
    await thread.say("My budget is 80k.")
    await facts(thread)
    second = await thread.say("My budget is 120k now.")
    assert await facts(thread) == ["My budget is 120k now."]
    await thread.say("My dog is called Rex.", at=thread.before[second])
    assert await facts(thread) == ["My budget is 80k.", "My dog is called Rex."]
    found = await thread.store.recall_memory(thread.user_id, "budget", types=["fact"])
    assert found[0].content == "My budget is 80k.", "it is found by its vector and words"


async def test_a_fork_that_wrote_nothing_changes_nothing(thread: Thread) -> None:
    """6.8: a fork is interrupted before it writes."""
    await thread.say("My dog is called Rex.")
    second = await thread.say("My budget is 80k.")
    before = await facts(thread)
    failing = Thread(thread.store, thread.checkpointer, thread.user_id, thread.thread_id)
    failing.graph.interrupt_before_nodes = ["write_memory"]
    await failing.say("My cat is called Tom.", at=thread.before[second])
    assert await facts(thread) == before


async def test_a_run_that_goes_on_after_an_interrupt_is_one_with_it(thread: Thread) -> None:
    """Traps 2 and 13: the second run resumes the first; both are undone together."""
    await thread.say("My dog is called Rex.")
    thread.graph.interrupt_before_nodes = ["write_memory"]
    first = await thread.say("My budget is 80k.")
    thread.graph.interrupt_before_nodes = []
    second = await thread.run(None)
    run = await thread.store.runs.get(thread.user_id, second)
    assert (run.resumes, run.is_head) == (first, True)
    assert await facts(thread) == ["My budget is 80k.", "My dog is called Rex."]
    await thread.store.runs.undo(thread.user_id, second)
    assert (await thread.store.runs.get(thread.user_id, first)).status == "undone"
    assert await facts(thread) == ["My dog is called Rex."]


async def test_a_replay_from_inside_a_run_stores_its_exchange_once(thread: Thread) -> None:
    """1.9, 6.5: run the answer again."""
    await thread.say("My dog is called Rex.")
    second = await thread.say("My budget is 80k.")
    await facts(thread)
    again = await thread.run(None, await thread.inside(second, "respond"))
    assert await facts(thread) == ["My budget is 80k.", "My dog is called Rex."]
    assert len((await known(thread.store, thread.user_id))["turn"]) == 4
    assert (await thread.store.runs.get(thread.user_id, again)).is_head


async def test_the_copy_of_a_thread_takes_nothing_from_the_original(
    thread: Thread,
) -> None:
    """3.5: go on in a copy."""
    await thread.say("My dog is called Rex.")
    await thread.say("My budget is 80k.")
    copy = Thread(thread.store, thread.checkpointer, thread.user_id)
    await thread.checkpointer.acopy_thread(thread.thread_id, copy.thread_id)
    await copy.say("My cat is called Tom.")
    await thread.say("My car is a Volvo.")
    assert await facts(thread) == [
        "My budget is 80k.",
        "My car is a Volvo.",
        "My cat is called Tom.",
        "My dog is called Rex.",
    ]


async def test_a_run_that_is_rolled_back_never_happened(thread: Thread, database: str) -> None:
    """2.1, 2.2, 2.3, 2.7: the turns go, no fact is made, and what was replaced is back."""
    await thread.say("My budget is 80k.")
    await facts(thread)
    second = await thread.say("My budget is 120k now.")
    await facts(thread)
    third = await thread.say("My cat is called Tom.")
    await thread.checkpointer.adelete_for_runs([third])
    await thread.checkpointer.adelete_for_runs([second])
    assert await facts(thread) == ["My budget is 80k."]
    assert len((await known(thread.store, thread.user_id))["turn"]) == 2
    await thread.checkpointer.adelete_for_runs([second])
    assert await facts(thread) == ["My budget is 80k."], "it is idempotent"

    await thread.say("My dog is called Rex.")
    assert await facts(thread) == ["My budget is 80k.", "My dog is called Rex."]
    [run] = (await thread.store.runs.list(thread.user_id, limit=1)).items
    assert run.as_of is None, "the next run goes on in the present"
    head = await rows(database, "SELECT head_run FROM memory.sessions")
    assert [row["head_run"] for row in head] == [thread.run_id]


async def test_what_was_written_later_stays_and_is_listed(thread: Thread) -> None:
    """2.4, 2.8: undo a run whose value somebody replaced since."""
    scope = ("users", thread.user_id, "facts")
    run = await thread.say("My budget is 80k.")
    await facts(thread)
    [fact] = await thread.store.asearch(scope)
    await thread.store.aput(scope, fact.key, {**fact.value, "content": "My budget is 90k."})
    settled = await thread.store.runs.undo(thread.user_id, run)
    assert [(c.namespace, c.key) for c in settled.of("left")] == [(scope, fact.key)]
    assert len(settled.of("removed")) == 2, "both turns"
    assert await facts(thread) == ["My budget is 90k."]


async def test_undo_and_redo_change_places_and_tell_what_they_change(thread: Thread) -> None:
    """2.8, 2.9, 7.8: a dry run tells the same, undoing twice changes nothing, redo brings back."""
    store, user_id = thread.store, thread.user_id
    await thread.say("My budget is 80k.")
    await facts(thread)
    run = await thread.say("My budget is 120k now.")
    before = await facts(thread), await known(store, user_id)

    told = await store.runs.undo(user_id, run, dry_run=True)
    assert (await facts(thread), await known(store, user_id)) == before
    settled = await store.runs.undo(user_id, run)
    assert settled == told
    assert {c.outcome for c in settled.changes} == {"removed", "restored"}
    assert await facts(thread) == ["My budget is 80k."]
    again = await store.runs.undo(user_id, run)
    assert {c.outcome for c in again.changes} == {"left"}

    told = await store.runs.redo(user_id, run, dry_run=True)
    assert await facts(thread) == ["My budget is 80k."]
    assert await store.runs.redo(user_id, run) == told
    assert (await facts(thread), await known(store, user_id)) == before
    assert (await store.sessions.turns(user_id, thread.thread_id)).items[0].run_id == run
    await thread.say("My dog is called Rex.")
    assert await facts(thread) == ["My budget is 120k now.", "My dog is called Rex."]
    assert await store.verify_audit() == []


async def test_what_was_said_elsewhere_too_is_still_known(thread: Thread) -> None:
    """6.7, trap 12: two threads say the same; one of them is undone."""
    other = Thread(thread.store, thread.checkpointer, thread.user_id)
    run = await thread.say("My budget is 80k.")
    await facts(thread)
    await other.say("My budget is 80k.")
    assert await facts(thread) == ["My budget is 80k."]
    await thread.store.runs.undo(thread.user_id, run)
    assert await facts(thread) == ["My budget is 80k."]
    [fact] = await thread.store.asearch(("users", thread.user_id, "facts"))
    assert [s["session_id"] for s in fact.value["sources"]] == [other.thread_id]


async def test_a_memory_that_was_forgotten_comes_back_through_no_door(thread: Thread) -> None:
    """1.15: forget, then undo and redo, and go back and forth."""
    await thread.say("My dog is called Rex.")
    second = await thread.say("My budget is 80k.")
    end = await thread.newest()
    await facts(thread)
    for item in await thread.store.asearch(("users", thread.user_id, "facts")):
        await thread.store.memories.forget(thread.user_id, (item.namespace, item.key))
    await thread.say("My cat is called Tom.", at=thread.before[second])
    await thread.say("My car is a Volvo.", at=end)
    await thread.store.runs.undo(thread.user_id, second)
    await thread.store.runs.redo(thread.user_id, second)
    assert await facts(thread) == ["My car is a Volvo."]


async def test_what_was_said_of_a_memory_comes_back_with_it_under_the_same_ids(
    thread: Thread, database: str
) -> None:
    """7.1: relationships, beliefs, goals and slugs."""
    store, user_id = thread.store, thread.user_id
    await thread.say("My dog is called Rex.")
    run = await thread.say("My budget is 80k.")
    await facts(thread)
    scope = ("users", user_id, "facts")
    first, second = sorted(
        await store.asearch(scope), key=lambda item: item.value["content"], reverse=True
    )
    held = await store.beliefs.hold(
        user_id,
        "Wants a cheap dog.",
        session_id="s",
        agent="assistant",
        about=[(scope, second.key)],
    )
    await store.relationships.relate(
        user_id, (scope, first.key), (scope, second.key), "about", strength=0.5
    )
    queries = (
        "SELECT id, source_id, target_id, type, strength FROM memory.memory_relationships "
        "ORDER BY id",
        "SELECT id, exchange, role FROM memory.turns ORDER BY id",
    )
    before = [await rows(database, query) for query in queries]
    await store.runs.undo(user_id, run)
    assert len(await rows(database, queries[0])) == len(before[0]) - 2
    await store.runs.redo(user_id, run)
    assert [await rows(database, query) for query in queries] == before
    assert (await store.beliefs.get(user_id, held.key)).confidence == 1


async def test_nobody_undoes_the_run_of_another(thread: Thread, user_id: str) -> None:
    """7.3: the run of another person is not there."""
    run = await thread.say("My dog is called Rex.")
    before = await facts(thread)
    stranger = str(uuid4())
    with acting_as(Principal.user(stranger)):
        with pytest.raises(AccessDenied):
            await thread.store.runs.undo(user_id, run)
        with pytest.raises(RunNotFound):
            await thread.store.runs.undo(stranger, run)
    assert await facts(thread) == before


async def test_a_thread_that_is_begun_anew_sets_nothing_aside(thread: Thread) -> None:
    """Delete a thread, and use its id again."""
    await thread.say("My dog is called Rex.")
    await thread.say("My budget is 80k.")
    await thread.checkpointer.adelete_thread(thread.thread_id)
    first = await thread.say("My cat is called Tom.")
    await thread.say("My car is a Volvo.")
    assert len(await facts(thread)) == 4
    await thread.say("My bike is a Brompton.", at=thread.before[first])
    assert await facts(thread) == [
        "My bike is a Brompton.",
        "My budget is 80k.",
        "My dog is called Rex.",
    ]


async def test_a_thread_without_a_checkpointer_sets_nothing_aside(thread: Thread) -> None:
    thread.graph = thread.graph.copy({"checkpointer": None})
    for text in ("My dog is called Rex.", "My budget is 80k.", "My cat is called Tom."):
        with_id = thread.config()
        del with_id["metadata"]
        with acting_as(Principal.user(thread.user_id)):
            await thread.graph.ainvoke({"messages": [HumanMessage(text)]}, with_id)
    assert len(await facts(thread)) == 3


SAYINGS = st.sampled_from(
    [f"My budget is {n}k now." for n in (80, 120, 100)]
    + [f"My {pet} is called {name}." for pet, name in (("dog", "Rex"), ("cat", "Tom"))]
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), SAYINGS),
        st.tuples(st.sampled_from(["edit", "go on at"]), st.integers(0, 9), SAYINGS),
        st.tuples(st.sampled_from(["undo", "redo", "roll back"]), st.integers(0, 9)),
    ),
    min_size=3,
    max_size=8,
)


@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
async def test_memory_is_what_a_replay_of_the_runs_that_count_would_have_given(
    store: MemoryManager, checkpointer: PostgresCheckpointer, steps: list[tuple[str, ...]]
) -> None:
    """Say, edit, go on elsewhere, undo, redo and roll back at random."""
    thread = Thread(store, checkpointer, str(uuid4()))
    spoken: dict[str, str] = {}
    ends: dict[str, str | None] = {}
    deleted: set[str] = set()
    for kind, *given_ in [("say", "My budget is 60k."), *steps]:
        run = [*spoken][int(given_[0]) % len(spoken)] if kind != "say" else ""
        if kind in ("undo", "redo"):
            await getattr(store.runs, kind)(thread.user_id, run)
        elif kind == "roll back":
            run = [*spoken][-1]
            await checkpointer.adelete_for_runs([run])
            deleted.add(run)
        else:
            at = {"say": None, "edit": thread.before.get(run), "go on at": ends.get(run)}[kind]
            if at and not await checkpointer.aget_tuple(thread.config(at)):
                continue  # its run was rolled back
            said = await thread.say(given_[-1], at=at)
            spoken[said], ends[said] = given_[-1], await thread.newest()
        await facts(thread)

    runs = (await store.runs.list(thread.user_id, limit=100)).items
    kept = [run.run_id for run in runs if run.status == "kept"]
    again = Thread(store, checkpointer, str(uuid4()))
    for run_id, text in spoken.items():
        if run_id in kept:
            await again.say(text)
            await facts(again)
    assert await known(store, thread.user_id) == await known(store, again.user_id)
