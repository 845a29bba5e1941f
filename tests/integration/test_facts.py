"""Fact extraction: by a job, linked to the source turns, and consolidated."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig

from graphs.deployment.pools import open_pool
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.errors import JudgementFailed, VersionConflict
from graphs.memory.facts.consolidation import Fact
from graphs.memory.principal import Principal
from graphs.memory_manager import MemoryManager
from tests.integration.test_memory import turn
from tests.support.sql import cut_connections, rows, set_unusual_formats


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


async def test_what_a_user_states_becomes_facts_that_name_their_turns(
    store: MemoryManager, user_id: str
) -> None:
    await store.write_memory(
        user_id, "s1", turn(user_id, "My budget is 80k. What is yours?", "None.", "m1")
    )
    await store.write_memory(user_id, "s1", turn(user_id, "My dog is called Rex.", "Nice.", "m2"))
    assert await store.recall_memory(user_id, "budget") == []

    await store.jobs.run_pending()
    found = {
        item.value["content"]: item.value
        for item in await store.asearch(("users", user_id, "facts"))
    }
    assert {text: value["sources"] for text, value in found.items()} == {
        "My budget is 80k.": [{"session_id": "s1", "exchange": "m1"}],
        "My dog is called Rex.": [{"session_id": "s1", "exchange": "m2"}],
    }


@pytest.fixture
def said(store: MemoryManager, user_id: str) -> Callable[..., Awaitable[None]]:
    """Return a function that says something in a session, minutes after its start, and extracts."""
    begin = datetime(2026, 3, 2, 9, tzinfo=UTC)
    numbers = count()

    async def say(*texts: str, minutes: float | None = None, session: str = "s1") -> None:
        for text in texts:
            n = next(numbers)
            at = begin + timedelta(minutes=n if minutes is None else minutes)
            await store.write_memory(
                user_id,
                session,
                turn(user_id, text, None, f"m{n}", session_id=session, timestamp=at.isoformat()),
            )
        await store.jobs.run_pending()

    return say


async def facts(store: MemoryManager, user_id: str) -> dict[str, dict[str, Any]]:
    return {
        item.value["content"]: item.value
        for item in await store.asearch(("users", user_id, "facts"), limit=100)
    }


async def test_facts_are_made_whatever_formats_of_text_the_database_has(
    database: str, store: MemoryManager, user_id: str, said: Callable[..., Awaitable[None]]
) -> None:
    await set_unusual_formats(database)
    await cut_connections(database)
    for text in ("My budget is 80k.", "My budget is 90k now."):
        await said(text)
        assert [*await facts(store, user_id)] == [text]
    assert await past(database, user_id) == ["My budget is 80k."]
    [fact] = await store.asearch(("users", user_id, "facts"))
    await store.aput(fact.namespace, fact.key, fact.value, expected=fact.updated_at)
    assert await store.jobs.list(status="failed") == []
    health = await store.health.check()
    assert (health.parts["database"].status, health.parts["audit"].status) == ("ok", "ok")


async def past(database: str, user_id: str) -> list[str]:
    """Return the texts in the history, oldest first."""
    found = await rows(
        database,
        "SELECT value FROM memory.memory_history "
        "WHERE user_id = %s AND namespace LIKE '%%facts.' ORDER BY id",
        user_id,
    )
    return [row["value"]["content"] for row in found]


async def test_a_changed_fact_takes_the_place_of_the_old_one_which_stays_in_history(
    store: MemoryManager, database: str, user_id: str, said: Callable[..., Awaitable[None]]
) -> None:
    await said("My budget is 80k.", "My brother's budget is 50k.")
    [before] = [
        i
        for i in await store.asearch(("users", user_id, "facts"))
        if "My budget" in i.value["content"]
    ]
    await said("My budget is now 120k.", session="s2")

    assert set(await facts(store, user_id)) == {
        "My budget is now 120k.",
        "My brother's budget is 50k.",
    }
    [recalled, *_] = await store.recall_memory(user_id, "what is my budget?")
    assert (recalled.content, recalled.key) == ("My budget is now 120k.", before.key)
    assert await past(database, user_id) == ["My budget is 80k."]
    [version] = await rows(
        database,
        "SELECT valid_from, valid_to FROM memory.memory_history WHERE value ->> 'type' = 'fact'",
    )
    assert version["valid_from"] == before.created_at < version["valid_to"]


async def test_what_changes_twice_within_one_reading_is_all_in_history(
    store: MemoryManager, database: str, user_id: str, said: Callable[..., Awaitable[None]]
) -> None:
    await said("My budget is 80k.", "My budget is now 100k.", "My budget is now 120k.")
    assert set(await facts(store, user_id)) == {"My budget is now 120k."}
    assert await past(database, user_id) == ["My budget is 80k.", "My budget is now 100k."]


async def test_a_fact_said_again_gains_a_source_and_never_deletes(
    store: MemoryManager, user_id: str, said: Callable[..., Awaitable[None]]
) -> None:
    await said("My budget is 80k.")
    await said("my budget is 80,000", session="s2")
    [fact] = (await facts(store, user_id)).values()
    assert fact["content"] == "My budget is 80k."
    assert fact["sources"] == [
        {"session_id": "s1", "exchange": "m0"},
        {"session_id": "s2", "exchange": "m1"},
    ]


async def test_an_old_conversation_read_late_does_not_undo_what_is_newer(
    store: MemoryManager, database: str, user_id: str, said: Callable[..., Awaitable[None]]
) -> None:
    await said("My budget is 120k.", minutes=600)
    await said("My budget is 80k.", minutes=5, session="imported")
    assert set(await facts(store, user_id)) == {"My budget is 120k."}
    assert await past(database, user_id) == ["My budget is 80k."]


async def test_back_and_forth_ends_in_what_was_said_last(
    store: MemoryManager, user_id: str, said: Callable[..., Awaitable[None]]
) -> None:
    for text in ("My budget is 80k.", "My budget is 120k.", "My budget is 80k."):
        await said(text)
    assert set(await facts(store, user_id)) == {"My budget is 80k."}


async def test_a_conversation_of_ten_turns_leaves_true_facts_that_name_their_turns(
    store: MemoryManager, user_id: str, said: Callable[..., Awaitable[None]]
) -> None:
    await said(
        "Hello! My name is Ada.",
        "I live in Lyon and I work at Acme.",
        "My budget is 80k for a welding robot.",
        "My brother's name is Tom.",
        "What can you tell me about welding?",
        "I like tea.",
        "I like coffee, too.",
        "Actually, my budget is 120k for a welding robot.",
        "I moved to Berlin last week.",
        "In 2019 I lived in Rome.",
    )
    found = await facts(store, user_id)
    assert {source["exchange"] for value in found.values() for source in value["sources"]} <= {
        f"m{n}" for n in range(10)
    }
    texts = " | ".join(found)
    assert "120k" in texts
    assert "80k" not in texts
    assert "Berlin" in texts
    assert "Lyon" not in texts or "Acme" in texts
    assert {
        "I like tea.",
        "I like coffee, too.",
        "My brother's name is Tom.",
        "In 2019 I lived in Rome.",
    } <= set(found)


class Judge:
    """A judge that returns the same ruling for every fact, or fails."""

    def __init__(self, ruling: str | None) -> None:
        self.ruling = ruling
        self.asked: list[tuple[str, list[str]]] = []

    async def judge(self, new: Fact, candidates: Sequence[Fact]) -> dict[str, Any]:
        self.asked.append((new.content, [fact.content for fact in candidates]))
        if self.ruling is None:
            raise JudgementFailed("refused")
        return {fact.key: self.ruling for fact in candidates}


@pytest.mark.parametrize(
    ("ruling", "left"), [("supersedes", 1), ("duplicate", 1), ("compatible", 2), (None, 2)]
)
async def test_what_rules_leave_open_a_judge_decides_and_without_one_nothing_changes(
    database: str,
    index: IndexConfig,
    extractor: Mem0Extractor,
    user_id: str,
    ruling: str | None,
    left: int,
) -> None:
    judge = Judge(ruling)
    async with open_pool(database) as pool:
        options: Any = {
            "principal": Principal.service(),
            "extractor": extractor,
            "extract_after": 0,
            "judge": judge,
        }
        async with MemoryManager(pool, index=index, **options) as store:
            for n, text in enumerate(
                (
                    "I think our delivery should come in spring.",
                    "I think our delivery should come in autumn.",
                )
            ):
                await store.write_memory(user_id, "s1", turn(user_id, text, None, f"m{n}"))
                await store.jobs.run_pending()
            assert len(judge.asked) == 1
            assert len(await facts(store, user_id)) == left
    events = await rows(
        database, "SELECT data FROM memory.audit_logs WHERE action = 'facts.extracted' ORDER BY id"
    )
    assert ("unjudged" in events[-1]["data"]) == (ruling is None)


async def test_a_fact_that_its_owner_changed_meanwhile_is_not_overwritten(
    store: MemoryManager, database: str, user_id: str, said: Callable[..., Awaitable[None]]
) -> None:
    await said("My budget is 80k.")
    [item] = await store.asearch(("users", user_id, "facts"))
    near = store._extraction._near  # type: ignore[union-attr]

    async def changed_meanwhile(*arguments: Any) -> Any:
        found = await near(*arguments)
        await store.aput(item.namespace, item.key, {**item.value, "content": "My budget is 90k."})
        return found

    store._extraction._near = changed_meanwhile  # type: ignore[union-attr,method-assign]
    await store.write_memory(
        user_id, "s2", turn(user_id, "My budget is 120k.", None, "m9", session_id="s2")
    )
    with pytest.raises(VersionConflict):
        await store.extract_facts(user_id, "s2")
    assert set(await facts(store, user_id)) == {"My budget is 90k."}


async def test_a_fact_that_two_sessions_tell_at_once_keeps_both_as_sources(
    store: MemoryManager, user_id: str
) -> None:
    compare, both = store._extraction._compare, asyncio.Barrier(2)  # type: ignore[union-attr]

    async def meeting(*arguments: Any) -> Any:
        changes = await compare(*arguments)
        await both.wait()
        return changes

    store._extraction._compare = meeting  # type: ignore[union-attr,method-assign]
    for session in ("s1", "s2"):
        await store.write_memory(
            user_id, session, turn(user_id, "My budget is 80k.", session_id=session)
        )
    work = [store.extract_facts(user_id, session) for session in ("s1", "s2")]
    failed = [
        error
        for error in await asyncio.gather(*work, return_exceptions=True)
        if isinstance(error, Exception)
    ]
    assert [type(error) for error in failed] == [VersionConflict]

    store._extraction._compare = compare  # type: ignore[union-attr,method-assign]
    await store.jobs.run_pending()
    [fact] = (await facts(store, user_id)).values()
    assert {source["session_id"] for source in fact["sources"]} == {"s1", "s2"}
