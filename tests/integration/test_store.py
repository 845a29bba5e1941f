"""MemoryManager as a store: promises beyond the contract of every BaseStore."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import orjson
import psycopg
import pytest
from langgraph.store.base import (
    GetOp,
    IndexConfig,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from psycopg.conninfo import make_conninfo
from psycopg.pq import PipelineStatus

from graphs.deployment.pools import open_pool
from graphs.memory.database.database import no_time_limit
from graphs.memory.database.query import Query, Rows
from graphs.memory.database.statements import Statement
from graphs.memory.errors import (
    AccessDenied,
    EmbeddingModelMismatch,
    InvalidFilter,
    InvalidInput,
    InvalidValue,
    SetupRequired,
    StatementTimeout,
    StoreUnavailable,
)
from graphs.memory.principal import Principal, acting_as
from graphs.memory.values.text import MAX_DEPTH
from graphs.memory_manager import MemoryManager
from tests.support.pools import SlowToTakeBack
from tests.support.sql import cut_connections, rows

NS = ("users", "u1", "notes")
ANN, BOB = "a0000000-0000-4000-8000-00000000000a", "b0000000-0000-4000-8000-00000000000b"


async def keys(store: MemoryManager, condition: dict[str, Any]) -> set[str]:
    return {item.key for item in await store.asearch(NS, filter=condition, limit=100)}


# Values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        1e300,
        -1e300,
        5e-324,
        1e16,
        2**64 - 1,
        -(2**63),
        0.1,
        1.0,
        True,
        None,
        [],
        {},
        [[]],
        "",
        "\u2028 \U0001f600",
        "a\\u0000",
    ],
)
async def test_a_value_comes_back_exactly(store: MemoryManager, value: object) -> None:
    await store.aput(NS, "k", {"v": value}, index=False)
    item = await store.aget(NS, "k")
    assert item is not None
    assert item.value["v"] == value
    assert type(item.value["v"]) is type(value)


async def test_a_value_that_only_sql_can_store_is_read_as_far_as_json_goes(
    store: MemoryManager, database: str
) -> None:
    """Serve what is there from before values were checked to readers of JSON.

    LangGraph's server knows no integers of more than 64 bits.
    """
    await rows(database, "ALTER TABLE memory.memories DROP CONSTRAINT value_readable")
    value = "[18446744073709551616, -9223372036854775809, 18446744073709551615, 1e5000, -1e400]"
    await rows(
        database,
        "INSERT INTO memory.memories (namespace, key, value) VALUES ('u.', 'k', "
        f"jsonb_build_object('n', '{value}'::jsonb))",
    )
    [item] = await store.asearch(("u",))
    assert item.value["n"] == [2.0**64, -(2.0**63), 2**64 - 1, None, None]
    orjson.dumps(item.dict())
    await rows(
        database,
        "INSERT INTO memory.memories (namespace, key, value) VALUES ('u.', 'deep', "
        "(repeat('{\"a\":', 3000) || '1' || repeat('}', 3000))::jsonb)",
    )
    assert {item.key for item in await store.asearch(("u",))} == {"k", "deep"}


async def test_a_mebibyte_comes_back(store: MemoryManager) -> None:
    text = "ü" * 2**19
    await store.aput(NS, "k", {"text": text}, index=False)
    item = await store.aget(NS, "k")
    assert item is not None
    assert item.value["text"] == text


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": {"b": ["x", float("nan")]}}, "value.a.b[1]"),
        ({"a": "nul\0"}, "value.a"),
        ({"a": "\ud800"}, "value.a"),
        ({"a": object()}, "value.a"),
        ({"a": {1: 2}}, "value.a"),
        ({"a": {2, 3}}, "value.a"),
        ({"a": 10**5000}, "value.a"),
        ({"a": {"b": [2**64]}}, "value.a.b[0]"),
        ({"a": -(2**63) - 1}, "value.a"),
        ([1], "value"),
    ],
)
async def test_a_value_that_cannot_be_stored_is_refused_by_its_path(
    store: MemoryManager, value: Any, path: str
) -> None:
    with pytest.raises(InvalidValue) as refused:
        await store.abatch([PutOp(NS, "good", {"a": 1}), PutOp(NS, "bad", value)])
    assert refused.value.path == path
    assert await store.aget(NS, "good") is None, "a batch is stored completely or not at all"


@pytest.mark.parametrize(
    ("namespace", "key"),
    [(("a\0",), "k"), (("a",), "k\0"), (("a",), "\ud800"), (("a",), "k" * 3000)],
)
async def test_an_address_that_cannot_be_stored_is_refused(
    store: MemoryManager, namespace: tuple[str, ...], key: str
) -> None:
    with pytest.raises(ValueError, match=r"."):
        await store.aput(namespace, key, {})


async def test_namespaces_may_be_lists_and_are_no_text(store: MemoryManager) -> None:
    listed: Any = ["users", "u1", "notes"]
    await store.abatch([PutOp(listed, "k", {"n": 1})])
    found, item = await store.abatch([SearchOp(listed[:2], query="n"), GetOp(listed, "k")])
    assert [each.key for each in found] == ["k"]  # type: ignore[union-attr]
    assert item is not None
    assert [each.namespace for each in await store.asearch(listed)] == [NS]
    assert [each.namespace for each in await store.asearch([])] == [NS]  # type: ignore[arg-type]
    assert await store.alist_namespaces(prefix=["users"]) == [NS]  # type: ignore[arg-type]
    with pytest.raises(InvalidNamespaceError):
        await store.asearch("users")  # type: ignore[arg-type]


async def test_deep_values_and_long_keys_are_kept(store: MemoryManager) -> None:
    deep: Any = "leaf"
    for n in range(150):
        deep = {"d": deep} if n % 2 else [deep]
    key = "".join(f"{n:04}" for n in range(500))
    await store.aput(NS, key, {"text": "deep", "deep": deep}, index=["text"])
    [item] = await store.asearch(NS, query="deep", filter={"deep": {"$eq": deep}})
    assert (item.key, item.value["deep"]) == (key, deep)
    orjson.dumps({"items": [item.dict()]})
    for _ in range(150, MAX_DEPTH - 1):
        deep = [deep]
    await store.aput(NS, key, {"text": "deep", "deepest": deep})
    [item] = await store.asearch(NS, query="deep")
    assert item.value["deepest"] == deep
    orjson.dumps({"items": [item.dict()]})
    await store.adelete(NS, key)


async def test_names_that_begin_with_a_dollar_are_compared_by_operators(
    store: MemoryManager,
) -> None:
    await store.aput(NS, "a", {"$ref": "x", "schema": {"$ref": "x"}, "all": [{"$ref": "x"}]})
    await store.aput(NS, "b", {"$ref": "y", "schema": {"$ref": "y"}, "all": []})
    for condition in (
        {"$ref": {"$eq": "x"}},
        {"$ref": {"$ne": "y"}},
        {"schema": {"$eq": {"$ref": "x"}}},
        {"schema": {"$ne": {"$ref": "y"}}},
        {"schema": {"$in": [{"$ref": "x"}]}},
        {"schema": {"$not": {"$eq": {"$ref": "y"}}}},
        {"all": {"$contains": {"$ref": "x"}}},
        {"$or": [{"$ref": {"$eq": "x"}}]},
    ):
        assert await keys(store, condition) == {"a"}, condition
    for wrong in ({"$ref": "x"}, {"$nor": [{"n": 1}]}, {"schema": {"$ref": "x"}}, {"$gt": 1}):
        with pytest.raises(InvalidFilter, match=r"\$"):
            await keys(store, wrong)


async def test_a_value_nested_without_end_is_refused(store: MemoryManager) -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"d": deep}
    with pytest.raises(InvalidValue, match="nested deeper"):
        await store.aput(NS, "k", deep)
    with pytest.raises(InvalidFilter, match="nested deeper"):
        await store.asearch(NS, filter=deep)


@pytest.mark.parametrize(
    "op",
    [PutOp((), "k", {}), PutOp(NS, 5, {}), GetOp(NS, 5), GetOp(NS, "\ud800")],  # type: ignore[arg-type]
)
async def test_an_operation_that_skips_the_methods_is_checked_all_the_same(
    store: MemoryManager, op: Any
) -> None:
    with pytest.raises((InvalidInput, InvalidNamespaceError)):
        await store.abatch([op])


async def test_whole_and_fractional_ttls_go_together(store: MemoryManager) -> None:
    await store.abatch([PutOp(NS, "a", {}, ttl=1), PutOp(NS, "b", {}, ttl=0.5), PutOp(NS, "c", {})])
    assert len(await store.asearch(NS)) == 3


async def test_seventeen_thousand_puts_in_one_batch(store: MemoryManager) -> None:
    await store.abatch([PutOp(NS, f"k{n}", {"n": n}, index=False) for n in range(17_000)])
    assert len(await store.asearch(NS, limit=20_000)) == 17_000


# Filters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"n": {"$gt": 9}}, {"ten"}),
        ({"n": {"$gte": "9"}}, {"text"}),
        ({"n": {"$ne": 2}}, {"ten", "text", "none", "missing"}),
        ({"n": None}, {"none", "missing"}),
        ({"n": {"$exists": True}}, {"two", "ten", "text", "none"}),
        ({"n": {"$exists": False}}, {"missing"}),
        ({"n": {"$in": [2, "9"]}}, {"two", "text"}),
        ({"n": {"$nin": [2, "9"]}}, {"ten", "none", "missing"}),
        ({"tags": {"$contains": "b"}}, {"ten"}),
        ({"name": {"$contains": "wo"}}, {"two"}),
        ({"deep": {"a": {"b": 1}}}, {"two"}),
        ({"deep": {"a": {"b": {"$gte": 1}}}}, {"two"}),
        ({"tags": ["a", "b"]}, {"ten"}),
        ({"$or": [{"n": 2}, {"n": 10}]}, {"two", "ten"}),
        ({"$and": [{"n": {"$gt": 1}}, {"n": {"$lt": 5}}]}, {"two"}),
        ({"$not": {"n": {"$exists": True}}}, {"missing"}),
        ({"n": {"$not": {"$gt": 5}}}, {"two", "text", "none", "missing"}),
        ({}, {"two", "ten", "text", "none", "missing"}),
    ],
)
async def test_filters(store: MemoryManager, condition: dict[str, Any], expected: set[str]) -> None:
    """Compare numbers as numbers and texts as texts; a missing field is like null."""
    await store.aput(NS, "two", {"n": 2, "name": "two", "deep": {"a": {"b": 1}}}, index=False)
    await store.aput(NS, "ten", {"n": 10, "tags": ["a", "b"]}, index=False)
    await store.aput(NS, "text", {"n": "9"}, index=False)
    await store.aput(NS, "none", {"n": None}, index=False)
    await store.aput(NS, "missing", {}, index=False)
    assert await keys(store, condition) == expected


@pytest.mark.parametrize(
    ("condition", "operator"),
    [
        ({"n": {"$near": 1}}, "$near"),
        ({"$xor": []}, "$xor"),
        ({"n": {"$in": 5}}, "$in"),
        ({"$or": {"n": 1}}, "$or"),
        ({"n": {"$exists": "yes"}}, "$exists"),
    ],
)
async def test_a_filter_that_makes_no_sense_names_the_operator(
    store: MemoryManager, condition: dict[str, Any], operator: str
) -> None:
    with pytest.raises(InvalidFilter) as refused:
        await store.asearch(NS, filter=condition)
    assert refused.value.operator == operator


@pytest.mark.parametrize(
    ("condition", "field"),
    [
        ({"n": {"$in": list(range(257))}}, "n"),
        ({"$or": [{f"f{n}": {"$gt": n}} for n in range(300)]}, "f256"),
        ({"a": {"$not": {"b": {"$eq": [{}] * 257}}}}, "b"),
        ({"a": 1, "long": {"$contains": "x" * 70_000}}, "long"),
    ],
)
async def test_a_filter_with_too_much_to_compare_names_the_field(
    store: MemoryManager, condition: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidFilter) as refused:
        await store.asearch(NS, filter=condition)
    assert refused.value.operator == field


async def test_a_filter_may_compare_with_256_values(store: MemoryManager) -> None:
    await store.aput(NS, "k", {"n": 255})
    assert await keys(store, {"n": {"$in": list(range(256))}}) == {"k"}


# Many people --------------------------------------------------------------------------------------


async def test_searches_that_stand_still_keep_nobody_from_gets(
    store: MemoryManager, database: str
) -> None:
    """Hold the table of the vectors, which only the searches need."""
    async with await psycopg.AsyncConnection.connect(database) as holder:
        await store.aput(("users", BOB), "k", {"text": "tea"}, index=False)
        await holder.execute("LOCK TABLE memory.memory_embeddings IN ACCESS EXCLUSIVE MODE")
        with acting_as(Principal.user(ANN)):
            many = {"n": {"$in": list(range(100))}}
            searches = [
                asyncio.create_task(store.asearch(("users", ANN), query=f"robot {n}", filter=f))
                for n in range(20)
                for f in (None, many)
            ]
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            for principal in (ANN, BOB):
                with acting_as(Principal.user(principal)):
                    await store.aget(("users", BOB), "k")
        assert not any(search.done() for search in searches)
        await holder.rollback()
        assert await asyncio.gather(*searches) == [[]] * 40


async def test_one_person_never_has_all_connections(database: str) -> None:
    waiting: Query[None] = Query(Statement("wait", "SELECT pg_advisory_xact_lock_shared(7)"))
    async with (
        await psycopg.AsyncConnection.connect(database) as holder,
        MemoryManager.from_conn_string(database, pool_config={"max_size": 5}) as store,
    ):
        await holder.execute("SELECT pg_advisory_xact_lock(7)")
        with acting_as(Principal.user(ANN)):
            many = [asyncio.create_task(store.ask(waiting)) for _ in range(20)]
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            for principal in (Principal.user(BOB), Principal.service()):
                with acting_as(principal):
                    await store.ask(LIMIT)
        many[0].cancel()
        await holder.rollback()
        await asyncio.gather(*many[1:])


SLOW: Query[None] = Query(Statement("slow", "SELECT pg_sleep(5)"))


def limit(rows: Rows) -> str:
    return str(rows[0].seconds)


SHOWN = Statement("shown", "SELECT current_setting('statement_timeout') AS seconds")
LIMIT = Query(SHOWN, {}, limit)


async def test_a_persons_statement_ends_at_the_limit_and_nobody_elses(database: str) -> None:
    async with MemoryManager.from_conn_string(
        database, pool_config={"max_size": 1}, statement_timeout=0.02
    ) as store:
        with acting_as(Principal.user(ANN)):
            assert await store.ask(LIMIT) == "20ms"
            with pytest.raises(StatementTimeout, match="cancelled"):
                await store.ask(SLOW)
        assert await store.ask(LIMIT) == "0", "on the same connection"
        [_, unlimited] = await store.access.run(Principal.user(ANN), [no_time_limit(), LIMIT])
        assert unlimited == "0"


async def test_a_shorter_limit_of_the_database_holds(database: str) -> None:
    for theirs, expected in (("2s", "2s"), ("3min", "1min")):
        url = make_conninfo(database, options=f"-c statement_timeout={theirs}")
        async with MemoryManager.from_conn_string(url, statement_timeout=60) as store:
            with acting_as(Principal.user(ANN)):
                assert await store.ask(LIMIT) == expected
            assert await store.ask(LIMIT) == theirs


@pytest.mark.parametrize(
    "value", ["'; DROP TABLE memory.memories; --", "%s %(x)s", "\\", '"', "x$1"]
)
async def test_filters_and_queries_are_never_taken_for_sql(
    store: MemoryManager, value: str
) -> None:
    await store.aput(NS, "k", {"text": value, value: 1})
    assert await keys(store, {"text": value}) == {"k"}
    assert await keys(store, {value: {"$gte": 1}}) == {"k"}
    assert len(await store.asearch(NS, query=value)) == 1


async def test_a_negative_page_is_refused(store: MemoryManager) -> None:
    with pytest.raises(InvalidInput, match="offset"):
        await store.asearch(NS, offset=-1)


@pytest.mark.parametrize("field", ["limit", "offset", "max_depth"])
async def test_a_negative_page_of_namespaces_is_refused(store: MemoryManager, field: str) -> None:
    await store.aput(NS, "k", {}, index=False)
    with pytest.raises(InvalidInput, match=f"{field} must be a number, and not negative"):
        await store.abatch([ListNamespacesOp(**{field: -1})])  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="match_type must be prefix or suffix"):
        await store.abatch(
            [ListNamespacesOp(match_conditions=(MatchCondition("infix", NS),))]  # type: ignore[arg-type]
        )


# Search -------------------------------------------------------------------------------------------


async def test_a_small_scope_among_many_vectors_gives_its_true_best(store: MemoryManager) -> None:
    crowd = [
        PutOp(("users", f"other{n % 50}"), f"k{n}", {"text": f"robot welding arm {n}"})
        for n in range(2_000)
    ]
    await store.abatch(crowd)
    await store.abatch([PutOp(NS, f"k{n}", {"text": f"gardening tip {n}"}) for n in range(12)])

    found = await store.asearch(NS, query="robot welding arm", limit=10)

    assert len(found) == 10
    assert {item.namespace for item in found} == {NS}


async def test_paging_of_a_query_is_complete_and_without_repeats(store: MemoryManager) -> None:
    await store.abatch(
        [
            PutOp(NS, f"k{n}", {"texts": [f"robot {n}", "robot arm"]}, index=["texts[*]"])
            for n in range(25)
        ]
    )
    pages = [
        await store.asearch(NS, query="robot", limit=10, offset=offset) for offset in (0, 10, 20)
    ]
    assert [len(page) for page in pages] == [10, 10, 5], "a limit counts items, not vectors"
    assert len({item.key for page in pages for item in page}) == 25


async def test_a_text_without_meaning_never_ranks_first(store: MemoryManager) -> None:
    await store.aput(NS, "zero", {"text": ""}, index=["text"])
    await store.aput(NS, "close", {"text": "robot"}, index=["text"])
    found = await store.asearch(NS, query="robot")
    assert found[0].key == "close"
    assert found[-1].score == 0


async def test_an_update_forgets_every_vector_of_the_old_value(store: MemoryManager) -> None:
    await store.aput(NS, "k", {"parts": ["robot", "budget"]}, index=["parts[*]"])
    await store.aput(NS, "k", {"parts": ["garden"]}, index=["parts[*]"])
    assert all((item.score or 0) < 0.9 for item in await store.asearch(NS, query="robot"))
    await store.aput(NS, "k", {"parts": ["garden"]}, index=False)
    assert await store.asearch(NS, query="garden") == []


# TTL ----------------------------------------------------------------------------------------------


async def test_an_expired_item_is_gone_for_every_reader_before_it_is_swept(
    store: MemoryManager, database: str
) -> None:
    await store.aput(NS, "k", {"text": "robot"}, ttl=0.5)
    assert await store.aget(NS, "k") is not None
    await rows(database, "UPDATE memory.memories SET expires_at = now() - interval '1 second'")

    assert await store.aget(NS, "k") is None
    assert await store.asearch(NS) == []
    assert await store.asearch(NS, query="robot") == []
    assert await store.alist_namespaces() == []
    assert await store.sweep_ttl() == 1
    assert await rows(database, "SELECT 1 FROM memory.memories") == []


async def test_reading_prolongs_a_life_unless_told_otherwise(
    store: MemoryManager, database: str
) -> None:
    async def remaining() -> timedelta:
        found = await rows(database, "SELECT expires_at - now() AS left FROM memory.memories")
        return timedelta(seconds=found[0]["left"].total_seconds())

    for read in (
        lambda: store.aget(NS, "k", refresh_ttl=True),
        lambda: store.asearch(NS, refresh_ttl=True),
        lambda: store.asearch(NS, query="robot", refresh_ttl=True),
    ):
        await store.aput(NS, "k", {"text": "robot"}, ttl=1.5)
        await rows(
            database, "UPDATE memory.memories SET expires_at = now() + interval '10 seconds'"
        )
        await store.aget(NS, "k", refresh_ttl=False)
        assert await remaining() < timedelta(seconds=11)
        await read()
        assert await remaining() > timedelta(seconds=80)


async def test_pages_of_a_search_pass_by_what_has_expired(
    store: MemoryManager, database: str
) -> None:
    await store.abatch([PutOp(NS, f"k{n}", {"text": f"robot {n}"}) for n in range(30)])
    every = [item.key for item in await store.asearch(NS, query="robot 1", limit=30)]
    gone = [*every[:12], *every[20:22]]
    expire = "UPDATE memory.memories SET expires_at = now() WHERE key = ANY (%s)"
    await rows(database, expire, gone)
    pages = [
        item.key
        for offset in range(0, 30, 5)
        for item in await store.asearch(NS, query="robot 1", limit=5, offset=offset)
    ]
    assert pages == [key for key in every if key not in gone]


async def test_an_item_put_again_without_a_ttl_stays(store: MemoryManager, database: str) -> None:
    await store.aput(NS, "k", {"n": 1}, ttl=1)
    await store.aput(NS, "k", {"n": 2}, ttl=None)
    assert (await rows(database, "SELECT expires_at FROM memory.memories"))[0]["expires_at"] is None


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e12])
async def test_a_ttl_that_is_no_time_is_refused(store: MemoryManager, ttl: float) -> None:
    with pytest.raises(InvalidValue, match="ttl"):
        await store.aput(NS, "k", {}, ttl=ttl)


async def test_the_sweeper_runs_with_the_store_and_stops_with_it(
    store: MemoryManager, database: str
) -> None:
    task = await store.start_ttl_sweeper(sweep_interval_minutes=0.001)
    await store.aput(NS, "k", {"n": 1}, ttl=10)
    await rows(database, "UPDATE memory.memories SET expires_at = now()")
    for _ in range(100):
        if not await rows(database, "SELECT 1 FROM memory.memories"):
            break
        await asyncio.sleep(0.05)
    assert await rows(database, "SELECT 1 FROM memory.memories") == []
    assert await store.stop_ttl_sweeper(timeout=5)
    assert task.done()


# Threads, loops and cancellation ------------------------------------------------------------------


async def test_a_synchronous_call_on_the_stores_own_loop_raises_instead_of_hanging(
    store: MemoryManager,
) -> None:
    with pytest.raises(asyncio.InvalidStateError, match="aget"):
        store.get(NS, "k")


async def test_it_can_be_awaited_on_other_event_loops(store: MemoryManager) -> None:
    def on_a_loop_of_its_own(n: int) -> None:
        asyncio.run(store.aput(NS, f"k{n}", {"n": n}))

    threads = [threading.Thread(target=on_a_loop_of_its_own, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
    assert await keys(store, {}) == {f"k{n}" for n in range(5)}


async def test_cancelling_a_caller_never_costs_a_connection(database: str) -> None:
    """Cancel while the connection goes back to the pool: it must arrive there, and clean."""
    async with open_pool(database, max_size=1) as pool:
        slow = SlowToTakeBack(pool)
        store = MemoryManager(slow, principal=Principal.service())
        call = asyncio.create_task(store.aput(NS, "k", {"n": 1}))
        await slow.giving_back.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert call.cancelled()
        async with asyncio.timeout(5), pool.connection() as connection:
            assert connection.pgconn.pipeline_status == PipelineStatus.OFF


async def test_cancelling_callers_at_any_moment_leaves_a_store_that_works(
    store: MemoryManager,
) -> None:
    for round_ in range(30):
        calls: list[Any] = [store.aput(NS, f"k{n}", {"text": f"robot {n}"}) for n in range(8)]
        calls += [store.asearch(NS, query="robot") for _ in range(4)]
        tasks = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(round_ * 0.0005)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(20):
        assert all(await asyncio.gather(*(store.aget(NS, f"k{n}") for n in range(1, 8, 2))))


async def test_many_readers_of_the_same_lives_do_not_wait_for_one_another(
    store: MemoryManager, database: str
) -> None:
    await store.abatch([PutOp(NS, f"k{n}", {"n": n}, index=False, ttl=60) for n in range(100)])
    await rows(database, "UPDATE memory.memories SET expires_at = now() + interval '1 minute'")
    async with asyncio.timeout(20):
        await asyncio.gather(
            *(store.asearch(NS, limit=100) for _ in range(40)),
            *(
                store.abatch([GetOp(NS, f"k{n}") for n in order])
                for order in (range(100), range(99, -1, -1)) * 20
            ),
        )
    refreshed = await rows(
        database,
        "SELECT min(expires_at) - now() > interval '59 minutes' AS yes FROM memory.memories",
    )
    assert refreshed[0]["yes"]


async def test_a_full_pool_is_reported_and_not_asked_again(database: str) -> None:
    async with open_pool(database, max_size=1) as pool:
        pool.timeout = 0.2  # type: ignore[attr-defined]
        store = MemoryManager(pool, principal=Principal.service())
        async with pool.connection():
            with pytest.raises(StoreUnavailable, match="came free"):
                await store.aget(NS, "k")
        assert pool.get_stats()["requests_errors"] == 1  # type: ignore[attr-defined]


async def test_batches_that_cross_do_not_fail(store: MemoryManager) -> None:
    forward = [PutOp(NS, f"k{n}", {"n": n}, index=False) for n in range(50)]
    batches = [forward, forward[::-1]] * 10
    await asyncio.gather(*(store.abatch(batch) for batch in batches))
    assert len(await store.asearch(NS, limit=100)) == 50


async def test_the_store_recovers_after_its_connections_were_cut(
    store: MemoryManager, database: str
) -> None:
    await asyncio.gather(*(store.aput(NS, f"k{n}", {"n": n}) for n in range(20)))
    await cut_connections(database)
    items = await asyncio.gather(*(store.aget(NS, f"k{n}") for n in range(20)))
    assert all(items)


# Setting up ---------------------------------------------------------------------------------------


async def test_several_processes_may_set_up_at_once(
    empty_database: str, index: IndexConfig
) -> None:
    async def one() -> None:
        async with MemoryManager.from_conn_string(empty_database, index=index) as store:
            await store.setup()
            await store.setup()

    await asyncio.gather(*(one() for _ in range(4)))
    async with MemoryManager.from_conn_string(empty_database, index=index) as store:
        await store.aput(NS, "k", {"n": 1})


async def test_a_database_without_the_schema_says_so(empty_database: str) -> None:
    async with MemoryManager.from_conn_string(empty_database) as store:
        with pytest.raises(SetupRequired, match="setup"):
            await store.aget(NS, "k")


async def test_vectors_of_two_models_never_meet(
    store: MemoryManager, database: str, index: IndexConfig
) -> None:
    await store.aput(NS, "k", {"text": "robot"})
    other: Any = {**index, "model": "another"}
    async with MemoryManager.from_conn_string(database, index=other) as second:
        with pytest.raises(EmbeddingModelMismatch, match="offline:wordllama"):
            await second.setup()
        with pytest.raises(EmbeddingModelMismatch):
            await second.asearch(NS, query="robot")


async def test_without_vectors_another_model_may_take_over(
    database: str, index: IndexConfig
) -> None:
    other: Any = {**index, "model": "another"}
    async with MemoryManager.from_conn_string(database, index=other) as second:
        await second.setup()
        await second.aput(NS, "k", {"text": "robot"})
        assert [item.key for item in await second.asearch(NS, query="robot")] == ["k"]


async def test_a_store_without_an_index_searches_by_filter_alone(database: str) -> None:
    async with MemoryManager.from_conn_string(database) as plain:
        await plain.aput(NS, "k", {"n": 1})
        found = await plain.asearch(NS, query="anything")
        assert [(item.key, item.score) for item in found] == [("k", None)]


async def test_reads_in_a_batch_see_the_state_before_its_writes(store: MemoryManager) -> None:
    results = await store.abatch([PutOp(NS, "k", {"n": 1}), GetOp(NS, "k"), SearchOp(NS)])
    assert results[1:] == [None, []]


async def test_stores_that_share_a_pool_do_not_prepare_the_same_statement_twice(
    database: str, index: IndexConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Share a pool, as the deployment's store and its routes do."""
    async with open_pool(database, max_size=1) as pool:
        for n in range(2):
            async with MemoryManager(pool, index=index, principal=Principal.service()) as store:
                await store.setup()
                await store.aput(("docs",), f"k{n}", {"text": "robot"})
                assert len(await store.asearch(("docs",), query="robot")) == n + 1
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


async def test_a_statement_of_ones_own_runs_as_whoever_is_acting_and_under_the_policies(
    store: MemoryManager,
) -> None:
    await store.aput(("users", ANN, "notes"), "a", {"text": "Ann's"})
    await store.aput(("users", BOB, "notes"), "b", {"text": "Bob's"})
    mine = Statement(
        "mine",
        "SELECT key, %(word)s::text AS word FROM memory.memories WHERE namespace <> %(not)s::text",
    )
    query = Query(
        mine, {"word": "hello", "not": ""}, lambda rows: [(row.key, row.word) for row in rows]
    )
    with acting_as(Principal.user(ANN)):
        assert await store.ask(query) == [("a", "hello")]
        with pytest.raises(AccessDenied):
            await store.ask(Query(Statement("others", "DELETE FROM memory.memory_history")))
