"""Migrations of the vector index under searches and writes, wherever they are killed."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import IO, Any

import numpy as np
import psycopg
import pytest
from langgraph.store.base import PutOp
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from graphs.memory.errors import GraphMemoryError, InvalidInput, StatementTimeout
from graphs.memory_manager import MemoryManager
from graphs.operations.operations import Operations
from graphs.operations.sizing import IndexChoice
from tests.conftest import create_database, drop_database
from tests.integration.test_indexing import DIMENSIONS, INDEX, NS, OTHER
from tests.support.command import command_on
from tests.support.pooler import Pooler
from tests.support.sql import rows

COUNT = 3000
IVFFLAT, HNSW = (
    IndexChoice(method="ivfflat", lists=64),
    IndexChoice(method="hnsw", m=8, ef_construction=64),
)

FILL = """
    WITH given AS (SELECT * FROM unnest(%s::int[], %s::text[]) AS g (n, vector)), items AS (
      INSERT INTO memory.memories (namespace, key, value)
      SELECT 'users.u' || n %% 40 || '.', 'k' || n, jsonb_build_object('text', n::text) FROM given
      RETURNING id, namespace, key
    )
    INSERT INTO memory.memory_embeddings
      (namespace, key, field, model, memory_id, embedding, indexed)
    SELECT i.namespace, i.key, 'text', 1, i.id,
      extensions.l2_normalize(g.vector::extensions.halfvec), true
    FROM items AS i JOIN given AS g ON i.key = 'k' || n"""

INDEXES = """
    SELECT c.relname AS name, a.amname AS method, i.indisvalid AS valid
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam
    WHERE c.relname LIKE 'embeddings_vectors%' ORDER BY 1"""

CHOICES = "SELECT m, ef_construction, lists FROM memory.embedding_models ORDER BY id"

NEAREST = """
    EXPLAIN SELECT FROM memory.memory_embeddings WHERE model = 1 AND indexed
    ORDER BY embedding::extensions.halfvec(8)
      OPERATOR(extensions.<=>) '[1,0,0,0,0,0,0,0]'::extensions.halfvec(8)
    LIMIT 1"""


@cache
def vectors() -> Any:
    """Return the vectors of the start, of unit length."""
    found = np.asarray([np.random.default_rng(n).normal(size=DIMENSIONS) for n in range(COUNT)])
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def true_best(query: int, limit: int) -> set[str]:
    nearness = vectors() @ np.random.default_rng(query).normal(size=DIMENSIONS)
    return {f"k{n}" for n in np.argsort(-nearness)[:limit]}


@pytest.fixture(scope="module")
def filled(postgres: str) -> Iterator[str]:
    """Yield the name of a database with enough vectors for full searches to use the index."""
    name = create_database(postgres, "template0")
    database = make_conninfo(postgres, dbname=name)

    async def fill() -> None:
        async with MemoryManager.from_conn_string(database, index=INDEX) as store:
            await store.setup()
        await rows(
            database,
            FILL,
            list(range(COUNT)),
            [json.dumps(vector) for vector in vectors().tolist()],
        )
        await rows(database, "ANALYZE memory.memories, memory.memory_embeddings")

    asyncio.run(fill())
    yield name
    drop_database(postgres, name)


@pytest.fixture
def database(postgres: str, filled: str) -> Iterator[str]:
    name = create_database(postgres, filled)
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


def untold(_phase: str, _done: int, _of: int | None) -> None:
    """Ignore the progress."""


async def recall(store: MemoryManager, queries: range) -> float:
    """Return the share of the true nearest vectors of the start that full searches find."""
    hits = looked_for = 0
    for query in queries:
        found = await store.asearch((), query=str(query), limit=10)
        keys = {item.key for item in found if item.key.startswith("k")}
        assert len(found) == 10
        hits += len(keys & true_best(query, len(keys)))
        looked_for += len(keys)
    return hits / looked_for if looked_for else 1.0


async def as_the_schema_says(store: MemoryManager) -> bool:
    return await Operations(store).checks.differences() == []


@asynccontextmanager
async def busy(store: MemoryManager) -> AsyncIterator[list[float]]:
    """Write and search all the time; check that all writes are stored, and yield each recall."""
    done, written, found = asyncio.Event(), 0, [1.0]

    async def write() -> None:
        nonlocal written
        while not done.is_set():
            await store.aput(NS, f"w{written}", {"text": f"{100_000 + written}"})
            written += 1

    async def search() -> None:
        query = 7000
        while not done.is_set():
            found.append(await recall(store, range(query, query + 1)))
            query += 1

    tasks = [asyncio.create_task(write()), asyncio.create_task(search())]
    yield found
    done.set()
    await asyncio.gather(*tasks)
    assert written > 0
    keys = {item.key for item in await store.asearch(NS, limit=written + 10)}
    assert keys >= {f"w{n}" for n in range(written)}
    await store.wait_until_indexed()
    assert [
        item.key for item in await store.asearch((), query=f"{100_000 + written - 1}", limit=1)
    ] == [f"w{written - 1}"]


async def test_it_becomes_another_and_back_while_others_write_and_search(
    postgres: str, database: str
) -> None:
    """Migrate back behind a transaction pooler; searches must probe the right number of lists."""
    async with MemoryManager.from_conn_string(database, index=INDEX) as store:
        async with busy(store) as found:
            moved = await Operations(store).indexes.migrate(IVFFLAT, untold)
        assert moved.steps == ["build", "swap", "drop the old one"]
        assert (moved.before, moved.after) == (
            IndexChoice(method="hnsw", m=10, ef_construction=112),
            IVFFLAT,
        )
        assert sum(found) / len(found) >= 0.85
        assert await recall(store, range(7000, 7020)) >= 0.85, (
            "8 of 64 lists are probed; 1 would find half"
        )
        assert await rows(database, INDEXES) == [
            {"name": "embeddings_vectors_1", "method": "ivfflat", "valid": True}
        ]
        assert await as_the_schema_says(store)

        with Pooler(postgres) as pooler:
            async with MemoryManager.from_conn_string(
                pooler.url_for(database), index=INDEX
            ) as pooled:
                async with busy(pooled) as found:
                    await Operations(pooled).indexes.migrate(HNSW, untold)
                assert sum(found) / len(found) >= 0.85
                assert await recall(pooled, range(7000, 7020)) >= 0.95
        assert await rows(database, INDEXES) == [
            {"name": "embeddings_vectors_1", "method": "hnsw", "valid": True}
        ]
        assert await as_the_schema_says(store)


async def test_a_rare_filter_finds_all_that_fit_whatever_the_index(database: str) -> None:
    async with MemoryManager.from_conn_string(database, index=INDEX) as store:
        await Operations(store).indexes.migrate(IVFFLAT, untold)
        for n in (5, 77):
            [item] = await store.asearch((), query="42", filter={"text": f"{n}"}, limit=10)
            assert item.key == f"k{n}"


async def test_the_choice_outlives_starts_rebuilds_and_the_schema(database: str) -> None:
    async with MemoryManager.from_conn_string(database, index=INDEX) as store:
        await Operations(store).indexes.migrate(IVFFLAT, untold)
        chosen = await rows(database, CHOICES)
        assert chosen == [{"m": None, "ef_construction": None, "lists": 64}]
        await Operations(store).checks.apply_schema()
        await store.setup()
        await store.rebuild_index()
        await rows(database, "DROP INDEX memory.embeddings_vectors_1")
        assert await Operations(store).indexes.create(lambda _done, _of: None) == [
            "memory.embeddings_vectors_1"
        ]
        assert await rows(database, CHOICES) == chosen
        assert await rows(database, INDEXES) == [
            {"name": "embeddings_vectors_1", "method": "ivfflat", "valid": True}
        ]
        assert await as_the_schema_says(store)


# Cut off ------------------------------------------------------------------------------------------


class Dying:
    """Migrations in processes of their own that kill themselves at a given phase."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self._stdin, self._stdout = stdin, stdout

    async def __call__(self, wish: IndexChoice, phase: str) -> int:
        self._stdin.write(f"{wish.method} {wish.lists or 0} {phase}\n")
        self._stdin.flush()
        return int(await asyncio.to_thread(self._stdout.readline))


@contextmanager
def dying(database: str) -> Iterator[Dying]:
    program = [sys.executable, "-m", "tests.support.dying_reindexing", database]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        yield Dying(process.stdin, process.stdout)


@contextmanager
def reading(database: str) -> Iterator[None]:
    """Hold an old snapshot, which keeps an index build from its end."""
    with psycopg.connect(database) as conn:
        conn.execute("SELECT count(*) FROM memory.memory_embeddings")
        conn.execute("LOCK TABLE memory.memory_embeddings IN ROW EXCLUSIVE MODE")
        yield


async def builders(database: str) -> list[int]:
    found = await rows(
        database, "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database()"
    )
    return [row["pid"] for row in found]


async def serving(database: str) -> str:
    """Return the name of the index that a search uses."""
    told = " ".join(row["QUERY PLAN"] for row in await rows(database, NEAREST))
    used = re.search(r"Index Scan using (embeddings_vectors_1\w*)", told)
    return used[1] if used else told


async def test_killed_anywhere_it_goes_on_and_searches_have_an_index_all_the_time(
    database: str,
) -> None:
    """Kill at each step, during a build, while another build runs, and with the server process."""
    killed = -9
    with dying(database) as migrate_and_die:
        async with MemoryManager.from_conn_string(database, index=INDEX) as store:
            indexes = Operations(store).indexes

            async def still_serves() -> None:
                assert (await serving(database)).startswith("embeddings_vectors_1")
                assert await recall(store, range(7000, 7004)) >= 0.8, "whichever index serves"

            assert await migrate_and_die(IVFFLAT, "build") == killed
            await still_serves()
            with reading(database):
                assert await migrate_and_die(IVFFLAT, "waiting") == killed
                await still_serves()
                [builder] = await builders(database)  # the server process still builds
                await store.aput(NS, "meanwhile", {"text": "50000"})
                assert (await store.asearch((), query="50000", limit=1))[0].key == "meanwhile"
                assert (await indexes.plan_migration(IVFFLAT)).steps[0] == "wait for another"
                with pytest.raises(GraphMemoryError, match=f"pg_cancel_backend\\({builder}\\)"):
                    await indexes.migrate(HNSW, untold)
                assert await migrate_and_die(IVFFLAT, "wait for another") == killed
                await rows(database, f"SELECT pg_terminate_backend({builder})")
                while await builders(database):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            left = {row["name"]: row["valid"] for row in await rows(database, INDEXES)}
            assert left == {"embeddings_vectors_1": True, "embeddings_vectors_1_next": False}
            [told] = (await indexes.status()).vectors
            assert "interrupted migration: run it again" in (told.advice or "")

            assert await migrate_and_die(IVFFLAT, "swap") == killed
            await still_serves()
            assert await migrate_and_die(IVFFLAT, "drop the old one") == killed
            await still_serves()
            names = [row["name"] for row in await rows(database, INDEXES)]
            assert names == ["embeddings_vectors_1", "embeddings_vectors_1_old"]
            with reading(database):
                assert await migrate_and_die(IVFFLAT, "drop the old one") == killed

            assert (await indexes.migrate(IVFFLAT, untold)).after == IVFFLAT
            assert await rows(database, INDEXES) == [
                {"name": "embeddings_vectors_1", "method": "ivfflat", "valid": True}
            ]
            assert await as_the_schema_says(store)
            assert (await indexes.plan_migration(IVFFLAT)).steps == []
            await store.wait_until_indexed()
            assert (await store.asearch((), query="50000", limit=1))[0].key == "meanwhile"


async def test_the_servers_patience_is_told_of_and_leaves_the_index_that_there_is(
    database: str,
) -> None:
    name = conninfo_to_dict(database)["dbname"]
    await rows(database, f"ALTER DATABASE {name} SET statement_timeout = '300ms'")
    async with MemoryManager.from_conn_string(database, index=INDEX) as store:
        with reading(database), pytest.raises(StatementTimeout, match="ALTER ROLE"):
            await Operations(store).indexes.migrate(IVFFLAT, untold)
        assert await serving(database) == "embeddings_vectors_1"
        assert (await Operations(store).indexes.plan_migration(IVFFLAT)).steps[
            0
        ] == "drop what was left"


async def test_whoever_interrupts_it_ends_the_servers_work_too(database: str) -> None:
    async with MemoryManager.from_conn_string(database, index=INDEX) as store:
        with reading(database):
            migrating = asyncio.create_task(Operations(store).indexes.migrate(IVFFLAT, untold))
            while not await builders(database):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            migrating.cancel()
            with pytest.raises(asyncio.CancelledError):
                await migrating
            while await builders(database):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await serving(database) == "embeddings_vectors_1"
        await Operations(store).indexes.migrate(IVFFLAT, untold)
        assert await as_the_schema_says(store)


async def test_two_at_once_come_to_the_same_end(database: str) -> None:
    async with MemoryManager.from_conn_string(database, index=INDEX) as store:
        indexes = Operations(store).indexes
        both = await asyncio.gather(*(indexes.migrate(IVFFLAT, untold) for _ in range(2)))
        assert [each.after for each in both] == [IVFFLAT, IVFFLAT]
        assert await rows(database, INDEXES) == [
            {"name": "embeddings_vectors_1", "method": "ivfflat", "valid": True}
        ]
        assert await as_the_schema_says(store)


async def test_what_waits_is_indexed_before_lists_are_laid(database: str) -> None:
    """Index the waiting vectors first: the lists of an empty index would be arbitrary."""
    await rows(database, "UPDATE memory.memory_embeddings SET indexed = false WHERE key > 'k7'")
    async with MemoryManager.from_conn_string(database, index=INDEX) as store:
        moved = await Operations(store).indexes.migrate(IVFFLAT, untold)
        assert moved.steps[0] == "index what waits"
        waiting = await rows(
            database, "SELECT count(*) AS n FROM memory.memory_embeddings WHERE NOT indexed"
        )
        assert waiting == [{"n": 0}]


# The command --------------------------------------------------------------------------------------


def test_the_command_says_what_it_would_do_and_does_it(database: str) -> None:
    def state() -> object:
        with psycopg.connect(database) as conn:
            return conn.execute(INDEXES).fetchall(), conn.execute(CHOICES).fetchall()

    before = state()
    with command_on(database, **_settings(database)) as command:
        told = json.loads(
            command("indexes", "migrate", "--to", "ivfflat", "--dry-run", "--json").stdout
        )
        assert (told["after"]["lists"], told["steps"]) == (3, ["build", "swap", "drop the old one"])
        assert state() == before, "a dry run changes nothing"
        for wrong in (
            ("hnsw", "--lists", "4"),
            ("ivfflat", "--m", "16"),
            ("hnsw", "--m", "101"),
            ("flat",),
        ):
            assert command("indexes", "migrate", "--to", *wrong).exit_code == 2
        assert state() == before

        done = command("indexes", "migrate", "--to", "ivfflat", "--lists", "64")
        assert (done.exit_code, "became IVFFlat with 64 lists" in done.stdout) == (0, True)
        checks = {
            each["name"]: each["status"]
            for each in json.loads(command("verify", "--json").stdout)["checks"]
        }
        assert (checks["indexes"], checks["columns"], checks["functions"]) == ("ok", "ok", "ok")
        again = command("indexes", "migrate", "--to", "ivfflat", "--lists", "64")
        assert "64 lists already" in again.stdout
        shown = " ".join(command("indexes", "status").stdout.split())
        assert "need IVFFlat with 3 lists" in shown
        assert "`graph-memory indexes migrate --to ivfflat`" in shown
        assert command("indexes", "migrate", "--to", "ivfflat").exit_code == 0
        assert (
            "IVFFlat with 3 lists for 3,000 vectors: as it should be."
            in command("indexes", "status").stdout
        )


def _settings(database: str) -> dict[str, str]:
    return {"DATA_DIR": str(conninfo_to_dict(database)["host"])}


async def test_what_pgvector_would_refuse_is_refused_before_anything_is_done(database: str) -> None:
    async with MemoryManager.from_conn_string(database, index=INDEX) as store:
        for wrong in (
            IndexChoice(method="hnsw", ef_construction=12),
            IndexChoice(method="hnsw", m=16, ef_construction=31),
            IndexChoice(method="hnsw", lists=1),
            IndexChoice(method="ivfflat", m=16),
            IndexChoice(method="ivfflat", lists=40_000),
        ):
            with pytest.raises(InvalidInput):
                await Operations(store).indexes.migrate(wrong, untold)
    assert len(await rows(database, INDEXES)) == 1


# Another embedding model --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wish", [IndexChoice(method="ivfflat", lists=4), HNSW], ids=["ivfflat", "hnsw"]
)
async def test_the_choice_outlives_another_embedding_model(
    empty_database: str, wish: IndexChoice
) -> None:
    async with (
        MemoryManager.from_conn_string(empty_database, index=INDEX) as old,
        MemoryManager.from_conn_string(empty_database, index=OTHER) as new,
    ):
        await old.setup()
        await old.abatch([PutOp(NS, f"k{n}", {"text": f"{n}"}) for n in range(150)])
        await Operations(old).indexes.migrate(wish, untold)
        assert await new.reembed() == 150
        chosen = {"m": wish.m, "ef_construction": wish.ef_construction, "lists": wish.lists}
        assert await rows(empty_database, CHOICES) == [chosen, chosen]
        indexes = await rows(empty_database, INDEXES)
        assert [(each["method"], each["valid"]) for each in indexes] == [(wish.method, True)] * 2
        assert await as_the_schema_says(new)
        assert int((await new.asearch(NS, query="3", limit=1))[0].key[1:]) % 7 == 3
        assert await new.reembed() == 0
