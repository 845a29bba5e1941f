"""Concurrent writes: expected versions, races, and the vectors that a batch leaves."""

import asyncio
from typing import Any

import psycopg
import pytest
from langgraph.store.base import Item, PutOp, SearchOp

from graphs.memory.database.transaction import Transaction
from graphs.memory.errors import EmbeddingFailed, InvalidInput, OutcomeUnknown, VersionConflict
from graphs.memory.store.items import ExpectingPutOp
from graphs.memory_manager import MemoryManager
from tests.support.sql import rows

NS = ("users", "u1", "notes")

# Expected versions --------------------------------------------------------------------------------


async def test_of_two_who_read_the_same_version_one_is_told(store: MemoryManager) -> None:
    await store.aput(NS, "k", {"n": 1})
    item = await store.aget(NS, "k")
    assert item is not None

    outcomes = await asyncio.gather(
        *(store.aput(NS, "k", {"n": n}, expected=item.updated_at) for n in (2, 3)),
        return_exceptions=True,
    )

    (conflict,) = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(conflict, VersionConflict)
    assert (conflict.namespace, conflict.key) == (NS, "k")
    with pytest.raises(VersionConflict):
        await store.aput(NS, "k", {"n": 4}, expected=item.updated_at)
    with pytest.raises(VersionConflict):
        await store.aput(NS, "k", {"n": 5}, expected=None)


async def test_of_many_who_expect_nothing_one_is_first(store: MemoryManager) -> None:
    outcomes = await asyncio.gather(
        *(store.aput(NS, "new", {"n": n}, expected=None) for n in range(8)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 1


async def test_a_conflict_stores_nothing_of_its_batch(store: MemoryManager) -> None:
    await store.aput(NS, "k", {"n": 1})
    with pytest.raises(VersionConflict):
        await store.abatch([PutOp(NS, "other", {}), ExpectingPutOp(PutOp(NS, "k", {"n": 2}), None)])
    assert await store.aget(NS, "other") is None


async def test_of_two_writes_to_an_address_in_a_batch_the_first_ones_expectation_holds(
    store: MemoryManager,
) -> None:
    await store.aput(("n",), "k", {"n": 1})
    version = (await item_of(store, "k")).updated_at
    first, last = PutOp(("n",), "k", {"n": 2}), PutOp(("n",), "k", {"n": 3})
    with pytest.raises(VersionConflict):
        await store.abatch([ExpectingPutOp(first, None), last])
    assert (await item_of(store, "k")).value == {"n": 1}
    await store.abatch([ExpectingPutOp(first, version), last])
    assert (await item_of(store, "k")).value == {"n": 3}


async def test_spans_of_the_history_follow_one_another_where_a_deletion_meets_an_insert(
    store: MemoryManager, database: str
) -> None:
    """An insert may begin before the deletion that it waits for, or that it comes after."""
    text = "INSERT INTO memory.memories (namespace, key, value) VALUES ('n.', %s, '{}')"
    merged = f"{text} ON CONFLICT (namespace, key) DO UPDATE SET value = '{{\"n\": 1}}'"
    async with (
        await psycopg.AsyncConnection.connect(database) as first,
        await psycopg.AsyncConnection.connect(database) as second,
    ):
        for key, statement in (("after", text), ("waits", merged)):
            await store.aput(("n",), key, {"n": 0})
            await first.execute("SELECT now()")
            await second.execute("DELETE FROM memory.memories WHERE key = %s", [key])
            inserting = asyncio.create_task(first.execute(statement, [key]))
            await asyncio.sleep(0.05)
            await second.commit()
            await inserting
            await first.commit()
            await store.aput(("n",), key, {"n": 2}, expected=(await item_of(store, key)).updated_at)
            await store.adelete(("n",), key)
    spans = await rows(
        database,
        "SELECT valid_from, valid_to, lag(valid_to) OVER (PARTITION BY key ORDER BY id) AS before"
        " FROM memory.memory_history",
    )
    assert len(spans) == 6
    assert all(row["before"] is None or row["before"] <= row["valid_from"] for row in spans)
    assert all(row["valid_from"] <= row["valid_to"] for row in spans)
    await store.aput(("n",), "new", {}, expected=None)


async def item_of(store: MemoryManager, key: str) -> Item:
    item = await store.aget(("n",), key)
    assert item is not None
    return item


async def test_a_version_only_grows(store: MemoryManager) -> None:
    await store.aput(NS, "k", {"n": 0})
    versions = []
    for n in range(5):
        await store.aput(NS, "k", {"n": n})
        item = await store.aget(NS, "k")
        assert item is not None
        versions.append(item.updated_at)
    assert versions == sorted(set(versions))


async def test_a_version_grows_though_the_clock_goes_back(
    store: MemoryManager, database: str
) -> None:
    """Put an item whose version the clock has not reached, and twice in one transaction."""
    await store.aput(("n",), "k", {"n": 0})
    await rows(database, "UPDATE memory.memories SET updated_at = now() + interval '1 hour'")
    before = await item_of(store, "k")
    for n in (1, 2):
        await store.aput(("n",), "k", {"n": n}, expected=before.updated_at)
        after = await item_of(store, "k")
        assert after.updated_at > before.updated_at
        with pytest.raises(VersionConflict):
            await store.aput(("n",), "k", {"n": -1}, expected=before.updated_at)
        before = after
    async with await psycopg.AsyncConnection.connect(database) as conn:
        versions = [
            (await (await conn.execute(statement)).fetchone() or (None,))[0]
            for statement in 2
            * ("UPDATE memory.memories SET value = '{}' WHERE key = 'k' RETURNING updated_at",)
        ]
    assert before.updated_at < versions[0] < versions[1]


async def test_the_same_statement_twice_in_a_round_trip_is_prepared_once(
    store: MemoryManager, caplog: pytest.LogCaptureFixture
) -> None:
    await store.abatch(
        [SearchOp(NS), SearchOp(NS, query="x"), SearchOp(NS), SearchOp(NS, query="y")]
    )
    assert "tried again" not in caplog.text


async def test_a_new_schema_under_open_connections_is_no_failure(
    store: MemoryManager, database: str
) -> None:
    """Change a column's type, which changes the results of prepared statements."""
    await store.aput(NS, "k", {"n": 1})
    await store.aget(NS, "k")
    await rows(
        database,
        "DROP VIEW memory.memories_then; "  # which keeps the type
        "ALTER TABLE memory.memories ALTER COLUMN created_at TYPE timestamp",
    )
    assert await store.aget(NS, "k") is not None


async def test_an_item_that_came_in_between_is_not_overwritten_by_who_expected_none(
    store: MemoryManager, database: str
) -> None:
    """Insert without an expected version, which takes no lock on the address."""
    async with await psycopg.AsyncConnection.connect(database) as other:
        await other.execute(
            "INSERT INTO memory.memories (namespace, key, value) "
            "VALUES ('users.u1.notes.', 'k', '{}')"
        )
        expecting = asyncio.create_task(store.aput(NS, "k", {"n": 2}, expected=None))
        await asyncio.sleep(0.3)
        await other.commit()
        with pytest.raises(VersionConflict):
            await expecting
    item = await store.aget(NS, "k")
    assert item is not None
    assert item.value == {}


async def test_a_batch_forgets_the_vectors_of_whoever_it_had_to_wait_for(
    store: MemoryManager, database: str
) -> None:
    await store.aput(NS, "k0", {"parts": ["one"]}, index=["parts[*]"])
    async with await psycopg.AsyncConnection.connect(database) as other:
        await other.execute("UPDATE memory.memories SET value = '{}' WHERE key = 'k0'")
        await other.execute(
            """INSERT INTO memory.memory_embeddings
              (namespace, key, field, model, memory_id, embedding)
            SELECT namespace, key, 'parts[*].7', model, memory_id, embedding
            FROM memory.memory_embeddings"""
        )
        batch = [PutOp(NS, f"k{n}", {"parts": ["two"]}, index=["parts[*]"]) for n in range(2)]
        waiting = asyncio.create_task(store.abatch(batch))
        await asyncio.sleep(0.3)
        await other.commit()
        await waiting
    fields = await rows(database, "SELECT key, field FROM memory.memory_embeddings ORDER BY key")
    assert [(row["key"], row["field"]) for row in fields] == [
        ("k0", "parts[*]"),
        ("k1", "parts[*]"),
    ]


async def test_an_address_with_spaces_is_named_in_a_conflict(store: MemoryManager) -> None:
    await store.aput(("my notes", "x"), "k 1", {})
    with pytest.raises(VersionConflict) as conflict:
        await store.aput(("my notes", "x"), "k 1", {}, expected=None)
    assert (conflict.value.namespace, conflict.value.key) == (("my notes", "x"), "k 1")


@pytest.mark.parametrize("text", ["u1\0x", "\ud800"])
async def test_a_text_that_would_be_cut_off_is_refused_and_costs_no_connection(
    store: MemoryManager, text: str
) -> None:
    for call in (
        store.log_event(text, "login", {}),
        store.decay_memory(text, 30),
        store.recall_receipts(text),
    ):
        with pytest.raises(InvalidInput):
            await call
    await store.aput(NS, "k", {})


@pytest.mark.parametrize("importance", [1e-50, -5, 1e300, "high", None, True])
async def test_any_importance_can_be_stored(store: MemoryManager, importance: object) -> None:
    await store.aput(NS, "k", {"importance": importance})


async def test_any_page_can_be_asked_for(store: MemoryManager) -> None:
    await store.aput(NS, "k", {"text": "robot"})
    assert len(await store.asearch(NS, query="robot", limit=2**62)) == 1
    assert await store.asearch(NS, query="robot", limit=0) == []


# Writes that wait for their vectors ---------------------------------------------------------------


class SlowEmbedder:
    """An embedder that records batches, is slow with the first, and refuses texts with `bad`."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def __call__(self, texts: list[str]) -> list[list[float]]:
        self.asked.append(texts)
        await asyncio.sleep(0.1 if len(self.asked) == 1 else 0)
        if any("bad" in text for text in texts):
            raise ValueError("a text that the model refuses")
        return [[1.0, 0.0] for _ in texts]


async def test_writes_that_nobody_waits_for_keep_their_order_whatever_is_embedded(
    empty_database: str,
) -> None:
    index: Any = {"dims": 2, "embed": SlowEmbedder(), "fields": ["text"], "model": "slow"}
    async with MemoryManager.from_conn_string(empty_database, index=index) as store:
        await store.setup()
        writes = []
        for write in (
            store.aput(NS, "replaced", {"text": "first"}),
            store.aput(NS, "deleted", {"text": "first"}),
            store.aput(NS, "replaced", {"text": "second"}),
            store.adelete(NS, "deleted"),
            store.aput(NS, "unembedded", {"text": "first"}),
            store.aput(NS, "unembedded", {"text": "second"}, index=False),
        ):
            writes.append(asyncio.create_task(write))
            await asyncio.sleep(0.005)
        await asyncio.gather(*writes)

        found = {item.key: item.value["text"] for item in await store.asearch(NS)}
        assert found == {"replaced": "second", "unembedded": "second"}
        assert [item.key for item in await store.asearch(NS, query="x")] == ["replaced"]


async def test_concurrent_puts_are_embedded_in_one_batch_and_a_refused_text_fails_alone(
    empty_database: str,
) -> None:
    embedder = SlowEmbedder()
    index: Any = {"dims": 2, "embed": embedder, "fields": ["text"], "model": "slow"}
    async with MemoryManager.from_conn_string(empty_database, index=index) as store:
        await store.setup()
        await asyncio.gather(*(store.aput(NS, f"k{n}", {"text": f"text {n}"}) for n in range(20)))
        assert [len(texts) for texts in embedder.asked] == [20]

        texts = ["fine", "bad", "fine, too"]
        answers = await asyncio.gather(
            *(store.aput(NS, text, {"text": text}) for text in texts), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [type(None), EmbeddingFailed, type(None)]
        assert await store.aget(NS, "bad") is None


@pytest.mark.parametrize("group", [1, 3])
async def test_a_conditional_write_whose_answer_was_lost_is_not_told_to_be_a_conflict(
    store: MemoryManager, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    """Break the connection after the commit: the write finds itself when it is tried again."""
    await store.aput(NS, "k", {"n": 1})
    read = await store.aget(NS, "k")
    assert read
    run = Transaction.run
    lost: list[Transaction] = []

    async def losing(self: Transaction, *given: Any) -> list[Any]:
        answers = await run(self, *given)
        if not lost:
            lost.append(self)
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return answers

    monkeypatch.setattr(Transaction, "run", losing)
    others = [store.aput(NS, f"other {n}", {"n": n}) for n in range(group - 1)]
    writing = store.aput(NS, "k", {"n": 2}, expected=read.updated_at)
    [told, *_] = await asyncio.gather(writing, *others, return_exceptions=True)

    assert isinstance(told, OutcomeUnknown), told
    assert (await store.aget(NS, "k")).value == {"n": 2}  # type: ignore[union-attr]
    with pytest.raises(VersionConflict):  # the answer of another write was not lost
        await store.aput(NS, "k", {"n": 3}, expected=read.updated_at)
