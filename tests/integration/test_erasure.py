"""What an erasure leaves alone, and what is recorded after it, outside a LangGraph server, too."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from graphs.checkpointer import PostgresCheckpointer
from graphs.deployment.pools import open_pool
from graphs.memory.audit.events import Reporter
from graphs.memory.conversations.receipts import Receipt, Receipts
from graphs.memory.errors import AccessDenied, InvalidInput
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.integration.test_rights import ANN, BOB, as_person, residue
from tests.support.sql import rows


@pytest.fixture
async def store(database: str) -> AsyncIterator[MemoryManager]:
    async with (
        open_pool(database) as pool,
        MemoryManager(pool, principal=Principal.service()) as store,
    ):
        yield store


async def converse(database: str, user: str, thread_id: str, **metadata: str) -> None:
    """Run a graph without memory in a thread, as a user."""

    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("Noted.")]}

    builder = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer")
    with acting_as(Principal.user(user)):
        async with open_pool(database) as pool:
            graph = builder.compile(checkpointer=PostgresCheckpointer(pool))
            thread: Any = {"configurable": {"thread_id": thread_id}, "metadata": metadata}
            await graph.ainvoke({"messages": [HumanMessage("Hello.")]}, thread)


async def threads(database: str) -> list[str]:
    found = await rows(database, "SELECT DISTINCT thread_id FROM langgraph.checkpoints ORDER BY 1")
    return [row["thread_id"] for row in found]


NAMING = (
    "INSERT INTO memory.agent_executions (run_id, agent, user_id, thread_id)"
    " VALUES ('r', 'a', '{user}', '{thread}')",
    "INSERT INTO memory.sessions (user_id, id, thread_id) VALUES ('{user}', 's', '{thread}')",
    "INSERT INTO memory.memory_logs"
    " (user_id, session_id, agent, type, memories, said_at, thread_id)"
    " VALUES ('{user}', 's', 'a', 'turn', '[]', now(), '{thread}')",
)
"""Rows of one's own that may name any thread."""


async def test_a_row_that_names_anothers_thread_neither_erases_nor_keeps_it(
    store: MemoryManager, database: str
) -> None:
    await converse(database, ANN, "of ann")
    await converse(database, BOB, "of bob")
    for row in NAMING:
        await rows(database, as_person(BOB, row.format(user=BOB, thread="of ann")))
    await store.erase_user(BOB)
    assert await threads(database) == ["of ann"]

    for row in NAMING:
        await rows(database, as_person(BOB, row.format(user=BOB, thread="of ann")))
    await store.erase_user(ANN)
    assert await threads(database) == []


async def test_a_thread_stays_as_long_as_somebody_else_ran_it(
    store: MemoryManager, database: str
) -> None:
    await converse(database, ANN, "shared")
    await converse(database, BOB, "shared")
    await store.erase_user(ANN)
    assert await threads(database) == ["shared"]


async def test_what_a_client_says_in_metadata_does_not_make_a_thread_anothers(
    store: MemoryManager, database: str
) -> None:
    await converse(database, BOB, "of bob", langgraph_auth_user_id=ANN)
    await store.erase_user(ANN)
    assert await threads(database) == ["of bob"]
    await store.erase_user(BOB)
    assert await threads(database) == []


async def test_recalls_and_refusals_that_are_recorded_late_do_not_name_the_erased(
    store: MemoryManager, database: str
) -> None:
    """Records of another process, which writes them after the certificate."""
    receipts, reporter = Receipts(store.access.database), Reporter(store.access.database)
    reporter.denied(Principal.user(BOB), AccessDenied("no", ANN))
    reporter.denied(Principal.user(BOB), AccessDenied("no", "somebody"))
    await store.erase_user(ANN)

    for actor, user in ((ANN, ANN), ("service_role", ANN), (BOB, BOB)):
        receipts.note((), Receipt(actor, user, "tea?", "[]", "[]", None))
    await receipts.finish()
    await reporter.finish()
    await rows(
        database,
        f"""INSERT INTO memory.shadow_comparisons
          (candidate, user_id, at_most, ours, theirs, our_seconds)
        VALUES ('ranking', '{ANN}', 1, '[]', '[]', 0)""",
    )

    assert await residue(database, ANN) == {}
    of_bob = {table: len(found) for table, found in (await residue(database, BOB)).items()}
    assert of_bob == {"memory.audit_logs": 1, "memory.recall_receipts": 1}


async def test_who_comes_back_after_an_erasure_is_recorded_again(
    store: MemoryManager, database: str
) -> None:
    await store.erase_user(ANN)
    await rows(
        database,
        """BEGIN; SET LOCAL session_replication_role = replica;
        UPDATE memory.erasures SET erased_at = erased_at - interval '1 minute'; COMMIT""",
    )
    receipts = Receipts(store.access.database)
    receipts.note((), Receipt(ANN, ANN, "tea?", "[]", "[]", None))
    await receipts.finish()
    assert [*await residue(database, ANN)] == ["memory.recall_receipts"]


async def test_a_certificate_takes_no_words_of_the_caller(store: MemoryManager) -> None:
    with pytest.raises(InvalidInput, match="server threads"):
        await store.erase_user(ANN, {"some words for the audit log": 1})
