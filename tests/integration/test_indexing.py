"""The vector index is filled after the writes; searches are right before, during and after."""

from typing import Any

import numpy as np
import psycopg
import pytest
from langgraph.store.base import IndexConfig, PutOp
from psycopg.types.json import Jsonb

from graphs.memory_manager import MemoryManager
from tests.support.sql import rows

NS = ("users", "u1", "notes")
ANN = "a0000000-0000-4000-8000-00000000000a"
DIMENSIONS = 8

PENDING = "SELECT count(*) AS n FROM memory.memory_embeddings WHERE NOT indexed"


async def embed(texts: list[str]) -> list[list[float]]:
    """Return a direction for each text, always the same one."""
    return [
        np.random.default_rng(int(text.split()[0])).normal(size=DIMENSIONS).tolist()
        for text in texts
    ]


INDEX: Any = {"dims": DIMENSIONS, "embed": embed, "fields": ["text"], "model": "directions"}


def true_best(query: str, count: int, limit: int) -> list[str]:
    vectors = np.asarray([np.random.default_rng(n).normal(size=DIMENSIONS) for n in range(count)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        f"k{n}"
        for n in np.argsort(-(vectors @ np.random.default_rng(int(query)).normal(size=DIMENSIONS)))[
            :limit
        ]
    ]


async def test_a_wide_scope_is_answered_from_the_index_and_from_what_waits(
    empty_database: str,
) -> None:
    """Use six thousand vectors: some indexed, some waiting, one expired, one of many fields."""
    async with MemoryManager.from_conn_string(empty_database, index=INDEX) as store:
        await store.setup()
        puts = [
            PutOp(("users", f"u{n % 40}"), f"k{n}", {"text": f"{n}", "odd": n % 2})
            for n in range(6000)
        ]
        await store.abatch(puts[:5000])
        await store.rebuild_index()
        assert (await rows(empty_database, PENDING))[0]["n"] == 0
        await store.abatch(puts[5000:])
        assert (await rows(empty_database, PENDING))[0]["n"] == 1000

        async def recall(limit: int = 10, **more: Any) -> float:
            hits = 0
            for query in range(7000, 7020):
                found = {
                    item.key
                    for item in await store.asearch((), query=str(query), limit=limit, **more)
                }
                assert len(found) == limit
                hits += len(found & set(true_best(str(query), 6000, limit)))
            return hits / (20 * limit)

        assert await recall() >= 0.97
        assert await recall(limit=50) >= 0.95
        for item in await store.asearch((), query="42", filter={"odd": 1}, limit=30):
            assert item.value["odd"] == 1
        assert len(await store.asearch((), query="42", filter={"text": "77"}, limit=10)) == 1, (
            "the match is too rare for the index to find it"
        )
        first = (await store.asearch((), query="42", limit=1))[0]
        assert first.key == "k42"
        await rows(
            empty_database, "UPDATE memory.memories SET expires_at = now() WHERE key = 'k42'"
        )
        assert (await store.asearch((), query="42", limit=1))[0].key != "k42"
        nearest = ", ".join(f"'{key}'" for key in true_best("42", 6000, 100))
        await rows(
            empty_database,
            f"UPDATE memory.memories SET expires_at = now() WHERE key IN ({nearest})",
        )
        left = {item.key for item in await store.asearch((), query="42", limit=10)}
        assert len(left & set(true_best("42", 6000, 110)[100:])) >= 9
        assert not left & set(true_best("42", 6000, 100))


async def test_waiting_vectors_are_indexed_when_asked(empty_database: str) -> None:
    async with MemoryManager.from_conn_string(empty_database, index=INDEX) as store:
        await store.setup()
        await store.abatch([PutOp(NS, f"k{n}", {"text": f"{n}"}) for n in range(100)])
        assert (await rows(empty_database, PENDING))[0]["n"] == 100
        await store.wait_until_indexed()
        assert (await rows(empty_database, PENDING))[0]["n"] == 0
        await store.aput(NS, "k1", {"text": "1", "more": "but the same vector"})
        assert (await rows(empty_database, PENDING))[0]["n"] == 0
        await store.aput(NS, "k1", {"text": "101"})
        assert (await rows(empty_database, PENDING))[0]["n"] == 1
        assert (await store.asearch(NS, query="101"))[0].key == "k1"


async def test_many_waiting_vectors_are_indexed_by_themselves(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphs.memory.search.indexing._QUIET_SECONDS", 0.01)
    monkeypatch.setattr("graphs.memory.search.indexing.WORTH_INDEXING", 50)
    async with MemoryManager.from_conn_string(empty_database, index=INDEX) as store:
        await store.setup()
        await store.abatch([PutOp(NS, f"k{n}", {"text": f"{n}"}) for n in range(100)])
        task = store.embedder.indexer._task
        assert task is not None
        await task
        assert (await rows(empty_database, PENDING))[0]["n"] == 0


# Another embedding model --------------------------------------------------------------------------


async def other_embed(texts: list[str]) -> list[list[float]]:
    return [[float(int(text.split()[0]) % 7 == n) + 0.01 for n in range(7)] for text in texts]


OTHER: Any = {"dims": 7, "embed": other_embed, "fields": ["text"], "model": "remainders"}


async def test_another_model_is_filled_in_beside_and_switched_to(empty_database: str) -> None:
    told: list[tuple[int, int | None]] = []
    async with (
        MemoryManager.from_conn_string(empty_database, index=INDEX) as old,
        MemoryManager.from_conn_string(empty_database, index=OTHER) as new,
    ):
        await old.setup()
        await old.abatch([PutOp(NS, f"k{n}", {"text": f"{n}"}) for n in range(250)])
        await old.aput(NS, "parts", {"parts": ["500", "501"]}, index=["parts[*]"])
        await old.aput(NS, "silent", {"text": "9"}, index=False)

        assert await new.reembed(lambda done, of: told.append((done, of))) == 252

        assert told[-1] == (252, 252)
        found = await new.asearch(NS, query="3", limit=300)
        assert {int(item.key[1:]) % 7 for item in found[:30]} == {3}
        assert len(found) == 251
        assert await new.reembed() == 0, "no vectors are missing"
        await new.aput(NS, "k0", {"text": "3"})
        models = await rows(
            empty_database, "SELECT model FROM memory.memory_embeddings WHERE key = 'k0'"
        )
        assert len(models) == 1, "an update drops the vectors of every model"

        await old.aput(NS, "late", {"text": "5"})  # by a process with the old model
        assert [item.key for item in await new.asearch(NS, query="5", limit=1)] != ["late"]
        assert await old.refresh_embeddings() == 0, "its hourly job does not switch back"
        assert await new.refresh_embeddings() == 1
        assert await new.refresh_embeddings() == 0
        assert "late" in {item.key for item in await new.asearch(NS, query="5", limit=50)}


async def test_an_interrupted_switch_goes_on_where_it_stopped(empty_database: str) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(done: int, _: int | None) -> None:
        if done >= 100:
            raise Interrupted

    async with (
        MemoryManager.from_conn_string(empty_database, index=INDEX) as old,
        MemoryManager.from_conn_string(empty_database, index=OTHER) as new,
    ):
        await old.setup()
        await old.abatch([PutOp(NS, f"k{n}", {"text": f"{n}"}) for n in range(250)])
        with pytest.raises(Interrupted):
            await new.reembed(interrupt)
        assert (await old.asearch(NS, query="17"))[0].key == "k17", (
            "the old model answers until the switch"
        )
        assert await new.reembed() == 150
        assert int((await new.asearch(NS, query="17"))[0].key[1:]) % 7 == 3


# Rows that come past the store --------------------------------------------------------------------

WRITTEN = "INSERT INTO memory.memories (namespace, key, value) VALUES ('users.u1.notes.', %s, %s)"


async def word_and_vectors(url: str, key: str) -> tuple[bool, list[str]]:
    """Return whether an item has the word that belongs to it, and the fields of its vectors."""
    [row] = await rows(
        url,
        "SELECT m.document @@ to_tsquery('english', m.value ->> 'word') AS found, ARRAY("
        "SELECT e.field FROM memory.memory_embeddings AS e WHERE e.key = m.key) AS fields"
        f" FROM memory.memories AS m WHERE m.key = '{key}'",
    )
    return row["found"], row["fields"]


async def test_rows_of_sql_get_words_and_vectors_from_a_job_queued_with_them(
    empty_database: str,
) -> None:
    hybrid: Any = {**INDEX, "ranking": "hybrid"}
    async with MemoryManager.from_conn_string(empty_database, index=hybrid) as store:
        await store.setup()
        await store.aput(NS, "put", {"text": "1 zebra", "word": "zebra"})
        await store.aput(NS, "own", {"parts": ["2 lynx", "3 owl"], "word": "owl"}, ["parts[*]"])
        await store.aput(NS, "kept", {"text": "4 secret"}, index=False)
        async with await psycopg.AsyncConnection.connect(empty_database) as conn:
            await conn.execute(WRITTEN, ["new", Jsonb({"text": "5 gnu", "word": "gnu"})])
            fact = {"type": "fact", "content": "6 elk", "word": "elk"}
            await conn.execute(WRITTEN, ["fact", Jsonb(fact)])
            await conn.execute(WRITTEN, ["empty", Jsonb({})])
            for key, change in (
                ("put", {"text": "7 yak", "word": "yak"}),
                ("own", {"parts": ["8 emu"], "word": "emu"}),
            ):
                await conn.execute(
                    "UPDATE memory.memories SET value = %s WHERE key = %s", [Jsonb(change), key]
                )
        before = {item.key for item in await store.asearch(NS, query="5 gnu", limit=20)}
        assert "new" in before, "it is in the scope at once"

        await store.jobs.run_pending()

        assert await word_and_vectors(empty_database, "new") == (True, ["text"])
        assert await word_and_vectors(empty_database, "fact") == (True, ["content"])
        assert await word_and_vectors(empty_database, "put") == (True, ["text"])
        assert await word_and_vectors(empty_database, "own") == (True, ["parts[*]"])
        for query, key in (("5 gnu", "new"), ("7 yak", "put"), ("8 emu", "own")):
            item, *_ = await store.asearch(NS, query=query, limit=20)
            assert (item.key, item.score is not None) == (key, True)
        found = {item.key for item in await store.asearch(NS, query="4 secret", limit=20)}
        assert "kept" not in found, "an item that was put with index=False stays out"
        waiting = "SELECT key FROM memory.memories WHERE document = ''"
        assert await rows(empty_database, waiting) == []
        assert await store.refresh_embeddings() == 0


async def test_a_row_that_a_person_inserts_as_postgrest_does_is_recalled(
    database: str, index: IndexConfig
) -> None:
    """Insert with the person's role and claims; a worker finds the job."""
    async with MemoryManager.from_conn_string(database, index=index) as store:
        async with (
            await psycopg.AsyncConnection.connect(database) as conn,
            conn.transaction(),
        ):
            await conn.execute(
                "SELECT set_config('role', 'authenticated', true), "
                "set_config('request.jwt.claims', json_build_object('sub', %s::text)::text, true)",
                [ANN],
            )
            await conn.execute(
                "INSERT INTO memory.memories (namespace, key, value) VALUES (%s, 'k', %s)",
                [f"users.{ANN}.facts.", Jsonb({"type": "fact", "content": "Plays the cello."})],
            )
        await store.jobs.run_pending()
        [memory] = await store.recall_memory(ANN, "cello")
        assert memory.content == "Plays the cello."
        assert memory.score is not None


async def test_an_item_that_the_model_refuses_waits_and_holds_up_no_other(
    empty_database: str,
) -> None:
    async with MemoryManager.from_conn_string(empty_database, index=INDEX) as store:
        await store.setup()
        async with await psycopg.AsyncConnection.connect(empty_database) as conn:
            for key, text in (("a", "1"), ("bad", "no number"), ("c", "2")):
                await conn.execute(WRITTEN, [key, Jsonb({"text": text})])
        assert await store.refresh_embeddings() == 2, "the job that embeds what lacks it"
        await rows(
            empty_database, 'UPDATE memory.memories SET value = \'{"text": "3"}\' RETURNING 1'
        )
        assert await store.index_memories() == 3


async def test_rows_are_marked_where_no_queue_is_yet(database: str) -> None:
    """After `supabase db push` and before a first start."""
    async with await psycopg.AsyncConnection.connect(database) as conn:
        await conn.execute("DROP SCHEMA procrastinate CASCADE")
        await conn.execute(WRITTEN, ["k", Jsonb({})])
        answer = await conn.execute("SELECT count(*) FROM memory.memories WHERE document = ''")
        assert await answer.fetchone() == (1,)
        await conn.rollback()
