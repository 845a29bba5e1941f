"""Any sequence of concurrent saves: each slug keeps its last content, in one row and one memory."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphs.memory.brain.brain import Brain
from graphs.memory.brain.models import BrainMemory, BrainReport
from graphs.memory_manager import MemoryManager
from graphs.testing.support import ALPHABET, embed_letters
from tests.support.sql import rows

slugs = st.sampled_from(["a", "b", "c1", "d_e", "Bad", "", "1"])
contents = st.sampled_from(["One.", "Two.", "one", " ", "a\0b", "ünï", "\ud800", "x" * 3000])
saves = st.dictionaries(slugs, contents, max_size=5)
forgets = st.sampled_from(["a", "b", "c1"]).map(lambda slug: ("forget", slug))
deletes = st.sampled_from(["a", "b", "c1"]).map(lambda slug: ("delete", slug))
steps = st.lists(saves.map(lambda memories: ("save", memories)) | forgets | deletes, max_size=12)

STORABLE = {"a", "b", "c1", "d_e"}
UNSTORABLE = {" ", "a\0b", "\ud800"}
OWNERS = ("users", "orgs")


@pytest.fixture
def opened(database: str) -> Iterator[tuple[asyncio.Runner, MemoryManager, str]]:
    with asyncio.Runner() as runner:
        opening = MemoryManager.from_conn_string(
            database, index={"dims": len(ALPHABET), "embed": embed_letters}
        )
        store = runner.run(opening.__aenter__())
        runner.run(store.setup())
        yield runner, store, database
        runner.run(opening.__aexit__(None, None, None))


async def save(brain: Brain, kind: str, memories: Any) -> BrainReport:
    return await (brain.save_user_memories if kind == "users" else brain.save_company_memories)(
        "o", memories
    )


async def kept_by(brain: Brain, kind: str) -> dict[str, str]:
    memories = (brain.user_memories if kind == "users" else brain.company_memories)("o")
    return {memory.slug: memory.content async for memory in memories}


async def check_rows(database: str, kind: str, slugs: set[str]) -> None:
    """Check that each memory has one row, each row one memory, and that the two match."""
    table = "user_brain" if kind == "users" else "company_brain"
    linked = await rows(
        database,
        f"""SELECT b.slug, m.key FROM memory.{table} AS b FULL JOIN (
          SELECT id, key FROM memory.memories WHERE namespace = '{kind}.o.brain.'
        ) AS m ON m.id = b.memory_id""",
    )
    assert sorted((row["slug"], row["key"]) for row in linked) == sorted(
        (slug, slug) for slug in slugs
    )


async def clear(store: MemoryManager) -> None:
    for kind in OWNERS:
        for item in await store.asearch((kind, "o"), limit=1000):
            await store.adelete(item.namespace, item.key)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=st.sampled_from(OWNERS), steps=steps)
def test_any_sequence_ends_in_the_last_content_of_each_slug(
    kind: str, steps: list[tuple[str, Any]], opened: tuple[asyncio.Runner, MemoryManager, str]
) -> None:
    runner, store, database = opened

    async def compare() -> None:
        await clear(store)
        expected: dict[str, str] = {}
        for step, what in steps:
            if step == "save":
                good = {s: c for s, c in what.items() if s in STORABLE and c not in UNSTORABLE}
                report = await save(store.brain, kind, what)
                assert (report.saved_count, report.failed_count) == (
                    len(good),
                    len(what) - len(good),
                )
                for outcome in report.outcomes:
                    slug = outcome.slug
                    if slug in good:
                        before = expected.get(slug)
                        new = (
                            "created"
                            if before is None
                            else "unchanged"
                            if before == good[slug]
                            else "updated"
                        )
                        assert outcome.outcome == new
                expected |= good
            elif step == "delete":
                await store.adelete((kind, "o", "brain"), what)
                expected.pop(what, None)
            else:
                forget = (
                    store.brain.forget_user_memory
                    if kind == "users"
                    else store.brain.forget_company_memory
                )
                assert await forget("o", what) == (expected.pop(what, None) is not None)
            assert await kept_by(store.brain, kind) == expected
        await check_rows(database, kind, set(expected))

    runner.run(compare())


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=st.sampled_from(OWNERS), together=st.lists(saves, min_size=2, max_size=8))
def test_saves_that_meet_leave_one_content_that_somebody_gave(
    kind: str, together: list[dict[str, str]], opened: tuple[asyncio.Runner, MemoryManager, str]
) -> None:
    runner, store, database = opened
    good = [
        {s: c for s, c in given.items() if s in STORABLE and c not in UNSTORABLE}
        for given in together
    ]

    async def compare() -> None:
        await clear(store)
        reports = await asyncio.gather(*(save(store.brain, kind, given) for given in together))
        assert [report.saved_count for report in reports] == [len(given) for given in good]
        kept = await kept_by(store.brain, kind)
        assert kept.keys() == {slug for given in good for slug in given}
        assert all(
            any(given.get(slug) == content for given in good) for slug, content in kept.items()
        )
        await check_rows(database, kind, set(kept))

    runner.run(compare())


def test_of_two_memories_with_one_slug_the_last_counts(
    opened: tuple[asyncio.Runner, MemoryManager, str],
) -> None:
    runner, store, _ = opened
    memories = [BrainMemory(slug="a", content=content) for content in ("One.", "Two.")]
    report = runner.run(save(store.brain, "users", memories))
    assert (report.saved_count, runner.run(kept_by(store.brain, "users"))) == (1, {"a": "Two."})
