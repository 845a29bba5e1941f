"""Hybrid search through the store: complete, explained, and as closed to others as any search."""

import unicodedata
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from langgraph.store.base import IndexConfig, PutOp

from graphs.memory.errors import ConfigurationError
from graphs.memory.principal import Principal, acting_as
from graphs.memory.search import hybrid
from graphs.memory_manager import MemoryManager
from tests.support.sql import rows

NS = ("users", "u1", "notes")


@pytest.fixture
async def store(database: str, index: IndexConfig) -> AsyncIterator[MemoryManager]:
    config: Any = {**index, "fields": ["text"], "ranking": "hybrid"}
    async with MemoryManager.from_conn_string(
        database, index=config, ttl={"refresh_on_read": True}
    ) as store:
        yield store


@pytest.fixture(params=["whole", "candidates"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set both ways to search a scope: all of it, or only its candidate set."""
    if request.param == "candidates":
        monkeypatch.setattr(hybrid, "WHOLE", 0)
    return str(request.param)


async def put(
    store: MemoryManager, texts: dict[str, str], namespace: tuple[str, ...] = NS, **value: Any
) -> None:
    await store.abatch(
        [PutOp(namespace, key, {"text": text, **value}) for key, text in texts.items()]
    )


async def found(store: MemoryManager, query: str, **more: Any) -> list[str]:
    return [item.key for item in await store.asearch(NS, query=query, **more)]


async def test_a_word_finds_what_no_vector_would(store: MemoryManager, way: str) -> None:
    """Match ids and names that the embedding model does not know by words."""
    await put(
        store,
        {f"k{n}": f"Order number {n} of the customer" for n in range(40)}
        | {"it": "Ticket XK-4711-Q"},
    )
    assert (await found(store, "what about XK-4711-Q?"))[0] == "it"


async def test_words_are_stemmed(store: MemoryManager, way: str) -> None:
    await put(
        store,
        {f"k{n}": f"Something else {n}" for n in range(20)} | {"it": "She painted three sunsets"},
    )
    assert (await found(store, "paintings of a sunset"))[0] == "it"


@pytest.mark.parametrize(
    "word", ["Zoë", "Trần", "한국어", "\uff34\uff4f\uff4b\uff59\uff4f", "\ufb01ve"]
)
async def test_a_word_is_found_however_a_keyboard_composes_it(
    database: str, index: IndexConfig, way: str, word: str
) -> None:
    """Compare words in one spelling of Unicode, and return the value as it was put."""
    forms = [unicodedata.normalize(form, word) for form in ("NFC", "NFD", "NFKC")]
    embedded: list[str] = []

    def embed(texts: Sequence[str]) -> list[list[float]]:
        embedded.extend(texts)
        return _all_alike(texts)

    alike: Any = {**index, "embed": embed, "ranking": "hybrid", "fields": ["text"]}
    async with MemoryManager.from_conn_string(database, index=alike) as store:
        for n, form in enumerate(forms):
            await put(store, {f"other{n}": f"Somebody else, number {n}"})
            await put(store, {f"it{n}": f"{form} called"})
        for query in forms:
            items = await store.asearch(NS, query=query, limit=3)
            assert {item.value["text"] for item in items} == {f"{form} called" for form in forms}
    assert len({text for text in embedded if "called" in text}) == 1, "vectors are alike, too"


async def test_pages_are_complete_and_never_overlap(store: MemoryManager, way: str) -> None:
    await put(
        store, {f"k{n}": f"Note {n} about a {'robot' if n % 3 else 'garden'}" for n in range(57)}
    )
    pages = [
        await found(store, "the robot in the garden", limit=10, offset=offset)
        for offset in range(0, 70, 10)
    ]
    assert [len(page) for page in pages] == [10, 10, 10, 10, 10, 7, 0]
    assert len({key for page in pages for key in page}) == 57


async def test_what_no_candidate_is_comes_on_the_last_pages(
    store: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WHOLE", "NEAREST", "RARE"):
        monkeypatch.setattr(hybrid, name, 5)
    await put(
        store, {f"k{n}": f"Note {n} about a {'robot' if n < 3 else 'garden'}" for n in range(40)}
    )
    pages = [await found(store, "robot", limit=15, offset=offset) for offset in (0, 15, 30)]
    assert set(pages[0][:3]) == {"k0", "k1", "k2"}
    assert sorted(key for page in pages for key in page) == sorted(f"k{n}" for n in range(40))


async def test_filters_hold_for_promoted_neighbours_too(store: MemoryManager, way: str) -> None:
    for n in range(30):
        await put(
            store,
            {f"k{n}": "The robot came" if n == 10 else f"And then {n}"},
            colour="red" if n % 2 else "blue",
        )
    assert {
        int(key[1:]) % 2 for key in await found(store, "robot", filter={"colour": "blue"}, limit=20)
    } == {0}
    assert await found(store, "robot", filter={"colour": "green"}) == []


async def test_what_is_not_indexed_or_expired_is_not_found(
    store: MemoryManager, database: str, way: str
) -> None:
    await store.aput(NS, "plain", {"text": "a robot"}, index=False)
    await store.aput(NS, "gone", {"text": "a robot"}, ttl=10)
    await store.aput(NS, "here", {"text": "a robot"})
    await rows(database, "UPDATE memory.memories SET expires_at = now() WHERE key = 'gone'")
    assert await found(store, "robot") == ["here"]


async def test_an_update_is_found_by_its_new_words_alone(store: MemoryManager, way: str) -> None:
    await put(store, {"k": "the zebra"})
    await put(store, {"k": "the giraffe", "other": "a zebra crossing"})
    assert (await found(store, "zebra"))[0] == "other"
    assert (await found(store, "giraffe"))[0] == "k"


@pytest.mark.parametrize(
    "query",
    ["", "   ", "the and of", "'; DROP TABLE x; --", "a\\b 'c' & | ! :*", "🤖", "x " * 5000],
)
async def test_any_query_is_answered(store: MemoryManager, way: str, query: str) -> None:
    await put(store, {"k": r"back\slash 'quoted' text", "other": "robot"})
    assert len(await found(store, query)) == 2


async def test_words_with_quotes_and_backslashes_are_words(store: MemoryManager, way: str) -> None:
    await put(store, {f"k{n}": f"Note {n}" for n in range(10)} | {"it": r"C:\temp\o'brien.txt"})
    assert (await found(store, r"C:\temp\o'brien.txt"))[0] == "it"


async def test_an_empty_scope_and_a_single_item_are_no_special_cases(
    store: MemoryManager, way: str
) -> None:
    assert await found(store, "robot") == []
    await put(store, {"k": "robot"})
    item = (await store.asearch(NS, query="robot"))[0]
    assert item.score is not None
    assert 0.5 < item.score <= 1


async def test_nobody_finds_by_words_what_is_anothers(store: MemoryManager, way: str) -> None:
    alice, bob = str(uuid4()), str(uuid4())
    with acting_as(Principal.user(alice)):
        await put(store, {"k": "the password is swordfish"}, ("users", alice, "notes"))
    with acting_as(Principal.user(bob)):
        await put(store, {"mine": "my own note"}, ("users", bob, "notes"))
        for prefix in [("users", alice), ("users", alice, "notes"), ("users",), ()]:
            hits = await store.asearch(prefix, query="swordfish password")
            assert [item.key for item in hits] == (["mine"] if len(prefix) < 2 else [])


async def test_the_words_function_tells_strangers_nothing(
    store: MemoryManager, database: str
) -> None:
    """Check the policies in the function, since it runs as the owner of the tables."""
    alice, bob = str(uuid4()), str(uuid4())
    await put(store, {"k": "swordfish"}, ("users", alice, "notes"))
    await put(store, {"k": "swordfish"}, ("orgs", "acme", "notes"))
    await put(store, {"k": "swordfish"}, ("agents", "sales"))
    await put(store, {"k": "swordfish"}, ("users", alice, "agent:sales", "notes"))
    await rows(database, "INSERT INTO memory.organisations (id, name) VALUES ('acme', 'Acme')")
    await rows(
        database,
        "INSERT INTO memory.organisation_members (organisation_id, user_id) VALUES ('acme', %s)",
        alice,
    )
    ask = """WITH me AS (
        SELECT set_config('role', %s, true), set_config('request.jwt.claims', %s, true))
      SELECT frequency FROM me, memory.find_words(ARRAY['swordfish'::tsquery], '', 'z', 10)"""
    for principal, count in (
        (Principal.user(alice), 4),
        (Principal.user(alice).through("sales"), 4),
        (Principal.user(alice).through("support"), 3),
        (Principal.user(bob), 1),
        (Principal.service(), 4),
    ):
        assert await rows(database, ask, principal.role, principal.claims) == [{"frequency": count}]
    assert await rows(database, ask, "authenticated", "{}") == [{"frequency": 1}], (
        "without a user, the memories of agents"
    )


async def test_the_words_function_tells_an_agent_nothing_of_other_agents(
    store: MemoryManager, database: str
) -> None:
    """Count for an agent its own scope and what is for all, as the policies do."""
    ann = str(uuid4())
    for scope in ("agent:sales", "agent:financing", "facts"):
        await put(store, {"k": "swordfish"}, ("users", ann, scope))
    ask = f"""WITH me AS (
        SELECT set_config('role', %s, true), set_config('request.jwt.claims', %s, true))
      SELECT f.frequency, cardinality(f.ids) AS ids FROM me,
        memory.find_words(ARRAY['swordfish'::tsquery], 'users.{ann}.', 'users.{ann}/', 10) AS f"""
    person = Principal.user(ann)
    for principal, count in ((person, 3), (person.through("sales"), 2), (person.through("x"), 1)):
        assert await rows(database, ask, principal.role, principal.claims) == [
            {"frequency": count, "ids": count}
        ]


async def test_recall_takes_its_scores_apart_and_leaves_a_receipt(
    store: MemoryManager, database: str
) -> None:
    user_id = str(uuid4())
    await put(
        store, {f"k{n}": f"Fact {n} about robots" for n in range(12)}, ("users", user_id, "facts")
    )

    with acting_as(Principal.user(user_id)):
        memories = await store.recall_memory(user_id, "robots", limit=3, explain=True)
        (receipt,) = await store.recall_receipts(user_id)

    for memory in memories:
        assert memory.explanation is not None
        assert sum(memory.explanation.values()) == pytest.approx(memory.score, abs=1e-4)
        assert {"similarity", "keywords", "context", "recency", "importance"} <= set(
            memory.explanation
        )
    assert (receipt.query, receipt.actor) == ("robots", user_id)
    assert [chosen["key"] for chosen in receipt.chosen] == [memory.key for memory in memories]
    assert receipt.chosen[0]["parts"]["keywords"] > 0
    assert len(receipt.nearly) == 5
    with acting_as(Principal.user(str(uuid4()))), pytest.raises(Exception, match="may not use"):
        await store.recall_receipts(user_id)
    assert (
        await rows(database, "SELECT 1 FROM memory.recall_receipts WHERE actor = %s", user_id) != []
    )


async def test_neighbours_of_a_hit_come_with_it_in_a_conversation(
    store: MemoryManager, way: str
) -> None:
    """Store a dialogue in which each answer follows its question."""
    topics = [
        "harbour boats sea fishing",
        "piano music concert song",
        "bread flour oven baking",
        "snow ski mountain ice",
    ]
    turns = [
        f"{topics[n // 15].split()[n % 4]} {topics[n // 15].split()[(n + 1) % 4]} {n}"
        for n in range(60)
    ]
    turns[32], turns[33] = "Do you know the Quetzalcoatl place?", "Certainly, marvellous!"
    for n, text in enumerate(turns):
        await store.aput(NS, f"t{n:02}", {"text": text})
    assert {"t32", "t33"} <= set(await found(store, "Quetzalcoatl", limit=3))


async def test_a_ranking_nobody_knows_is_refused(database: str, index: IndexConfig) -> None:
    for wrong in ({"ranking": "magic"}, {"ranking": "hybrid", "weights": {"charm": 1}}):
        config: Any = {**index, **wrong}
        with pytest.raises(ConfigurationError, match=r"ranking|weights"):
            async with MemoryManager.from_conn_string(database, index=config):
                pass


async def test_a_text_search_nobody_knows_is_refused(database: str, index: IndexConfig) -> None:
    config: Any = {**index, "text_search": "klingon"}
    async with MemoryManager.from_conn_string(database, index=config) as store:
        with pytest.raises(ConfigurationError, match="klingon"):
            await store.setup()


async def test_filtered_pages_of_a_large_scope_are_complete_and_begin_with_the_nearest(
    store: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WHOLE", "NEAREST", "RARE"):
        monkeypatch.setattr(hybrid, name, 20)
    texts = {f"k{n}": f"Note {n} about a {'robot' if n == 41 else 'garden'}" for n in range(400)}
    await store.abatch(
        [
            PutOp(NS, key, {"text": text, "rare": n % 40 == 1})
            for n, (key, text) in enumerate(texts.items())
        ]
    )
    pages = [
        await found(store, "robot", filter={"rare": True}, limit=4, offset=offset)
        for offset in (0, 4, 8, 12)
    ]
    assert [len(page) for page in pages] == [4, 4, 2, 0]
    assert pages[0][0] == "k41"
    assert len({key for page in pages for key in page}) == 10


async def test_a_vector_that_points_at_anothers_item_does_not_bring_it_up(
    store: MemoryManager, database: str, way: str
) -> None:
    alice, bob = str(uuid4()), str(uuid4())
    await put(store, {"secret": "the password is swordfish"}, ("users", bob, "diary"))
    await put(store, {"mine": "a note", "other": "another note"}, ("users", alice, "notes"))
    await rows(
        database,
        """UPDATE memory.memory_embeddings
        SET memory_id = (SELECT id FROM memory.memories WHERE key = 'secret')
        WHERE key = 'mine'""",
    )
    assert {i.key for i in await store.asearch(("users", alice), query="password swordfish")} <= {
        "mine",
        "other",
    }


async def test_whether_a_scope_is_wide_is_told_to_its_readers_alone(
    store: MemoryManager, database: str
) -> None:
    alice, bob = str(uuid4()), str(uuid4())
    await store.abatch(
        [PutOp(("users", bob, "notes"), f"k{n}", {"text": f"{n}"}) for n in range(3000)]
    )
    ask = """WITH me AS (
        SELECT set_config('role', %s, true), set_config('request.jwt.claims', %s, true))
      SELECT memory.is_wide(%s, %s, 1::smallint, 1) AS wide FROM me"""
    his, all_users = (f"users.{bob}.", f"users.{bob}/"), ("users.", "users/")
    for principal, scope, wide in (
        (Principal.service(), his, True),
        (Principal.service(), all_users, True),
        (Principal.user(bob), his, True),
        (Principal.user(bob), all_users, False),
        (Principal.user(alice), his, False),
        (Principal.user(alice), (f"users.{bob}.notes.", f"users.{bob}.notes/"), False),
    ):
        assert await rows(database, ask, principal.role, principal.claims, *scope) == [
            {"wide": wide}
        ], (principal, scope)


async def test_the_rarest_words_of_a_long_query_count_wherever_they_stand_in_the_alphabet(
    database: str, index: IndexConfig, way: str
) -> None:
    """A message may have more words than a number has bits."""
    names = [f"aa{n:03}x" for n in range(70)]
    absent = [f"bb{n}y" for n in range(100)]
    fact = "zebras zigzag zealously"
    alike: Any = {**index, "embed": _all_alike, "ranking": "hybrid", "fields": ["text"]}
    async with MemoryManager.from_conn_string(database, index=alike) as store:
        await put(
            store,
            {f"k{n}": f"{name} picked ripe yellow bananas" for n, name in enumerate(2 * names)},
        )
        await put(store, {"it": fact})
        assert (await found(store, " ".join([*names, *absent, fact])))[0] == "it"
        assert (await found(store, " ".join([fact, *reversed(names)])))[0] == "it"
        assert await found(store, " ".join([*absent, fact]), limit=1) == ["it"]


async def test_every_word_of_a_question_counts(database: str, index: IndexConfig, way: str) -> None:
    """Rank an item with six words of a question before each that has five of them."""
    words = "amber birch cedar daisy ember fennel".split()
    alike: Any = {**index, "embed": _all_alike, "ranking": "hybrid", "fields": ["text"]}
    async with MemoryManager.from_conn_string(database, index=alike) as store:
        lacking = {word: " ".join(["other", *words]).replace(word, "thing") for word in words}
        await put(store, lacking | {f"k{n}": f"Something else {n}" for n in range(20)})
        await put(store, {"it": " ".join(["other", *words])})
        for query in (words, words[::-1]):
            items = await store.asearch(NS, query=" ".join(query), limit=7)
            assert {item.key for item in items} == {"it", *words}
            assert items[0].key == "it"
            assert items[0].score > items[1].score  # type: ignore[operator]


def _all_alike(texts: Sequence[str]) -> list[list[float]]:
    """Embed so that only words distinguish texts."""
    return [[1.0] * 256 for _ in texts]
