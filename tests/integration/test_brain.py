"""The brain: a slug names one memory of a user or a company, and a new save replaces it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig
from psycopg.conninfo import conninfo_to_dict

from graphs.composition import deployment_store
from graphs.deployment.pools import open_pool
from graphs.deployment.settings import load_settings
from graphs.memory.brain.brain import Brain
from graphs.memory.brain.entities import cl_rut
from graphs.memory.brain.models import BrainMemory, BrainReport
from graphs.memory.database.database import Pool
from graphs.memory.errors import (
    AccessDenied,
    InvalidEntityId,
    InvalidValue,
    PrincipalRequired,
)
from graphs.memory.knowledge.memories import Revision
from graphs.memory.principal import Principal, acting_as
from graphs.memory.values.namespaces import user_scope
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings
from tests.conftest import as_url
from tests.support.sql import rows

ANN, BOB, MEMBER, ADMINISTRATOR = (str(uuid4()) for _ in range(4))
RUT = "76192083-9"
COMPANY = "761920839"


class Embeddings(OfflineEmbeddings):
    """An embedding model that records its batches, and fails on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.refuses = ""
        self.is_away = False

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        self.batches.append(list(texts))
        if self.is_away:
            raise ConnectionError("the model is away")
        if self.refuses and any(self.refuses in text for text in texts):
            raise ValueError("no text for a model")
        return await super().aembed_documents(texts)


@pytest.fixture
def model() -> Embeddings:
    return Embeddings()


@pytest.fixture
async def store(database: str, model: Embeddings) -> AsyncIterator[MemoryManager]:
    """Yield a store without a default principal; companies have RUTs, one has two members."""
    index: Any = {"dims": 256, "embed": model, "model": "offline:wordllama", "ranking": "hybrid"}
    await rows(
        database,
        f"""INSERT INTO memory.organisations (id, name) VALUES ('{COMPANY}', 'Acme');
        INSERT INTO memory.organisation_members VALUES ('{COMPANY}', '{MEMBER}', 'member'),
        ('{COMPANY}', '{ADMINISTRATOR}', 'admin')""",
    )
    async with (
        open_pool(database) as pool,
        MemoryManager(pool, index=index, entities={"company": cl_rut}) as store,
    ):
        yield store


def acting(user_id: str) -> Any:
    return acting_as(Principal.user(user_id))


def outcomes(report: BrainReport) -> dict[str, str]:
    return {o.slug: o.outcome for o in report.outcomes}


async def versions(database: str) -> tuple[int, int, int]:
    """Return the numbers of memories, old versions, and records of changes."""
    [counted] = await rows(
        database,
        """SELECT (SELECT count(*) FROM memory.memories) AS m,
          (SELECT count(*) FROM memory.memory_history) AS h,
          (SELECT count(*) FROM memory.audit_logs
           WHERE action IN ('memory.insert', 'memory.update')) AS a""",
    )
    return counted["m"], counted["h"], counted["a"]


# Saving -------------------------------------------------------------------------------------------


async def test_a_slug_saved_again_changes_its_memory_in_place(
    store: MemoryManager, database: str
) -> None:
    with acting(ANN):
        first = await store.brain.save_user_memories(ANN, {"user_full_name": "Ann Lee"})
        created = await store.brain.get_user_memory(ANN, "user_full_name")
        again = await store.brain.save_user_memories(ANN, {"user_full_name": "Ann Bee"})
        updated = await store.brain.get_user_memory(ANN, "user_full_name")
    assert (outcomes(first), outcomes(again)) == (
        {"user_full_name": "created"},
        {"user_full_name": "updated"},
    )
    assert created is not None
    assert updated is not None
    assert (created.content, updated.content) == ("Ann Lee", "Ann Bee")
    assert (updated.memory_id, updated.created_at) == (created.memory_id, created.created_at)
    assert await versions(database) == (1, 1, 2)
    [row] = await rows(database, "SELECT user_id, slug, memory_id FROM memory.user_brain")
    assert row == {"user_id": ANN, "slug": "user_full_name", "memory_id": created.memory_id}


async def test_what_is_there_as_given_is_neither_embedded_nor_written_again(
    store: MemoryManager, database: str, model: Embeddings
) -> None:
    memories = [
        BrainMemory(
            slug="likes",
            content="Tea.",
            tags=["taste"],
            metadata={"a": {"c": 1, "b": [True, None, 1.5]}},
        ),
        BrainMemory(slug="dog", content="Rex."),
    ]
    with acting(ANN):
        await store.brain.save_user_memories(ANN, memories)
        before, model.batches = await versions(database), []
        report = await store.brain.save_user_memories(ANN, memories)
        assert (outcomes(report), report.success, report.saved_count) == (
            {"likes": "unchanged", "dog": "unchanged"},
            True,
            2,
        )
        assert (await versions(database), model.batches) == (before, [])
        changes: list[dict[str, Any]] = [
            {"tags": []},
            {"metadata": {"a": 1}},
            {"metadata": {"a": True}},
            {"content": "Tea"},
        ]
        for change in changes:
            changed = memories[0].model_copy(update=change)
            assert outcomes(await store.brain.save_user_memories(ANN, [changed])) == {
                "likes": "updated"
            }, change
            kept = await store.brain.get_user_memory(ANN, "likes")
            assert kept is not None
            assert kept.model_dump(
                include={"content", "category", "tags", "metadata"}
            ) == changed.model_dump(exclude={"slug"})


async def test_hundreds_take_one_batch_of_embeddings_and_a_restart_costs_none(
    store: MemoryManager, database: str, model: Embeddings
) -> None:
    memories = {f"fact_{n}": f"Fact number {n}." for n in range(500)}
    with acting_as(Principal.service()):
        # The first call stands for a save that was interrupted.
        await store.brain.save_company_memories(RUT, dict(list(memories.items())[:200]))
        model.batches = []
        report = await store.brain.save_company_memories(RUT, memories)
    assert (report.success, report.saved_count, report.failed_count, report.errors) == (
        True,
        500,
        0,
        [],
    )
    assert sorted(outcomes(report).values()) == ["created"] * 300 + ["unchanged"] * 200
    assert list(outcomes(report)) == list(memories)
    [batch] = model.batches
    assert len(batch) == 600, "the contents and slugs of the new memories"
    [row] = await rows(
        database,
        "SELECT count(*) AS n, count(DISTINCT xmin::text) AS writes FROM memory.company_brain",
    )
    assert row == {"n": 500, "writes": 2}, "one transaction for each call"


WRONG: dict[Any, Any] = {
    "User": "capitals",
    "1st": "a digit first",
    "full name": "a space",
    "full-name": "a dash",
    "": "nothing",
    "x" * 129: "too long",
    "nul\0": "a NUL",
    "half\ud800": "a surrogate",
    "line\n": "a line break",
    7: "a number",
    None: "none",
    "blank": " \n",
    "number": 7,
    "nothing": None,
    "unstorable": "a\0b",
    "no_text": "\ud800",
}


async def test_each_that_cannot_be_saved_fails_alone_and_by_name(
    store: MemoryManager, database: str
) -> None:
    with acting(ANN):
        report = await store.brain.save_user_memories(
            ANN, {"first": "One.", **WRONG, "last": "Two."}
        )
    assert (report.success, report.saved_count, report.failed_count) == (False, 2, len(WRONG))
    assert len(report.errors) == len(WRONG)
    for outcome, error in zip(
        [o for o in report.outcomes if o.outcome == "failed"], report.errors, strict=True
    ):
        assert error == f"{outcome.slug}: {outcome.reason}"
        assert outcome.error == "InvalidValue"
        assert outcome.reason
        assert outcome.reason.startswith(("slug ", "content ", "value.content "))
    kept = await rows(database, "SELECT slug FROM memory.user_brain ORDER BY 1")
    assert [row["slug"] for row in kept] == ["first", "last"]
    assert BrainReport.model_validate(report.model_dump()) == report


async def test_dictionaries_are_memories_and_a_malformed_one_fails_alone(
    store: MemoryManager,
) -> None:
    diet = {"slug": "diet", "category": "health", "content": "Vegetarian."}
    given: list[Any] = [
        diet,
        None,
        "text",
        {"content": "No slug."},
        {"slug": 7, "content": "A number."},
        {"slug": "no_content"},
        {"slug": "odd", "content": "Red.", "colour": "red"},
        {"slug": "tags", "content": "One.", "tags": "one"},
        {"slug": "number", "content": 7},
        {"slug": "large", "content": "x", "metadata": {"n": 2**64}},
        BrainMemory(slug="dog", content="Rex."),
    ]
    with acting(ANN):
        report = await store.brain.save_user_memories(ANN, given)
        assert report.saved_count == 2
        failed = [o for o in report.outcomes if o.outcome == "failed"]
        assert {o.error for o in failed} == {"InvalidValue"}
        assert [(o.slug, (o.reason or "").split()[0]) for o in failed] == [
            ("[1]", "slug"),
            ("[2]", "slug"),
            ("[3]", "slug"),
            ("[4]", "slug"),
            ("no_content", "content"),
            ("odd", "colour"),
            ("tags", "tags"),
            ("number", "content"),
            ("large", "value.metadata.n"),
        ]
        kept = await store.brain.get_user_memory(ANN, "diet")
        assert kept is not None
        assert (kept.category, kept.content) == ("health", "Vegetarian.")
        [item] = await store.asearch(("users", ANN, "brain"), filter={"category": "health"})
        assert item.key == "diet"
        by_slug = {"diet": {"category": "health", "content": "Vegetarian."}, "cat": diet}
        again = await store.brain.save_user_memories(ANN, by_slug)
        assert [o.outcome for o in again.outcomes] == ["unchanged", "failed"]


async def test_what_the_database_refuses_fails_alone(store: MemoryManager, database: str) -> None:
    await rows(
        database, "ALTER TABLE memory.memories ADD CONSTRAINT odd CHECK (key NOT IN ('s13', 's77'))"
    )
    with acting(ANN):
        report = await store.brain.save_user_memories(
            ANN, {f"s{n}": f"Number {n}." for n in range(100)}
        )
    assert (report.saved_count, report.failed_count) == (98, 2)
    assert [error.split(":")[0] for error in report.errors] == ["s13", "s77"]
    assert all("odd" in error for error in report.errors)
    [counted] = await rows(database, "SELECT count(*) FROM memory.user_brain")
    assert counted["count"] == 98


async def test_what_cannot_be_embedded_fails_alone(store: MemoryManager, model: Embeddings) -> None:
    model.refuses = "poison"
    with acting(ANN):
        report = await store.brain.save_user_memories(
            ANN, {f"s{n}": "poison" if n in (3, 40) else f"Number {n}." for n in range(50)}
        )
        assert (report.saved_count, report.failed_count) == (48, 2)
        assert [(o.slug, o.error) for o in report.outcomes if o.outcome == "failed"] == [
            ("s3", "EmbeddingFailed"),
            ("s40", "EmbeddingFailed"),
        ]
        assert await store.brain.get_user_memory(ANN, "s3") is None
        assert await store.aget(("users", ANN, "brain"), "s3") is None


async def test_a_model_that_is_away_fails_what_is_new_and_is_not_asked_for_each(
    store: MemoryManager, model: Embeddings
) -> None:
    with acting(ANN):
        await store.brain.save_user_memories(ANN, {"old": "Here."})
        model.is_away, model.batches = True, []
        report = await store.brain.save_user_memories(
            ANN, {"old": "Here.", **{f"s{n}": f"{n}." for n in range(50)}}
        )
    assert (report.saved_count, report.failed_count) == (1, 50)
    assert len(model.batches) <= 4


async def test_nothing_to_save_is_a_success(store: MemoryManager) -> None:
    nothing: tuple[dict[str, str], Sequence[BrainMemory]] = ({}, [])
    with acting(ANN):
        for none in nothing:
            report = await store.brain.save_user_memories(ANN, none)
            assert (report.success, report.saved_count, report.errors) == (True, 0, [])


async def test_concurrent_saves_of_one_slug_neither_fail_nor_make_a_second_memory(
    store: MemoryManager, database: str
) -> None:
    async def save(n: int) -> BrainReport:
        slugs = ["a", "b", "c", "d"] if n % 2 else ["d", "c", "b", "a"]  # opposite orders
        return await store.brain.save_user_memories(
            ANN, {slug: f"{slug}, said by {n % 5}." for slug in slugs}
        )

    async def forget(n: int) -> None:
        await asyncio.sleep(n / 500)
        await store.brain.forget_user_memory(ANN, "a")

    with acting(ANN):
        reports = await asyncio.gather(*(save(n) for n in range(24)))
        assert all(report.success for report in reports)
        assert sum(o.outcome == "created" for report in reports for o in report.outcomes) == 4
        await asyncio.gather(*(save(n) for n in range(12)), *(forget(n) for n in range(6)))
        assert (await save(1)).success
        kept = {m.slug: m.content async for m in store.brain.user_memories(ANN)}
    assert kept == {slug: f"{slug}, said by 1." for slug in "abcd"}
    assert len(await rows(database, "SELECT 1 FROM memory.memories")) == 4
    assert len(await rows(database, "SELECT 1 FROM memory.user_brain")) == 4


async def test_a_memory_and_its_row_are_stored_together_or_not_at_all(
    store: MemoryManager, database: str
) -> None:
    await rows(database, "ALTER TABLE memory.user_brain ADD CONSTRAINT broken CHECK (false)")
    with acting(ANN):
        report = await store.brain.save_user_memories(ANN, {"a": "One.", "b": "Two."})
    assert report.failed_count == 2
    assert await versions(database) == (0, 0, 0)


# Reading and forgetting ---------------------------------------------------------------------------


async def test_what_was_deleted_behind_our_back_is_gone_and_is_made_again(
    store: MemoryManager, database: str
) -> None:
    with acting(ANN):
        await store.brain.save_user_memories(ANN, {"a": "One.", "b": "Two."})
        await store.adelete(("users", ANN, "brain"), "a")
        assert await store.brain.get_user_memory(ANN, "a") is None
        assert [m.slug async for m in store.brain.user_memories(ANN)] == ["b"]
        report = await store.brain.save_user_memories(ANN, {"a": "One.", "b": "Two."})
        assert outcomes(report) == {"a": "created", "b": "unchanged"}
        assert await store.brain.get_user_memory(ANN, "a") is not None
    assert len(await rows(database, "SELECT 1 FROM memory.user_brain")) == 2


async def test_what_was_put_by_hand_is_taken_into_the_brain(store: MemoryManager) -> None:
    with acting(ANN):
        await store.aput(("users", ANN, "brain"), "a", {"odd": "shape"})
        assert await store.brain.get_user_memory(ANN, "a") is None
        assert outcomes(await store.brain.save_user_memories(ANN, {"a": "One."})) == {
            "a": "updated"
        }
        await store.aput(("users", ANN, "brain"), "a", {"odd": "shape", "tags": 7, "metadata": "x"})
        kept = await store.brain.get_user_memory(ANN, "a")
        assert kept is not None
        assert (kept.content, kept.tags, kept.metadata) == (
            "{'odd': 'shape', 'tags': 7, 'metadata': 'x'}",
            [],
            {},
        )


async def test_all_of_an_owner_come_in_pages_by_slug(store: MemoryManager) -> None:
    slugs = sorted(f"s{n}" for n in range(1203))
    with acting(ANN):
        await store.brain.save_user_memories(
            ANN, {slug: f"It is {slug}." for slug in reversed(slugs)}
        )
        assert [m.slug async for m in store.brain.user_memories(ANN)] == slugs


async def test_a_memory_is_forgotten_and_its_last_version_stays_in_the_history(
    store: MemoryManager, database: str
) -> None:
    with acting(ANN):
        await store.brain.save_user_memories(ANN, {"a": "One."})
        assert await store.brain.forget_user_memory(ANN, "a") is True
        assert await store.brain.forget_user_memory(ANN, "a") is False
        assert await store.brain.get_user_memory(ANN, "a") is None
    assert await rows(database, "SELECT 1 FROM memory.user_brain") == []
    [old] = await rows(database, "SELECT operation, value FROM memory.memory_history")
    assert (old["operation"], old["value"]["content"]) == ("delete", "One.")


@pytest.mark.parametrize("slug", ["", "A", "a-b", "a" * 129, "a\0", "é", None])
async def test_what_is_no_slug_is_refused_by_name(store: MemoryManager, slug: Any) -> None:
    with acting(ANN):
        for ask in (store.brain.get_user_memory, store.brain.forget_user_memory):
            with pytest.raises(InvalidValue) as refused:
                await ask(ANN, slug)
            assert refused.value.path == "slug"


async def test_a_person_recalls_what_is_in_the_brain_also_by_its_slug(store: MemoryManager) -> None:
    """Match the slug too, since a terse content has too little meaning by itself."""
    with acting(ANN):
        await store.brain.save_user_memories(
            ANN, {"favourite_drink": "Earl Grey", "home_town": "Valparaíso", "shoe_size": "38"}
        )
        for query, slug in (
            ("what does she like to drink?", "favourite_drink"),
            ("her shoe size", "shoe_size"),
        ):
            found = await store.recall_memory(ANN, query)
            assert (found[0].namespace, found[0].key) == (("users", ANN, "brain"), slug)
        context = await store.load_context(ANN, "s1", query="which town is her home?")
        assert context.memories[0].content == "Valparaíso"


async def test_what_a_slug_names_does_not_fade_with_time(
    store: MemoryManager, database: str
) -> None:
    with acting(ANN):
        await store.brain.save_user_memories(ANN, {"user_full_name": "Ann Lee"})
        await rows(
            database,
            """ALTER TABLE memory.memories DISABLE TRIGGER ALL;
            UPDATE memory.memories SET updated_at = now() - interval '1 year';
            ALTER TABLE memory.memories ENABLE TRIGGER ALL""",
        )
        report = await store.decay_memory(ANN, 30)
        assert (report.trimmed, report.faded) == (0, 0)
        assert await store.brain.get_user_memory(ANN, "user_full_name") is not None


async def test_every_read_and_change_is_recorded(store: MemoryManager, database: str) -> None:
    with acting(ANN):
        await store.brain.save_user_memories(ANN, {"a": "One."})
        await store.brain.get_user_memory(ANN, "a")
        assert [m.slug async for m in store.brain.user_memories(ANN)] == ["a"]
        await store.recall_receipts(ANN)  # waits until the reads are recorded
    records = await rows(
        database, "SELECT action, actor, namespace, data FROM memory.audit_logs ORDER BY id"
    )
    namespace = f"users.{ANN}.brain."
    assert [(r["action"], r["actor"], r["namespace"]) for r in records] == [
        ("memory.insert", ANN, namespace),
        ("memory.read", ANN, namespace),
    ]
    assert records[1]["data"] == {"gets": 1, "searches": 1, "found": 2}


# Whose they are -----------------------------------------------------------------------------------


async def test_nobody_reaches_anothers_brain(store: MemoryManager, database: str) -> None:
    with acting(ANN):
        await store.brain.save_user_memories(ANN, {"secret": "swordfish"})
    with acting(BOB):
        for attempt in (
            store.brain.get_user_memory(ANN, "secret"),
            store.brain.forget_user_memory(ANN, "secret"),
            store.brain.save_user_memories(ANN, {"secret": "planted"}),
            store.brain.save_user_memories(ANN, {}),
            store.brain.companies_of(ANN),
            anext(aiter(store.brain.user_memories(ANN))),
        ):
            with pytest.raises(
                AccessDenied, match=f"User {BOB} may not use the memory of user {ANN}"
            ):
                await attempt
        assert await store.brain.get_user_memory(BOB, "secret") is None
    with pytest.raises(PrincipalRequired):
        await store.brain.get_user_memory(ANN, "secret")
    with pytest.raises(PrincipalRequired):
        await store.brain.get_company_memory(RUT, "secret")
    [kept] = await rows(database, "SELECT value ->> 'content' AS content FROM memory.memories")
    assert kept["content"] == "swordfish"


async def test_a_companys_memories_are_its_members_and_only_administrators_delete(
    store: MemoryManager,
) -> None:
    with acting(MEMBER):
        assert (await store.brain.save_company_memories(RUT, {"tax_regime": "Pro PyME"})).success
    with acting(ADMINISTRATOR):
        kept = await store.brain.get_company_memory(RUT, "tax_regime")
        assert kept is not None
        assert kept.content == "Pro PyME"
        assert outcomes(await store.brain.save_company_memories(RUT, {"tax_regime": "14 A"})) == {
            "tax_regime": "updated"
        }
    with acting(MEMBER):
        with pytest.raises(AccessDenied, match="administrators"):
            await store.brain.forget_company_memory(RUT, "tax_regime")
        assert [m.content async for m in store.brain.company_memories(RUT)] == ["14 A"]
        assert await store.brain.forget_company_memory(RUT, "unheard_of") is False
        assert await store.brain.companies_of(MEMBER) == [COMPANY]
    with acting(ADMINISTRATOR):
        assert await store.brain.forget_company_memory(RUT, "tax_regime") is True
        assert [m async for m in store.brain.company_memories(RUT)] == []


async def test_to_a_stranger_a_company_looks_like_one_that_does_not_exist(
    store: MemoryManager, database: str
) -> None:
    with acting(MEMBER):
        await store.brain.save_company_memories(RUT, {"tax_regime": "Pro PyME"})
    before = await versions(database)
    with acting(BOB):
        told = []
        for company in (RUT, "12345678-5"):
            assert await store.brain.get_company_memory(company, "tax_regime") is None
            assert [m async for m in store.brain.company_memories(company)] == []
            assert await store.brain.forget_company_memory(company, "tax_regime") is False
            with pytest.raises(AccessDenied) as refused:
                await store.brain.save_company_memories(
                    company, {"tax_regime": "Pro PyME", "planted": "x"}
                )
            told.append(str(refused.value))
        assert told[0] == told[1]
        assert await store.brain.companies_of(BOB) == []
    assert await versions(database) == before


async def test_every_spelling_of_a_companys_id_is_the_same_company(
    store: MemoryManager, database: str
) -> None:
    with acting(MEMBER):
        for n, spelling in enumerate(
            ("76.192.083-9", "761920839", " 76192083-9 ", "076.192.083\u20139")
        ):
            await store.brain.save_company_memories(spelling, {"tax_regime": f"Version {n}"})
            kept = await store.brain.get_company_memory(COMPANY, "tax_regime")
            assert kept is not None
            assert kept.content == f"Version {n}"
        with pytest.raises(InvalidEntityId, match="check digit") as refused:
            await store.brain.save_company_memories("76.192.083-8", {"tax_regime": "x"})
        assert refused.value.path == "company_id"
    [row] = await rows(database, "SELECT org_id FROM memory.company_brain")
    assert row["org_id"] == COMPANY


async def test_the_deployment_knows_companies_as_its_settings_say(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", as_url(database, str(conninfo_to_dict(database)["dbname"])))
    monkeypatch.setenv("MEMORY_COMPANY_IDS", "cl_rut")
    load_settings.cache_clear()
    async with deployment_store() as store:
        assert store.brain.company_id("76.192.083-9") == COMPANY
    load_settings.cache_clear()


async def test_without_a_normaliser_ids_are_as_they_are_given(
    database: str, index: IndexConfig
) -> None:
    async with MemoryManager.from_conn_string(database, index=index) as store:
        await store.brain.save_company_memories(" acme.example ", {"a": "One."})
        assert await store.brain.get_company_memory("acme.example", "a") is not None
        for wrong in ("", "  ", "a\0"):
            with pytest.raises(InvalidEntityId) as refused:
                await store.brain.save_user_memories(wrong, {"a": "One."})
            assert refused.value.path == "user_id"
    [row] = await rows(
        database,
        "SELECT b.org_id, m.org_id AS owner FROM memory.company_brain b, memory.memories m",
    )
    assert row == {"org_id": "acme.example", "owner": "acme.example"}


async def test_no_row_can_point_past_the_brain(store: MemoryManager, database: str) -> None:
    """Refuse the row: it would take the memory of another slug, which then could not be saved."""
    with acting(MEMBER):
        await store.brain.save_company_memories(RUT, {"tax_regime": "Pro PyME"})
        await store.aput(("orgs", COMPANY, "notes"), "planted", {"text": "x"})
    claims = Principal.user(MEMBER).claims
    for where in ("key = 'planted'", "key = 'tax_regime'"):
        with pytest.raises(Exception, match="row-level security"):
            await rows(
                database,
                f"""BEGIN; SELECT set_config('role', 'authenticated', true),
                set_config('request.jwt.claims', '{claims}', true);
                INSERT INTO memory.company_brain (org_id, slug, memory_id)
                SELECT '{COMPANY}', 'other', id FROM memory.memories WHERE {where}; COMMIT""",
            )


async def test_the_brain_is_exported_and_erased_with_its_person(
    store: MemoryManager, database: str
) -> None:
    with acting(ANN):
        await store.brain.save_user_memories(ANN, {"secret": "swordfish"})
        lines = [line async for line in store.export_user(ANN)]
    with acting(BOB):
        await store.brain.save_user_memories(BOB, {"secret": "mine"})
    assert any('"memory.user_brain"' in line and '"secret"' in line for line in lines)
    assert any('"memory.memories"' in line and "swordfish" in line for line in lines)
    with acting(ANN):
        certificate = await store.erase_user(ANN)
        assert certificate.erased["memory.user_brain"] == certificate.erased["memory.memories"] == 1
        assert await store.brain.get_user_memory(ANN, "secret") is None
    assert [
        row["user_id"] for row in await rows(database, "SELECT user_id FROM memory.user_brain")
    ] == [BOB]


class WatchedPool:
    """A pool that records the event loops of its callers."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.loops: set[asyncio.AbstractEventLoop] = set()

    def connection(self) -> Any:
        self.loops.add(asyncio.get_running_loop())
        return self.pool.connection()

    async def check(self) -> None:
        await self.pool.check()


async def test_from_another_event_loop_it_works_on_the_one_its_connections_belong_to(
    database: str, index: IndexConfig
) -> None:
    async def elsewhere(brain: Brain) -> None:
        await brain.save_user_memories(ANN, {"a": "One."})
        await brain.save_company_memories(COMPANY, {"a": "One."})
        assert await brain.get_user_memory(ANN, "a") is not None
        assert await brain.get_company_memory(COMPANY, "a") is not None
        assert [m.content async for m in brain.user_memories(ANN)] == ["One."]
        assert [m.content async for m in brain.company_memories(COMPANY)] == ["One."]
        assert await brain.companies_of(ANN) == []
        assert await brain.forget_user_memory(ANN, "a")
        assert await brain.forget_company_memory(COMPANY, "a")

    async with open_pool(database) as pool:
        watched = WatchedPool(pool)
        async with MemoryManager(watched, index=index) as store:
            with acting_as(Principal.service()):
                await asyncio.to_thread(asyncio.run, elsewhere(store.brain))
        assert watched.loops == {asyncio.get_running_loop()}


async def test_what_is_pinned_stays_pinned_when_it_is_saved_again(store: MemoryManager) -> None:
    with acting_as(Principal.user(ANN)):
        await store.brain.save_user_memories(ANN, {"favourite_drink": "Tea."})
        where = (user_scope(ANN, "brain"), "favourite_drink")
        await store.memories.revise(ANN, where, Revision(pinned=True))
        assert outcomes(await store.brain.save_user_memories(ANN, {"favourite_drink": "Tea."})) == {
            "favourite_drink": "unchanged"
        }
        await store.brain.save_user_memories(ANN, {"favourite_drink": "Coffee."})
        kept = await store.memories.get(ANN, where)
    assert (kept.content, kept.pinned) == ("Coffee.", True)


async def test_what_a_person_puts_right_is_found_by_its_slug_as_before(
    store: MemoryManager, database: str
) -> None:
    with acting_as(Principal.user(ANN)):
        await store.brain.save_user_memories(ANN, {"favourite_drink": "Tea."})
        fields = "SELECT field FROM memory.memory_embeddings ORDER BY 1"
        embedded = await rows(database, fields)
        await store.memories.revise(
            ANN, (user_scope(ANN, "brain"), "favourite_drink"), Revision(content="Mate.")
        )
    assert await rows(database, fields) == embedded
