"""Shadow comparisons: the results of another ranking or service are recorded, and never shown."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig

from graphs.deployment.pools import open_pool
from graphs.memory.errors import DeliveryFailed
from graphs.memory.jobs.tasks import Timing
from graphs.memory.outbox.adapter import Outbound, Pseudonym, SwitchedAdapter
from graphs.memory.outbox.shadow import MOST_WAITING, overlap, rank_correlation
from graphs.memory.principal import Principal, acting_as
from graphs.memory.redaction.redactor import RedactedText
from graphs.memory.search.ranking import Weights
from graphs.memory_manager import MemoryManager
from tests.integration.test_deliveries import fact
from tests.support.adapters import KEY, Notebook
from tests.support.sql import rows


@pytest.fixture
def user_id() -> str:
    return str(uuid4())


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
async def shadowed(
    database: str, index: IndexConfig, notebook: Notebook
) -> AsyncIterator[MemoryManager]:
    """Yield a store with hybrid ranking, and with a service and another ranking as shadows."""
    hybrid: IndexConfig = {**index, "ranking": "hybrid"}  # type: ignore[typeddict-unknown-key]
    async with (
        open_pool(database) as pool,
        MemoryManager(
            pool,
            index=hybrid,
            principal=Principal.service(),
            timing=Timing(backoff=0),
            outbound=Outbound([SwitchedAdapter(notebook, "shadow")], KEY),
            shadow_weights=Weights(relevance=0.0, recency=0.0, importance=1.0),
        ) as store,
    ):
        yield store


async def remember(store: MemoryManager, user_id: str) -> None:
    for text, importance in (
        ("The dog is called Rex.", 0.1),
        ("Likes green tea.", 0.2),
        ("The car is blue.", 0.9),
    ):
        await store.write_memory(user_id, "s1", {**fact(user_id, text), "importance": importance})
    await store.jobs.run_pending()


async def test_recalls_are_compared_with_a_service_and_with_another_ranking(
    shadowed: MemoryManager, database: str, notebook: Notebook, user_id: str
) -> None:
    await remember(shadowed, user_id)
    copies = await rows(database, "SELECT * FROM memory.external_copies ORDER BY external_id")
    notebook.finds = [copies[0]["external_id"], "something else", copies[1]["external_id"]]
    answered = await shadowed.recall_memory(user_id, "What is the dog called?", limit=3)
    await shadowed.shadow.finish()

    assert answered[0].content == "The dog is called Rex."
    compared = {
        row["candidate"]: row
        for row in await rows(database, "SELECT * FROM memory.shadow_comparisons")
    }
    assert compared.keys() == {"notebook", "ranking"}
    assert compared["notebook"]["theirs"] == [
        [copies[0]["namespace"], copies[0]["key"]],
        None,
        [copies[1]["namespace"], copies[1]["key"]],
    ]
    assert compared["notebook"]["overlap"] == pytest.approx(2 / 3)
    important = await key_of(shadowed, user_id, "The car is blue.")
    assert compared["ranking"]["theirs"][0] == [f"users.{user_id}.facts.", important]
    assert compared["ranking"]["overlap"] == 1.0
    for row in compared.values():
        assert row["ours"] == [[f"users.{user_id}.facts.", memory.key] for memory in answered]
        assert "dog" not in str(row)
    summary = {each.candidate: each for each in await shadowed.shadow.summary()}
    assert (
        summary["ranking"].comparisons,
        summary["ranking"].different,
        summary["ranking"].failures,
    ) == (1, 1, 0)
    assert summary["notebook"].overlap == pytest.approx(2 / 3)


async def key_of(store: MemoryManager, user_id: str, text: str) -> str:
    return next(
        i.key
        for i in await store.asearch(("users", user_id, "facts"))
        if i.value["content"] == text
    )


async def test_a_service_in_the_shadow_is_asked_in_redacted_words(
    shadowed: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    await remember(shadowed, user_id)
    with acting_as(Principal.user(user_id)):
        await shadowed.load_context(user_id, "s1", query="Who is ann@example.com?")
    await shadowed.shadow.finish()
    assert [query for _, query in notebook.asked] == ["Who is <email_1>?"]
    assert user_id not in notebook.asked[0][0]


async def test_an_answer_is_the_same_and_does_not_wait_whatever_its_shadow_does(
    shadowed: MemoryManager,
    store: MemoryManager,
    notebook: Notebook,
    user_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await remember(shadowed, user_id)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def hangs(user: Pseudonym, query: RedactedText, limit: int) -> list[str]:
        asked.set()
        await answer.wait()
        return []

    monkeypatch.setattr(notebook, "search", hangs)
    found = [await shadowed.recall_memory(user_id, "dog") for _ in range(MOST_WAITING + 5)]
    await asked.wait()
    assert {tuple(m.content for m in each) for each in found} == {
        tuple(m.content for m in found[0])
    }
    answer.set()
    await shadowed.shadow.finish()
    summary = {each.candidate: each.comparisons for each in await shadowed.shadow.summary()}
    assert summary["notebook"] + summary["ranking"] < 2 * len(found), (
        "comparisons are dropped while too many wait"
    )


async def test_a_service_that_fails_in_the_shadow_is_counted(
    shadowed: MemoryManager, notebook: Notebook, user_id: str
) -> None:
    await remember(shadowed, user_id)
    notebook.failures = [DeliveryFailed("down")]
    assert await shadowed.recall_memory(user_id, "dog")
    await shadowed.shadow.finish()
    summary = {each.candidate: each for each in await shadowed.shadow.summary()}
    assert (summary["notebook"].failures, summary["notebook"].overlap) == (1, None)


async def test_without_a_shadow_nothing_is_compared(
    store: MemoryManager, database: str, user_id: str
) -> None:
    await store.write_memory(user_id, "s1", fact(user_id, "The dog is called Rex."))
    await store.recall_memory(user_id, "dog")
    await store.shadow.finish()
    assert await rows(database, "SELECT * FROM memory.shadow_comparisons") == []


A, B, C, D = (("users.u.", key) for key in "abcd")


def test_overlap_and_correlation_are_what_they_are_called() -> None:
    assert overlap([A, B], [B, None, C]) == 0.5
    assert overlap([], [A]) is None
    assert rank_correlation([A, B, C], [A, B, C]) == 1
    assert rank_correlation([A, B, C], [C, None, B, A]) == -1
    assert rank_correlation([A, B, C, D], [B, A, C, D]) == pytest.approx(0.8)
    assert rank_correlation([A, B], [B, C, D]) is None
