"""A move of a LangGraph store under writes: no loss, no duplicates, even if it is killed."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest
from langgraph.store.base import IndexConfig, PutOp
from langgraph.store.postgres.aio import AsyncPostgresStore

from graphs.deployment.pools import open_pool
from graphs.memory.errors import AccessDenied, ConfigurationError
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.operations.errors import SwitchRefused
from graphs.operations.migration.langgraph_store import LangGraphStore
from graphs.operations.migration.switching import Moving
from graphs.operations.operations import Operations
from tests.support.application import (
    ADA,
    BOB,
    OURS_THERE,
    Application,
    both_sides,
    old_store,
    shared,
)
from tests.support.dying_move import killed_at
from tests.support.operator import Operator
from tests.support.pooler import Pooler
from tests.support.sql import rows


@asynccontextmanager
async def moved(store: MemoryManager, **how: Any) -> AsyncIterator[LangGraphStore]:
    """Yield a store that has been copied and is being followed."""
    source = await Operations(store).moving.open(follow=True, **how)
    await Operations(store).moving.copy(source)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(Operations(store).moving.follow(source))
        yield source
        following.cancel()


async def eventually(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a question until its answer is true, for ten seconds at most, and return it."""
    for _ in range(1000):
        if found := await ask():
            return found
        await asyncio.sleep(0.01)
    return None


@pytest.mark.parametrize(
    "where", ["in one database", "in two", "in two, behind a transaction pooler"]
)
async def test_a_store_moves_while_an_application_writes_to_it(
    where: str, database: str, elsewhere: str, index: IndexConfig
) -> None:
    there = database if where == "in one database" else elsewhere
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(old_store(there, index))
        ours, theirs = database, there
        if "pooler" in where:
            pooler = stack.enter_context(Pooler(database))
            ours, theirs = pooler.url_for(database), pooler.url_for(there)
        store = await stack.enter_async_context(MemoryManager.from_conn_string(ours, index=index))
        pool = await stack.enter_async_context(open_pool(theirs)) if there != database else None
        application = Application(old, seed=len(where))
        await application.write(80)
        writing = asyncio.create_task(application.write(2000))
        moving = Operations(store).moving
        source = await moving.open(pool, follow=True)
        await moving.copy(source)
        following = asyncio.create_task(moving.follow(source))
        before = application.writes
        assert await eventually(lambda: application.has_written(before + 60))
        done = await moving.switch(source)
        await asyncio.gather(writing, following)
        assert application.writes < 2000  # the switch stopped the writes
        assert shared(done) == len(application.known)
        left, right = await both_sides(there, database)
        assert left == right
        kept = {(tuple(row["namespace"].split(".")), row["key"]): row["value"] for row in right}
        assert kept == application.known
        place = next(iter(kept))
        [found] = await store.asearch(place[0], query=kept[place]["text"], limit=1)
        assert found.score is not None
        [vectors] = await rows(database, "SELECT count(*) FROM memory.memory_embeddings")
        assert vectors["count"] == len(kept)


async def test_killed_at_any_moment_it_goes_on(
    database: str, elsewhere: str, index: IndexConfig
) -> None:
    async with old_store(elsewhere, index) as old:
        application = Application(old, seed=7)
        await old.abatch([PutOp(BOB, f"many{n}", {"text": f"Fact {n}"}) for n in range(450)])
        writing = asyncio.create_task(application.write(3000, pause=0.002))
        for most in (12, 40, 90):
            call = random.randint(2, most)  # noqa: S311
            assert await killed_at(call, database, elsewhere) == -signal.SIGKILL, f"call {call}"
        async with (
            MemoryManager.from_conn_string(database, index=index) as store,
            open_pool(elsewhere) as pool,
        ):
            source = await Operations(store).moving.open(pool, follow=True)
            await Operations(store).moving.copy(source)
            await Operations(store).moving.switch(source)
        await writing
    left, right = await both_sides(elsewhere, database)
    assert left == right
    assert len(right) == 450 + len(application.known)


async def test_a_change_that_commits_after_later_ones_were_seen_is_not_lost(
    store: MemoryManager, old: AsyncPostgresStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    await moving.copy(source)
    async with await psycopg.AsyncConnection.connect(database) as conn:
        await conn.execute(
            "INSERT INTO public.store (prefix, key, value) VALUES ('users.ada.facts', 'slow', '{}')"
        )
        await old.aput(ADA, "quick", {"text": "tea"})
        read = source.items

        async def commits_meanwhile(places: Any) -> Any:
            found = await read(places)
            await conn.commit()
            return found

        monkeypatch.setattr(source, "items", commits_meanwhile)
        await moving.follow(source, stopping=iter([False, True]).__next__)
    monkeypatch.undo()
    assert await store.aget(ADA, "quick") is not None
    assert shared(await moving.switch(source)) == 2


async def test_a_switch_waits_for_whoever_is_writing(
    store: MemoryManager, old: AsyncPostgresStore, database: str
) -> None:
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    await moving.copy(source)
    async with await psycopg.AsyncConnection.connect(database) as conn:
        await conn.execute(
            "INSERT INTO public.store (prefix, key, value) VALUES ('users.ada.facts', 'slow', '{}')"
        )
        await old.aput(ADA, "quick", {"text": "tea"})
        async with asyncio.TaskGroup() as group:
            following = group.create_task(moving.follow(source))
            assert await eventually(lambda: store.aget(ADA, "quick"))
            assert await store.aget(ADA, "slow") is None
            switching = group.create_task(moving.switch(source))
            await asyncio.sleep(0.2)
            await conn.commit()
            assert shared(await switching) == 2
            await following
    assert await store.aget(ADA, "slow") is not None


async def test_deletions_and_a_truncated_table_are_followed(
    store: MemoryManager, old: AsyncPostgresStore
) -> None:
    await old.abatch([PutOp(ADA, f"k{n}", {"text": f"tea {n}"}) for n in range(5)])
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    await moving.copy(source)
    async with old._cursor() as cursor:
        await cursor.execute("TRUNCATE store CASCADE")
    await old.aput(ADA, "k4", {"text": "again"})
    done = await moving.switch(source)
    assert shared(done) == 1
    assert [item.key for item in await store.asearch(("users",))] == ["k4"]


async def test_what_was_not_embedded_there_is_not_embedded_here(
    store: MemoryManager, old: AsyncPostgresStore
) -> None:
    await old.aput(ADA, "seen", {"text": "tea"})
    await old.aput(ADA, "hidden", {"text": "tea"}, index=False)
    async with moved(store):
        assert [item.key for item in await store.asearch(ADA, query="tea")] == ["seen"]


async def test_vectors_are_kept_where_the_model_is_the_same(
    store: MemoryManager, old: AsyncPostgresStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await old.aput(ADA, "kept", {"text": "tea"})
    await old.aput(ADA, "stale", {"text": "tea"})
    # The vector of the tea stays, although the text has changed.
    await old.aput(ADA, "stale", {"text": "coffee"}, index=False)
    embedded: list[str] = []
    embed = store.index_config["embed"].aembed_documents  # type: ignore[index,union-attr]

    async def counted(texts: list[str]) -> Any:
        embedded.extend(texts)
        return await embed(texts)

    monkeypatch.setattr(store.index_config["embed"], "aembed_documents", counted)  # type: ignore[index]
    async with moved(store, keep_vectors=True) as source:
        assert embedded == ['{"text": "coffee"}']
        [found] = await store.asearch(ADA, query='{"text": "tea"}', limit=1)
        assert (found.key, round(found.score or 0, 2)) == ("kept", 1.0)
        parity = (await Operations(store).moving.rehearse(source)).parity
        assert parity is not None
        assert parity.overlap == 1.0


async def test_reads_there_prolong_a_life_here_and_embed_nothing(
    store: MemoryManager, old: AsyncPostgresStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await old.aput(ADA, "k", {"text": "tea"}, ttl=60)
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    await moving.copy(source)
    monkeypatch.setattr(store.index_config["embed"], "aembed_documents", None)  # type: ignore[index]
    await old.aget(ADA, "k")
    done = await moving.switch(source)
    assert shared(done) == 1
    left, right = await both_sides(database, database)
    assert left == right


async def test_who_follows_ends_when_it_is_rolled_back(
    store: MemoryManager, old: AsyncPostgresStore
) -> None:
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    migration = await moving.copy(source)
    following = asyncio.create_task(moving.follow(source))
    await moving.roll_back(source, str(migration.id))
    assert (await following).status == "rolled_back"


async def test_what_was_changed_here_is_not_overwritten(
    store: MemoryManager, old: AsyncPostgresStore
) -> None:
    await old.aput(ADA, "k", {"text": "tea"})
    await old.aput(ADA, "l", {"text": "tea"})
    moving = Operations(store).moving
    source = await moving.open(follow=True)
    await moving.copy(source)
    await store.aput(ADA, "k", {"text": "ours"})
    await store.aput(ADA, "l", {"text": "ours"})
    await old.aput(ADA, "k", {"text": "theirs"})
    await old.adelete(ADA, "l")
    await moving.follow(source, stopping=iter([False, True]).__next__)
    for key in ("k", "l"):
        item = await store.aget(ADA, key)
        assert item is not None
        assert item.value == {"text": "ours"}


async def test_namespaces_are_renamed(store: MemoryManager, old: AsyncPostgresStore) -> None:
    await old.aput(("memories", "ada"), "k", {"text": "tea"})
    await old.aput(("memories", "ada", "deep"), "k", {"text": "tea"})
    await old.aput(("app",), "k", {"text": "tea"})
    rules = ["memories.{user}=users.{user}.memories", "{any}={any}"]
    async with moved(store, rules=rules, keep_vectors=True) as source:
        await old.aput(("memories", "bob"), "k", {"text": "coffee"})
        await old.adelete(("memories", "ada"), "k")
        done = await Operations(store).moving.switch(source)
    assert done.parity is not None
    assert done.parity.overlap == 1.0
    namespaces = [("app",), ("users", "ada", "memories", "deep"), ("users", "bob", "memories")]
    assert await store.alist_namespaces() == namespaces


async def test_of_two_stores_in_a_database_one_is_followed_at_a_time(
    store: MemoryManager, old: AsyncPostgresStore, database: str
) -> None:
    await rows(database, "CREATE SCHEMA other")
    await rows(database, "CREATE TABLE other.store (LIKE public.store INCLUDING ALL)")
    moving = Operations(store).moving
    await moving.copy(await moving.open(follow=True))
    with pytest.raises(ConfigurationError, match="belongs to other tables"):
        await moving.copy(await moving.open(schema="other", follow=True))


async def test_who_may_not_follow_is_told_what_to_grant(
    store: MemoryManager, old: AsyncPostgresStore, database: str
) -> None:
    await rows(database, "CREATE ROLE reader LOGIN")
    try:
        async with open_pool(psycopg.conninfo.make_conninfo(database, user="reader")) as pool:
            with pytest.raises(
                ConfigurationError,
                match='GRANT SELECT ON ALL TABLES IN SCHEMA "public" TO "reader"',
            ):
                await Operations(store).moving.open(pool)
            await rows(database, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
            await Operations(store).moving.open(pool)
            with pytest.raises(
                ConfigurationError,
                match=r'GRANT TRIGGER ON "public".store TO "reader"; GRANT CREATE',
            ):
                await Operations(store).moving.open(pool, follow=True)
    finally:
        await rows(database, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM reader")
        await rows(database, "DROP ROLE reader")
    with pytest.raises(ConfigurationError, match=r'no table "elsewhere"\.store'):
        await Operations(store).moving.open(schema="elsewhere")


async def test_of_two_items_that_become_one_neither_is_lost_unnoticed(
    store: MemoryManager, old: AsyncPostgresStore
) -> None:
    for namespace in (("a", "ada"), ("b", "ada")):
        await old.aput(namespace, "k", {"text": namespace[0]})
    moving = Operations(store).moving
    source = await moving.open(follow=True, rules=["a.{u}=users.{u}.x", "b.{u}=users.{u}.x"])
    await moving.copy(source)
    await old.aput(("b", "ada"), "k", {"text": "changed"})
    await moving.follow(source, once=True)
    with pytest.raises(SwitchRefused, match=r'"b.ada", "k".* its address was taken'):
        await moving.switch(source)
    await old.adelete(("b", "ada"), "k")
    assert shared(await moving.switch(source)) == 1
    item = await store.aget(("users", "ada", "x"), "k")
    assert item is not None
    assert item.value == {"text": "a"}


async def test_only_the_service_moves_a_store(
    store: MemoryManager, old: AsyncPostgresStore
) -> None:
    with (
        acting_as(Principal.user(str(uuid4()))),
        pytest.raises(AccessDenied, match="Only the service"),
    ):
        await Operations(store).moving.open()


async def test_options_stay_those_that_it_was_begun_with(
    store: MemoryManager, old: AsyncPostgresStore
) -> None:
    moving = Operations(store).moving
    await moving.copy(await moving.open(follow=True))
    with pytest.raises(ConfigurationError, match="started with other options"):
        await moving.copy(await moving.open(follow=True, rules=["a=users.a"]))


async def fill(database: str, index: IndexConfig) -> None:
    async with old_store(database, index) as old:
        await old.aput(ADA, "k", {"text": "tea"})
        await old.aput(("notes",), "n", {"text": "nobody's"})


def test_the_commands_copy_follow_and_switch_behind_a_transaction_pooler(
    operate: Operator, elsewhere: str, index: IndexConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(fill(elsewhere, index))
    with Pooler(elsewhere) as pooler:
        url = f"postgresql://postgres@127.0.0.1:{pooler.port}/"
        operate.set(
            MIGRATE_FROM_URL=url + name_of(elsewhere), DATABASE_URL=url + name_of(operate.database)
        )
        carry_out_commands(operate, elsewhere, monkeypatch)


def carry_out_commands(operate: Operator, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    preview = operate.json("migrate", "langgraph-store", "--follow", "--dry-run")
    assert (preview["total"], preview["new"], len(preview["rejected"])) == (2, 1, 1)
    assert asyncio.run(rows(elsewhere, OURS_THERE)) == [{"ours": 0}]
    follow = Moving.follow

    async def switched_meanwhile(self: Moving, source: LangGraphStore, **how: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.switch(source))
            return await follow(self, source, **how)

    monkeypatch.setattr(Moving, "follow", switched_meanwhile)
    command = ("migrate", "langgraph-store", "--follow", "--map", "notes=orgs.all.notes")
    done = operate.json(*command)["migration"]
    assert (done["status"], done["brought"]) == ("finished", 2)
    again = operate.json("migrate", "switch", done["id"], "--yes")
    assert again["migration"]["status"] == "finished"
    assert "takes writes again" in operate.done("migrate", "switch", done["id"], "--undo", "--yes")
    before = operate.sql("UPDATE memory.migrations SET status = 'paused' RETURNING *")
    assert operate.json("migrate", "switch", done["id"], "--dry-run")["obstacles"]["differing"] == 0
    assert operate.sql("SELECT * FROM memory.migrations") == before
    assert "The application may write here now." in operate.done(
        "migrate", "switch", done["id"], "--yes"
    )
    assert operate.json("migrate", "rollback", done["id"], "--yes")["removed"] == 2
    assert asyncio.run(rows(elsewhere, OURS_THERE)) == [{"ours": 0}]


def name_of(database: str) -> str:
    return str(cast("dict[str, Any]", psycopg.conninfo.conninfo_to_dict(database))["dbname"])
