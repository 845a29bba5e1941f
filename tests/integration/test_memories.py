"""Single memories: read, corrected, pinned, forgotten, and their history."""

import asyncio
import base64
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.store.base import PutOp

from graphs.memory.errors import (
    AccessDenied,
    InvalidInput,
    InvalidValue,
    MemoryNotFound,
    SessionNotFound,
    VersionConflict,
)
from graphs.memory.knowledge.memories import Memory, Revision
from graphs.memory.principal import Principal, acting_as
from graphs.memory.values.paging import named, numbered
from graphs.memory_manager import MemoryManager
from graphs.nodes.load_context import load_context
from graphs.nodes.state import Context, Input, State
from graphs.nodes.write_memory import write_memory
from tests.support.sql import rows

ANN, BOB = "a0000000-0000-4000-8000-00000000000a", "b0000000-0000-4000-8000-00000000000b"


async def remember(store: MemoryManager, content: str, user: str = ANN, **more: Any) -> Memory:
    payload = {
        "identity": user,
        "timestamp": datetime.now(UTC),
        "agent": "sales",
        "session_id": "s1",
        "type": "fact",
        "content": content,
        **more,
    }
    receipt = await store.write_memory(user, payload["session_id"], payload)
    return await store.memories.get(user, receipt.memories[0])


async def say(store: MemoryManager, number: int, session: str = "s1") -> None:
    content = {"id": f"e{number}", "user": f"question {number}", "assistant": f"answer {number}"}
    await remember(store, content, type="turn", session_id=session)  # type: ignore[arg-type]


async def test_a_memory_is_seen_as_it_stands(store: MemoryManager) -> None:
    written = await remember(
        store, "Likes tea", tags=["drinks"], importance=0.8, metadata={"by": "hand"}
    )
    assert (written.content, written.type, written.agent, written.session_id) == (
        "Likes tea",
        "fact",
        "sales",
        "s1",
    )
    assert (written.tags, written.importance, written.metadata) == (["drinks"], 0.8, {"by": "hand"})
    assert (written.pinned, written.expires_at) == (False, None)

    await store.aput(
        ("users", ANN, "odd"),
        "o",
        {"importance": "much", "tags": "one", "pinned": 1, "metadata": []},
        ttl=5,
    )
    odd = await store.memories.get(ANN, (("users", ANN, "odd"), "o"))
    assert (odd.importance, odd.tags, odd.pinned, odd.metadata, odd.type) == (
        None,
        [],
        False,
        {},
        None,
    )
    assert odd.expires_at is not None
    with pytest.raises(MemoryNotFound):
        await store.memories.get(ANN, (("users", ANN, "odd"), "missing"))


async def test_a_revised_memory_is_found_by_what_it_says_now_and_was_what_its_history_says(
    store: MemoryManager,
) -> None:
    before = await remember(store, "The budget is 80k", tags=["money"])
    after = await store.memories.revise(
        ANN, before.address, Revision(content="Prefers green tea", importance=0.9)
    )
    assert (after.content, after.importance, after.tags, after.agent) == (
        "Prefers green tea",
        0.9,
        ["money"],
        "sales",
    )
    assert (after.created_at, after.address) == (before.created_at, before.address)
    [found] = await store.recall_memory(ANN, "tea", limit=1, explain=True)
    assert found.content == "Prefers green tea"
    assert found.explanation is not None
    assert found.explanation["similarity"] > 0.3, "the vector must be that of the new text"

    [version] = (await store.memories.history(ANN, before.address)).items
    assert (version.content, version.operation) == ("The budget is 80k", "update")
    assert (version.valid_from, version.valid_to) == (before.updated_at, after.updated_at)

    await store.memories.forget(ANN, before.address)
    operations = [
        version.operation for version in (await store.memories.history(ANN, before.address)).items
    ]
    assert operations == ["delete", "update"]
    assert await store.recall_memory(ANN, "tea") == []


async def test_what_is_not_changed_is_not_written(store: MemoryManager) -> None:
    memory = await remember(store, "Likes tea")
    assert await store.memories.revise(ANN, memory.address, Revision()) == memory
    assert (
        await store.memories.revise(
            ANN, memory.address, Revision(content="Likes tea", pinned=False)
        )
        == memory
    )
    assert (await store.memories.history(ANN, memory.address)).items == []


async def test_of_two_who_change_the_same_version_one_is_told(store: MemoryManager) -> None:
    read = await remember(store, "Likes tea")
    await store.memories.revise(
        ANN, read.address, Revision(content="Likes coffee"), expected=read.updated_at
    )
    with pytest.raises(VersionConflict):
        await store.memories.revise(
            ANN, read.address, Revision(content="Likes water"), expected=read.updated_at
        )
    with pytest.raises(VersionConflict):
        await store.memories.revise(ANN, read.address, Revision(), expected=read.updated_at)
    with pytest.raises(VersionConflict):
        await store.memories.forget(ANN, read.address, expected=read.updated_at)
    assert (await store.memories.get(ANN, read.address)).content == "Likes coffee"


async def test_changes_that_name_no_version_are_all_made_however_they_meet(
    store: MemoryManager,
) -> None:
    address = (await remember(store, "Likes tea")).address
    changes: list[dict[str, Any]] = [
        {"content": "Likes mate"}, {"tags": ["drinks"]}, {"importance": 0.9}, {"pinned": True},
    ]  # fmt: skip
    await asyncio.gather(
        *(store.memories.revise(ANN, address, Revision(**change)) for change in changes)
    )
    kept = await store.memories.get(ANN, address)
    assert (kept.content, kept.tags, kept.importance, kept.pinned) == (
        "Likes mate",
        ["drinks"],
        0.9,
        True,
    )

    await asyncio.gather(
        store.memories.forget(ANN, address),
        *(store.memories.revise(ANN, address, Revision(importance=n / 10)) for n in range(4)),
        return_exceptions=True,
    )
    with pytest.raises(MemoryNotFound):
        await store.memories.get(ANN, address)


async def test_who_may_read_a_shared_memory_is_told_that_it_is_not_theirs_to_change(
    store: MemoryManager, database: str
) -> None:
    await rows(database, "INSERT INTO memory.organisations (id, name) VALUES ('acme', 'Acme')")
    await rows(
        database,
        "INSERT INTO memory.organisation_members (organisation_id, user_id) VALUES ('acme', %s)",
        BOB,
    )
    await store.aput(known := ("agents", "knowledge"), "k", {"content": "Known to all"})
    with acting_as(Principal.user(BOB)):
        await store.brain.save_company_memories("acme", {"tax_regime": "General."})
        for refused in (
            store.memories.revise(BOB, (known, "k"), Revision(pinned=True)),
            store.memories.forget(BOB, (known, "k")),
            store.memories.forget(BOB, (("orgs", "acme", "brain"), "tax_regime")),
        ):
            with pytest.raises(AccessDenied):
                await refused
        assert (await store.memories.get(BOB, (known, "k"))).pinned is False
        assert (
            await store.memories.get(BOB, (("orgs", "acme", "brain"), "tax_regime"))
        ).content == "General."
        with pytest.raises(VersionConflict):
            await store.aput(known, "k", {"content": "Mine"}, expected=datetime.now(UTC))


async def test_what_is_pinned_stays_so_when_it_is_said_again(store: MemoryManager) -> None:
    fact = await remember(store, "Likes tea")
    await store.memories.revise(ANN, fact.address, Revision(pinned=True))
    again = await remember(store, "likes  tea.", importance=0.9)
    assert (again.address, again.content, again.importance, again.pinned) == (
        fact.address,
        "likes  tea.",
        0.9,
        True,
    )
    assert (await remember(store, "Likes coffee")).pinned is False


async def test_what_is_pinned_is_found_by_the_fields_by_which_it_was_found(
    store: MemoryManager, database: str
) -> None:
    """Pin items that were put without index, or with one of their own."""
    scope = ("users", ANN, "notes")
    with acting_as(Principal.user(ANN)):
        await store.aput(scope, "hidden", {"content": "The swordfish."}, index=False)
        await store.aput(scope, "titled", {"title": "A zebra", "content": "Text."}, index=["title"])
        await store.aput(scope, "parts", {"parts": ["One", "Two"]}, index=["parts[*]"])
        for key in ("hidden", "titled", "parts"):
            await store.memories.revise(ANN, (scope, key), Revision(pinned=True))
        found = await store.asearch(scope, query="swordfish")
        assert {item.key for item in found if item.score is not None} == {"titled", "parts"}
    fields = await rows(database, "SELECT key, field FROM memory.memory_embeddings ORDER BY 1, 2")
    assert [(row["key"], row["field"]) for row in fields] == [
        ("parts", "parts[*].0"),
        ("parts", "parts[*].1"),
        ("titled", "title"),
    ]


async def test_what_is_pinned_neither_decays_nor_expires(
    store: MemoryManager, database: str
) -> None:
    await store.aput(
        ("users", ANN, "notes"),
        "n",
        {"content": "Pinned", "type": "fact", "importance": 0.1},
        ttl=5,
    )
    await store.aput(
        ("users", ANN, "notes"), "m", {"content": "Loose", "type": "fact", "importance": 0.1}
    )
    pinned = await store.memories.revise(ANN, (("users", ANN, "notes"), "n"), Revision(pinned=True))
    assert (pinned.pinned, pinned.expires_at) == (True, None)
    await rows(
        database, "UPDATE memory.memories SET updated_at = now() - interval '1 year' RETURNING 1"
    )

    assert (await store.decay_memory(ANN, 30)).trimmed == 1
    assert [memory.key for memory in (await store.memories.latest(ANN)).items] == ["n"]

    loose = await store.memories.revise(ANN, pinned.address, Revision(pinned=False))
    assert loose.pinned is False
    await rows(
        database, "UPDATE memory.memories SET updated_at = now() - interval '1 year' RETURNING 1"
    )
    assert (await store.decay_memory(ANN, 30)).trimmed == 1


async def test_every_run_knows_what_is_pinned(store: MemoryManager) -> None:
    tea = await remember(store, "Is allergic to nuts", agent="sales")
    await remember(store, "The robot welds car doors", agent="financing")
    await store.memories.revise(ANN, tea.address, Revision(pinned=True))

    async def known(query: str | None, limit: int = 8, agent: str | None = None) -> list[str]:
        context = await store.load_context(ANN, "s2", query=query, limit=limit, agent=agent)
        return [memory.content for memory in context.memories]

    assert await known("welding robots", limit=2) == [
        "Is allergic to nuts",
        "The robot welds car doors",
    ]
    assert await known("allergies") == ["Is allergic to nuts", "The robot welds car doors"], (
        "each of them once"
    )
    assert await known("welding robots", limit=1) == ["Is allergic to nuts"]
    assert await known("welding robots", limit=0) == []
    assert await known("welding robots", agent="financing") == ["The robot welds car doors"]
    [context] = [await store.load_context(ANN, "s2", query="allergies", limit=1)]
    assert (context.memories[0].pinned, context.memories[0].score is not None) == (True, True)
    assert (await store.load_context(BOB, "s2", query="allergies")).memories == []


async def test_a_pin_stays_on_a_fact_whose_value_changes(store: MemoryManager) -> None:
    async def say_it(number: int, text: str) -> Memory:
        await remember(store, {"id": f"e{number}", "user": text}, type="turn")  # type: ignore[arg-type]
        await store.jobs.run_pending()
        [fact] = (await store.memories.latest(ANN, types=["fact"])).items
        return fact

    first = await say_it(1, "My budget is 80k for a welding robot.")
    await store.memories.revise(ANN, first.address, Revision(pinned=True))
    second = await say_it(2, "Actually, my budget is 120k for a welding robot.")
    assert "120k" in second.content
    assert second.pinned


async def test_pages_show_everything_once_whatever_is_written_meanwhile(
    store: MemoryManager,
) -> None:
    for n in range(7):
        await remember(store, f"memory {n}")
    shown: list[str] = []
    cursor: str | None = None
    for n in range(9):
        page = await store.memories.latest(ANN, cursor=cursor, limit=2)
        shown += [memory.content for memory in page.items]
        await remember(store, f"later {n}")
        if (cursor := page.next) is None:
            break
    assert shown == [f"memory {n}" for n in range(6, -1, -1)]

    value = {"content": "together", "type": "episode"}
    # One batch, hence one time of creation for all.
    await store.abatch(
        [PutOp(("users", ANN, "batch"), str(n), value, index=False) for n in range(5)]
    )
    first = await store.memories.latest(ANN, limit=3)
    rest = await store.memories.latest(ANN, cursor=first.next, limit=2)
    assert sorted(memory.key for memory in first.items + rest.items) == ["0", "1", "2", "3", "4"]


async def test_memories_are_narrowed_by_type_tag_and_agent(store: MemoryManager) -> None:
    await remember(store, "Likes tea", tags=["drinks"])
    await remember(store, "Buy a robot", type="goal", agent="financing")
    await say(store, 1)

    async def found(**how: Any) -> list[str]:
        return [memory.content for memory in (await store.memories.latest(ANN, **how)).items]

    assert await found() == ["Buy a robot", "Likes tea"], "turns are listed only on request"
    assert sorted(await found(types=["turn"])) == ["answer 1", "question 1"]
    assert await found(tags=["drinks"]) == ["Likes tea"]
    assert await found(agent="financing") == ["Buy a robot"]
    assert await found(types=[]) == []
    for wrong in (
        {"types": ["dream"]},
        {"limit": 0},
        {"limit": 201},
        {"cursor": "nonsense"},
        {"types": "fact"},
    ):
        with pytest.raises(InvalidInput):
            await found(**wrong)


async def test_sessions_and_their_turns_come_in_pages_the_latest_first(
    store: MemoryManager,
) -> None:
    for n, session in enumerate(["first", "second", "first", "third"]):
        await say(store, n, session)
    page = await store.sessions.latest(ANN, limit=2)
    rest = await store.sessions.latest(ANN, cursor=page.next, limit=2)
    assert [(s.id, s.turns, s.agent) for s in page.items] == [
        ("third", 2, "sales"),
        ("first", 4, "sales"),
    ]
    assert [s.title for s in page.items] == ["question 3", "question 0"], "the first message"
    assert [s.id for s in rest.items] == ["second"]
    assert rest.next is None
    assert await store.sessions.get(ANN, "first") == page.items[1]

    turns = await store.sessions.turns(ANN, "first", limit=3)
    more = await store.sessions.turns(ANN, "first", cursor=turns.next)
    assert [t.content for t in turns.items] == ["answer 2", "question 2", "answer 0"]
    assert [(t.content, t.role, t.exchange) for t in more.items] == [("question 0", "user", "e0")]
    assert (
        await store.memories.get(ANN, (turns.items[0].namespace, turns.items[0].key))
    ).content == "answer 2"

    both = await store.sessions.exchanges(
        ANN, [("first", "e2"), ("second", "e1"), ("first", "e2"), ("none", "e9")]
    )
    assert [t.content for t in both] == ["question 1", "answer 1", "question 2", "answer 2"]
    with pytest.raises(SessionNotFound, match="no session 'fourth'"):
        await store.sessions.get(ANN, "fourth")


async def test_a_fact_leads_back_to_what_was_said(store: MemoryManager) -> None:
    await remember(
        store,
        {"id": "e1", "user": "My budget is 80k.", "assistant": "Good."},  # type: ignore[arg-type]
        type="turn",
    )
    await store.jobs.run_pending()
    [fact] = (await store.memories.latest(ANN, types=["fact"])).items
    origin = (await store.origins.of(ANN, [fact.address]))[fact.address]
    assert origin.sources == [("s1", "e1")]
    assert [t.content for t in await store.sessions.exchanges(ANN, origin.sources)] == [
        "My budget is 80k.",
        "Good.",
    ]


async def test_the_record_of_a_person_has_what_was_changed_and_read_the_latest_first(
    store: MemoryManager,
) -> None:
    memory = await remember(store, "Likes tea")
    await store.memories.forget(ANN, memory.address)
    await store.log_event(ANN, "note", {"why": "a test"})
    first = await store.records.latest(ANN, limit=1)
    rest = await store.records.latest(ANN, cursor=first.next)
    assert [(record.action, record.data) for record in first.items] == [("note", {"why": "a test"})]
    assert [record.action for record in rest.items if record.key == memory.key] == [
        "memory.delete",
        "memory.insert",
    ]
    assert all(
        record.namespace == memory.namespace for record in rest.items if record.key == memory.key
    )


async def test_nobody_sees_or_changes_anothers(store: MemoryManager) -> None:
    memory = await remember(store, "Likes tea")
    await say(store, 1)
    with acting_as(Principal.user(BOB)):
        for refused in (
            store.memories.get(ANN, memory.address),
            store.memories.latest(ANN),
            store.memories.written_by(ANN, "r"),
            store.memories.revise(ANN, memory.address, Revision(pinned=True)),
            store.records.latest(ANN),
            store.memories.forget(ANN, memory.address),
            store.memories.history(ANN, memory.address),
            store.sessions.latest(ANN),
            store.sessions.get(ANN, "s1"),
            store.sessions.turns(ANN, "s1"),
        ):
            with pytest.raises(AccessDenied):
                await refused
        with pytest.raises(MemoryNotFound):
            await store.memories.get(BOB, memory.address)
        with pytest.raises(MemoryNotFound):
            await store.memories.forget(BOB, memory.address)
        assert (await store.memories.history(BOB, memory.address)).items == []
        assert (await store.sessions.turns(BOB, "s1")).items == []
    with pytest.raises(MemoryNotFound):  # also for the service, if it asks for Bob
        await store.memories.get(BOB, memory.address)
    assert (await store.memories.get(ANN, memory.address)).content == "Likes tea"


@given(st.text(max_size=60))
def test_a_cursor_that_no_page_had_is_refused_by_name(text: str) -> None:
    assume(not text or not text.isascii())
    for read in (numbered, named):
        with pytest.raises(InvalidValue) as refused:
            read(text, 5)
        assert refused.value.path == "cursor"


@pytest.mark.parametrize(
    "place", ["1", "[]", "[null]", "[null, null]", '["2020-01-01", 1]', "[1, 1]", "[null, -1]"]
)
def test_a_cursor_that_was_made_by_hand_is_refused_too(place: str) -> None:
    with pytest.raises(InvalidValue, match="cursor"):
        numbered(base64.urlsafe_b64encode(place.encode()).decode().rstrip("="), 5)


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_memory_cannot_be_made_to_say_nothing(blank: str) -> None:
    with pytest.raises(ValueError, match="content"):
        Revision(content=blank)


async def test_what_a_run_wrote_is_known_by_the_run(store: MemoryManager) -> None:
    run_id, thread_id = uuid4(), str(uuid4())
    remembering = StateGraph(State, input_schema=Input, context_schema=Context).add_node(
        load_context
    )
    remembering.add_node(write_memory).add_edge(START, "load_context").add_edge(
        "load_context", "write_memory"
    )
    with acting_as(Principal.user(ANN)):
        await remembering.compile(store=store).ainvoke(
            {"messages": [HumanMessage("My budget is 80k.", id="m1")]},
            {"run_id": run_id, "configurable": {"thread_id": thread_id}},
        )
    await store.jobs.run_pending()
    await remember(store, "Of no run")
    written = await store.memories.written_by(ANN, str(run_id))
    assert [(memory.type, memory.session_id) for memory in written] == [
        ("turn", thread_id),
        ("fact", thread_id),
    ]
    assert (await store.sessions.turns(ANN, thread_id)).items[0].run_id == str(run_id)
    assert (await store.sessions.get(ANN, thread_id)).thread_id == thread_id
