"""Memory as of a moment: what had been stored by then is read, by every read, and nothing else."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import IndexConfig

from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.pools import open_pool
from graphs.memory.errors import InvalidInput
from graphs.memory.moment import NOW, as_of
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.support.branching import Thread
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


async def moment(database: str) -> datetime:
    """Return the time of the database."""
    [row] = await rows(database, "SELECT clock_timestamp() AS now")
    now: datetime = row["now"]
    return now


KEYS = ("a", "b", "c")
CHANGES = st.lists(
    st.tuples(st.sampled_from(KEYS), st.one_of(st.none(), st.integers(0, 99))),
    min_size=1,
    max_size=8,
)


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=CHANGES)
async def test_every_moment_reads_as_it_was(
    store: MemoryManager, database: str, changes: Sequence[tuple[str, int | None]]
) -> None:
    """Compare reads of each moment with a copy of then. Runs delete, and nobody forgets."""
    user_id = str(uuid4())
    scope = ("users", user_id, "notes")
    known: dict[str, dict[str, object]] = {}
    copies = [(await moment(database), {**known})]
    for key, number in changes:
        value = None if number is None else {"content": f"Note {number}.", "n": number}
        if value is None:
            await rows(
                database,
                "SELECT set_config('memory.provenance', '{\"run_id\": \"r\"}', false);"
                "DELETE FROM memory.memories WHERE namespace = '"
                + ".".join(scope)
                + f".' AND key = '{key}'",
            )
            known.pop(key, None)
        else:
            await store.aput(scope, key, value)
            known[key] = value
        copies.append((await moment(database), {**known}))
    for at, copy in copies:
        with acting_as(Principal.user(user_id)), as_of(at):
            got = {key: await store.aget(scope, key) for key in KEYS}
            assert {key: item.value for key, item in got.items() if item} == copy
            listed = await store.asearch(scope)
            assert {item.key: item.value for item in listed} == copy
            found = await store.asearch(scope, query="note", limit=10)
            assert {item.key: item.value for item in found} == copy
            filtered = await store.asearch(scope, query="note", filter={"n": {"$gte": 50}})
            assert {i.key for i in filtered} == {
                k for k, v in copy.items() if int(str(v["n"])) >= 50
            }
            assert await store.alist_namespaces(prefix=scope) == ([scope] if copy else [])
    assert {i.key: i.value for i in await store.asearch(scope)} == known


async def test_an_earlier_version_is_found_by_its_vector_and_its_words(
    database: str, index: IndexConfig, user_id: str
) -> None:
    scope = ("users", user_id, "facts")
    hybrid = {**index, "ranking": "hybrid"}
    async with MemoryManager.from_conn_string(database, index=hybrid) as store:  # type: ignore[arg-type]
        await store.aput(scope, "pet", {"content": "Has a dog called Rex.", "type": "fact"})
        await store.aput(scope, "car", {"content": "Drives a Volvo.", "type": "fact"})
        at = await moment(database)
        await store.aput(scope, "pet", {"content": "Plays the violin.", "type": "fact"})
        with as_of(at):
            [best, *_] = await store.recall_memory(user_id, "Which animal?")
            assert best.content == "Has a dog called Rex."
            [best, *_] = await store.recall_memory(user_id, "Rex")
            assert best.content == "Has a dog called Rex."
        assert "Rex" not in str(await store.recall_memory(user_id, "Rex"))
        await store.access.finish()
        await store._recalls.finish()
        receipts = await store.recall_receipts(user_id)
        assert [receipt.as_of for receipt in receipts] == [None, at, at]


async def test_what_a_person_forgot_has_no_past(
    store: MemoryManager, database: str, user_id: str
) -> None:
    scope = ("users", user_id, "facts")
    await store.aput(scope, "pet", {"content": "Has a dog.", "type": "fact"})
    first = await moment(database)
    await store.aput(scope, "pet", {"content": "Has a cat.", "type": "fact"})
    second = await moment(database)
    await store.memories.forget(user_id, (scope, "pet"))
    await store.aput(scope, "pet", {"content": "Has a bird.", "type": "fact"})
    for at in (first, second):
        with as_of(at):
            assert await store.asearch(scope) == []
            assert await store.aget(scope, "pet") is None
            assert await store.recall_memory(user_id, "dog") == []


async def test_rights_are_todays(store: MemoryManager, database: str, user_id: str) -> None:
    scope = ("users", user_id, "facts")
    await store.aput(scope, "pet", {"content": "Has a dog."})
    at = await moment(database)
    await store.aput(scope, "pet", {"content": "Has a cat."})
    with acting_as(Principal.user(str(uuid4()))), as_of(at):
        assert await store.asearch(("users",)) == []
        assert await store.aget(scope, "pet") is None


@pytest.mark.parametrize(
    "wrong",
    [datetime(2026, 1, 1), datetime.now(UTC) + timedelta(days=1), "x"],  # noqa: DTZ001
)
async def test_a_moment_that_cannot_be_read_is_refused(wrong: datetime) -> None:
    with pytest.raises(InvalidInput, match="as_of"), as_of(wrong):
        pass


async def test_beliefs_relationships_and_turns_have_a_past(
    store: MemoryManager, database: str, user_id: str
) -> None:
    scope = ("users", user_id, "facts")
    for key in ("a", "b"):
        await store.aput(scope, key, {"content": f"Fact {key}.", "type": "fact"})
    a, b = (scope, "a"), (scope, "b")
    held = await store.beliefs.hold(
        user_id, "Wants a dog.", session_id="s", agent="x", confidence=0.4, about=[a]
    )
    await store.relationships.relate(user_id, a, b, "causes", strength=0.5)
    at = await moment(database)
    await store.beliefs.set_confidence(user_id, held.key, 0.9)
    await store.relationships.relate(user_id, a, b, "causes", strength=0.7)
    assert (await store.beliefs.get(user_id, held.key)).confidence == 0.9
    with as_of(at):
        assert (await store.beliefs.get(user_id, held.key)).confidence == 0.4
        edges = await store.relationships.of(user_id, a, types=["causes"])
        assert [edge.strength for edge in edges] == [0.5]
    edges = await store.relationships.of(user_id, a, types=["causes"])
    assert [edge.strength for edge in edges] == [0.7]


# Forks --------------------------------------------------------------------------------------------


async def facts(thread: Thread) -> None:
    await thread.store.jobs.run_pending()


def read_by(thread: Thread) -> str:
    return str(thread.state["memory"]["memories"])


async def test_a_fork_knows_what_the_run_that_went_on_from_there_knew(thread: Thread) -> None:
    """1.1, 1.3, 1.7, 1.8: edit a message, and go on; ask for the present."""
    await thread.say("My budget is 80k.")
    await facts(thread)
    second = await thread.say("Hello.")
    await thread.say("My budget is 120k now.")
    other = Thread(thread.store, thread.checkpointer, thread.user_id)
    await other.say("My dog is called Rex.")
    await facts(thread)

    await thread.say("What is my budget?", at=thread.before[second])
    assert "80k" in read_by(thread)
    assert "120k" not in read_by(thread)
    assert "Rex" not in read_by(thread)
    await thread.say("And my dog?")
    assert "Rex" in read_by(thread), "the second run of a fork reads the present"
    with as_of(NOW):
        await thread.say("What is my dog called?", at=thread.before[second])
    assert "Rex" in read_by(thread)


async def test_a_run_that_names_the_newest_checkpoint_reads_the_present(thread: Thread) -> None:
    """1.2, 1.11, 1.14: chat clients name the newest checkpoint with each message."""
    await thread.say("My budget is 80k.")
    await facts(thread)
    await thread.say("My budget is 120k now.", at=await thread.newest())
    await facts(thread)
    await thread.say("What is my budget?", at=await thread.newest())
    assert "120k" in read_by(thread)
    assert (await thread.store.runs.get(thread.user_id, thread.run_id)).as_of is None


async def test_a_fork_without_an_id_and_a_copied_checkpoint_read_the_past(thread: Thread) -> None:
    """1.5, 1.6, 1.10: `update_state` on an old checkpoint, then a message; and `__copy__`."""
    first = await thread.say("My budget is 80k.")
    await facts(thread)
    end = await thread.newest()
    await thread.say("My budget is 120k now.")
    await facts(thread)
    assert end
    await thread.graph.aupdate_state(thread.config(end), {"messages": []}, as_node="write_memory")
    await thread.say("What is my budget?")
    assert "80k" in read_by(thread)
    assert "120k" not in read_by(thread)
    assert first
