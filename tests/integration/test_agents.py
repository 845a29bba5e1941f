"""The example agents on real tables: their answers, their writes, and the isolation of users."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import zipcodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.store.base import IndexConfig
from psycopg import errors as pg
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from graphs.agents import (
    dealer_matching,
    financing,
    knowledge,
    sales,
    supervisor,
)
from graphs.agents.robotics import demo, scoring
from graphs.agents.robotics.applications import latest, record_score
from graphs.agents.robotics.dealers import matches_of, nearest
from graphs.agents.robotics.geography import ZipPlace, place_of
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.offline.chat import OfflineChatModel
from graphs.shapes.agent import MOST_ROUNDS
from graphs.shapes.supervisor import decisions_of
from tests.conftest import create_database, drop_database
from tests.support.openai_stub import OpenAIStub
from tests.support.sql import rows

ANN, BOB = str(uuid4()), str(uuid4())
BECOME = (
    "SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)"
)
Agent = CompiledStateGraph[Any, Any, Any, Any]


@pytest.fixture(scope="module")
def stocked(postgres: str, template: str, index: IndexConfig) -> Iterator[str]:
    """Yield the name of a database with the demo data and some data of Ann, to be cloned."""
    name = create_database(postgres, template)

    async def load() -> None:
        async with MemoryManager.from_conn_string(
            make_conninfo(postgres, dbname=name), index=index
        ) as store:
            await demo.load(store, ANN)

    asyncio.run(load())
    yield name
    drop_database(postgres, name)


@pytest.fixture
def database(postgres: str, stocked: str) -> Iterator[str]:
    name = create_database(postgres, stocked)
    yield make_conninfo(postgres, dbname=name)
    drop_database(postgres, name)


@pytest.fixture
async def store(database: str, index: IndexConfig) -> AsyncIterator[MemoryManager]:
    """Yield a store with the ranking of the deployment."""
    hybrid: Any = {**index, "ranking": "hybrid"}
    async with MemoryManager.from_conn_string(database, index=hybrid) as store:
        yield store


async def ask(
    store: MemoryManager, graph: Agent, *questions: str, user: str = ANN
) -> dict[str, Any]:
    """Return the state after a conversation of a user with an agent, as on the server."""
    messages: list[BaseMessage] = []
    state: dict[str, Any] = {}
    thread: Any = {"configurable": {"thread_id": str(uuid4())}}
    for question in questions:
        messages.append(HumanMessage(question, id=str(uuid4())))
        with acting_as(Principal.user(user).through(graph.name)):
            state = await graph.copy({"store": store}).ainvoke({"messages": messages}, thread)
        messages = state["messages"]
    return state


def said(state: dict[str, Any]) -> str:
    return str(state["messages"][-1].text)


# Dealers ------------------------------------------------------------------------------------------


async def test_dealers_come_by_distance_specialty_and_rating_and_are_remembered(
    store: MemoryManager,
) -> None:
    state = await ask(
        store, dealer_matching.graph, "Which welding dealers are within 100 miles of 48201?"
    )
    lines = said(state).splitlines()
    assert [line.split(",")[0] for line in lines[1:3]] == [
        "- Motor City Robot Works",
        "- Buckeye Robotics",
    ]
    assert "92 miles, 4.6 stars" in lines[2]
    assert state["messages"][-1].name == "dealer_matching"

    best = said(
        await ask(
            store,
            dealer_matching.graph,
            "Best rated assembly dealer near 94107 with at least 4.5 stars",
        )
    )
    assert [line.split(",")[0] for line in best.splitlines()[1:3]] == [
        "- Bay Robotics Supply",
        "- Silicon Valley Robot Works",
    ]
    assert "not a zip code" in said(
        await ask(store, dealer_matching.graph, "Which dealers are near 00000?")
    )

    again = said(await ask(store, dealer_matching.graph, "Which dealers did you show me before?"))
    assert "Motor City Robot Works, Buckeye Robotics." in again
    with acting_as(Principal.user(ANN).through("sales")):
        assert await store.asearch(matches_of(ANN)) == [], (
            "matches are in the scope of the dealer agent"
        )
    with acting_as(Principal.user(ANN)):
        assert len(await store.asearch(matches_of(ANN))) == 2, "the user sees them"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    latitude=st.integers(-900_000, 900_000).map(lambda n: n / 10_000),
    longitude=st.integers(-1_800_000, 1_800_000).map(lambda n: n / 10_000),
)
async def test_distances_are_those_of_the_great_circle(
    store: MemoryManager, latitude: float, longitude: float
) -> None:
    with acting_as(Principal.service()):
        found = await store.ask(
            nearest(ZipPlace("", "", "", latitude, longitude), None, 0, 20_000, False, 50)
        )
    assert len(found) == 36
    assert [row.distance for row in found] == sorted(row.distance for row in found)
    for row in found[:3]:
        there = await place_of(row.zip_code)
        expected = zipcodes.haversine(longitude, latitude, there.longitude, there.latitude)  # type: ignore[no-untyped-call]
        assert row.distance == pytest.approx(expected, rel=0.002, abs=0.01)


# Robots -------------------------------------------------------------------------------------------


async def test_robots_are_found_by_what_they_are_for_and_what_they_cost(
    store: MemoryManager,
) -> None:
    async def models(question: str) -> list[str]:
        lines = said(await ask(store, knowledge.graph, question, user=BOB)).splitlines()
        return [line[2:].partition(" by ")[0] for line in lines if line.startswith("- ")]

    assert (await models("Which robot can weld thick steel plate?"))[0] == "AW-2000"
    assert (await models("Recommend a robot for a freezer at minus 30 degrees"))[
        0
    ] == "FrostStack 120"
    assert set(await models("Which robot stacks boxes on pallets for less than $46,000?")) == {
        "PX-80",
        "CoStack 20",
    }
    assert await models("Compare AW-1400 and AW-2000") == ["AW-1400", "AW-2000"]


async def test_nobody_but_the_service_writes_the_catalogue(
    store: MemoryManager, database: str
) -> None:
    for statement in (
        "UPDATE public.robot_catalog SET price = 1",
        "DELETE FROM public.dealers",
        "INSERT INTO memory.memories (namespace, key, value) "
        "VALUES ('agents.knowledge.robots.', 'k', '{}')",
    ):
        with pytest.raises(pg.InsufficientPrivilege):
            await as_person(database, Principal.user(ANN).through("knowledge"), statement)


# Financing ----------------------------------------------------------------------------------------

APPLY = (
    "Can I finance $60,000 over 48 months with $12,000 down, $1.2 million revenue "
    "and 6 years in business?"
)


async def as_person(
    database: str, principal: Principal, statement: str, *parameters: Any
) -> list[Any]:
    """Return the rows of a statement, run as PostgREST would for a signed-in user."""
    async with await psycopg.AsyncConnection.connect(database) as conn:
        await conn.execute(BECOME, (principal.claims,))
        cursor = await conn.execute(statement, parameters or None)
        return await cursor.fetchall() if cursor.description else []


async def test_an_application_is_scored_by_the_rule_and_the_scoring_is_kept(
    store: MemoryManager, database: str
) -> None:
    answer = said(await ask(store, financing.graph, APPLY, user=BOB))
    assert "is approved. Its score is 80.0 of 100" in answer
    assert said(await ask(store, financing.graph, APPLY, user=BOB)) == answer, (
        "a second request uses the same application"
    )

    [kept] = await rows(database, "SELECT * FROM public.application_scores WHERE user_id = %s", BOB)
    given = scoring.Inputs(**kept["inputs"])
    assert (given.amount, given.years_in_business) == (60_000, 6)
    assert kept["reasons"] == json.loads(json.dumps(scoring.score(given).reasons))
    assert (kept["score"], kept["decision"], kept["rule"]) == (80, "approved", scoring.RULE)
    audited = await rows(
        database, "SELECT actor, action FROM memory.audit_logs WHERE user_id = %s ORDER BY id", BOB
    )
    assert [
        (a["actor"], a["action"])
        for a in audited
        if a["action"].endswith(("application.insert", "score.insert"))
    ] == [(BOB, "memory.application.insert"), ("service_role", "memory.score.insert")]
    assert "own share 20.0 of 20" in said(
        await ask(store, financing.graph, "How was I scored in the past?", user=BOB)
    )
    assert "approved, score 80.0" in said(
        await ask(store, financing.graph, "Show me my applications", user=BOB)
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE public.applications SET status = 'approved'",
        "UPDATE public.applications SET score = 100",
        "INSERT INTO public.applications (user_id, amount, term_months, status) "
        "VALUES (auth.uid(), 1, 1, 'approved')",
        "UPDATE public.application_scores SET score = 100",
        "DELETE FROM public.application_scores",
        """INSERT INTO public.application_scores
          (application_id, user_id, score, decision, reasons, inputs, rule)
        SELECT id, user_id, 100, 'approved', '[]', '{}', '' FROM public.applications""",
        "UPDATE public.leads SET status = 'won'",
    ],
)
async def test_nobody_writes_their_own_score_status_or_standing(
    store: MemoryManager, database: str, statement: str
) -> None:
    with pytest.raises(pg.InsufficientPrivilege):
        await as_person(database, Principal.user(ANN), statement)


async def test_what_was_approved_is_a_draft_again_once_the_person_changes_it(
    store: MemoryManager, database: str
) -> None:
    with acting_as(Principal.user(ANN)):
        read = (await store.ask(latest(ANN, limit=1)))[0]
    assert read.status == "approved"
    await as_person(database, Principal.user(ANN), "UPDATE public.applications SET amount = 900000")
    changed = await rows(
        database, "SELECT status, score FROM public.applications WHERE user_id = %s", ANN
    )
    assert {(row["status"], row["score"]) for row in changed} == {("draft", None)}
    assert not await record_score(store, ANN, read, scoring.score(scoring.Inputs(1, 1))), (
        "an outdated version must not be scored"
    )


async def test_what_a_table_does_not_take_the_model_is_told_and_the_run_goes_on(
    store: MemoryManager,
) -> None:
    class Insisting(OfflineChatModel):
        """A model whose tool call fits the schema, but not the constraints of the table."""

        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
            result = super()._generate(messages, *args, **kwargs)
            if not isinstance(messages[-1], ToolMessage):
                result.generations[0].message = AIMessage(
                    "", tool_calls=[{**call, "id": "c", "type": "tool_call"}]
                )
            return result

    for graph, call in (  # noqa: B007  the model uses `call`
        (sales.graph, {"name": "save_lead", "args": {"interest": " "}}),
        (
            financing.graph,
            {"name": "apply_for_financing", "args": {"amount": 0.001, "term_months": 12}},
        ),
    ):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                "graphs.nodes.respond.chat_model", lambda *_: Insisting(disable_streaming=True)
            )
            answer = said(await ask(store, graph, "Hello"))
        assert "That is not possible: Postgres cannot store this: new row for relation" in answer


# Sales --------------------------------------------------------------------------------------------


async def test_leads_and_conversations_are_remembered(store: MemoryManager) -> None:
    interest = "We are interested in a palletizer for our cold store, with a budget of $90,000"
    assert "new lead" in said(await ask(store, sales.graph, interest, user=BOB))
    assert "known already" in said(await ask(store, sales.graph, interest, user=BOB))
    plans = said(
        await ask(store, sales.graph, "Which purchase interests of mine do you know?", user=BOB)
    )
    assert plans.count("\n- ") == 0
    assert "budget $90,000" in plans
    with acting_as(Principal.user(BOB).through("sales")):
        talk = [turn async for turn in _turns(store, BOB)]
    assert interest in talk


async def _turns(store: MemoryManager, user: str) -> AsyncIterator[str]:
    for item in await store.asearch(("users", user, "turns"), limit=100):
        yield item.value["content"]


# Isolation ----------------------------------------------------------------------------------------


async def test_nobody_sees_what_another_person_has(store: MemoryManager) -> None:
    assert "no applications" in said(
        await ask(store, financing.graph, "Show me my applications", user=BOB)
    )
    assert "Nothing was scored" in said(
        await ask(store, financing.graph, "How was I scored in the past?", user=BOB)
    )
    assert "No purchase interests" in said(
        await ask(store, sales.graph, "Which plans of mine do you know?", user=BOB)
    )
    assert "AW-1400" in said(await ask(store, financing.graph, "Show me my applications"))
    with acting_as(Principal.user(ANN)):
        [theirs, *_] = await store.ask(latest(ANN, limit=1))
    with acting_as(Principal.user(BOB).through("financing")):
        assert await store.ask(latest(ANN, theirs.id, limit=1)) == ()


@pytest.mark.parametrize(
    ("table", "of"),
    [("applications", "financing"), ("application_scores", "financing"), ("leads", "sales")],
)
async def test_an_agent_reaches_the_tables_that_are_its_business(
    store: MemoryManager, database: str, table: str, of: str
) -> None:
    count = f"SELECT count(*) FROM public.{table}"
    for agent in ("financing", "sales", "knowledge", "dealer_matching", "supervisor", "assistant"):
        [(seen,)] = await as_person(database, Principal.user(ANN).through(agent), count)
        assert bool(seen) == (agent == of), agent
    assert (await as_person(database, Principal.user(ANN), count))[0][0] == 2, (
        "the user sees all of them"
    )


# Composite scoring --------------------------------------------------------------------------------


async def test_of_equally_relevant_memories_the_recent_and_the_important_come_first(
    store: MemoryManager, database: str
) -> None:
    with acting_as(Principal.user(BOB)):
        for name, importance in (("plain", 0.5), ("important", 1.0), ("old", 0.5)):
            value = {
                "content": "The welding cell is for building 7.",
                "type": "fact",
                "importance": importance,
            }
            await store.aput(("users", BOB, name), "k", value, index=["content"])
        await rows(
            database,
            "UPDATE memory.memories SET updated_at = %s "
            "WHERE key = 'k' AND namespace LIKE '%%.old.'",
            (await store.aget(("users", BOB, "old"), "k")).updated_at - timedelta(days=90),  # type: ignore[union-attr]
        )
        found = await store.recall_memory(
            BOB, "Which building is the welding cell for?", explain=True
        )
    assert [memory.namespace[-1] for memory in found] == ["important", "plain", "old"]
    important, plain, old = (memory.explanation or {} for memory in found)
    assert important["importance"] > plain["importance"] == old["importance"]
    assert plain["recency"] > old["recency"]
    relevance = [
        sum(part[name] for name in ("similarity", "keywords")) for part in (important, plain, old)
    ]
    assert relevance == pytest.approx([relevance[0]] * 3)


# The supervisor -----------------------------------------------------------------------------------


async def test_the_supervisor_hands_on_remembers_and_goes_on_with_the_same_agent(
    store: MemoryManager, database: str
) -> None:
    state = await ask(
        store, supervisor.graph, "Which welding dealers are near 94107?", "and near 60607?"
    )
    assert state["route"] == {
        "agent": "dealer_matching",
        "by": "context",
        "because": "it continues the answer of dealer_matching",
    }
    assert "Windy City Robotics" in said(state)
    assert state["messages"][-1].name == "dealer_matching"

    turns = await rows(
        database, "SELECT agent, count(*) AS n FROM memory.turns WHERE user_id = %s GROUP BY 1", ANN
    )
    assert {turn["agent"] for turn in turns} == {"dealer_matching"}, (
        "a turn names the agent that answered"
    )
    assert sum(turn["n"] for turn in turns) == 4, "each exchange is stored once"
    with acting_as(Principal.user(ANN).through("supervisor")):
        [decision] = await store.asearch(decisions_of(ANN, "supervisor"))
    assert decision.value["agent"] == "dealer_matching"
    assert decision.value["content"].startswith("“and near 60607?” went to dealer_matching")
    with acting_as(Principal.user(ANN).through("dealer_matching")):
        assert await store.asearch(decisions_of(ANN, "supervisor")) == []
        assert len(await store.asearch(matches_of(ANN))) == 2


async def test_each_agent_of_the_supervisor_acts_as_itself(store: MemoryManager) -> None:
    assert "AW-1400" in said(
        await ask(store, supervisor.graph, "What is the status of my application?")
    )
    assert "welding cell" in said(
        await ask(store, supervisor.graph, "Which purchase plans of mine do you know?")
    )


async def test_with_a_chat_model_that_decides_and_answers(
    store: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"because": "they want to buy", "agent": "sales"})
    with OpenAIStub({"content": answer}) as stub:
        model = ChatOpenAI(
            model="gpt-stub", base_url=stub.url, api_key=SecretStr("sk-test"), max_retries=0
        )
        monkeypatch.setattr("graphs.nodes.respond.chat_model", lambda *_: model)
        state = await ask(store, supervisor.graph, "Which dealers are near 94107?")
        decided, answered = stub.asked("/chat/completions")
    assert state["route"] == {"agent": "sales", "by": "model", "because": "they want to buy"}
    assert (said(state), state["messages"][-1].name) == (answer, "sales")
    assert "tools" not in decided
    offered = {
        tool["function"]["name"]: tool["function"]["parameters"] for tool in answered["tools"]
    }
    assert offered.keys() == {"save_lead", "list_leads", "search_conversations"}
    assert not [
        name for schema in offered.values() for name in schema["properties"] if "user" in name
    ]
    assert answered["messages"][0]["content"].startswith("You are the sales agent")


async def test_a_chat_model_is_shown_a_conversation_that_the_user_begins(
    store: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begin with a user's message after trimming: some models refuse anything else."""
    with OpenAIStub(
        {"content": json.dumps({"because": "of the price", "agent": "knowledge"})}
    ) as stub:
        model = ChatOpenAI(
            model="gpt-stub", base_url=stub.url, api_key=SecretStr("sk-test"), max_retries=0
        )
        monkeypatch.setattr("graphs.nodes.respond.chat_model", lambda *_: model)
        await ask(store, supervisor.graph, *(f"What does robot {n} cost?" for n in range(6)))
        decided = stub.asked("/chat/completions")[::2]
    shown = [[message["role"] for message in request["messages"]] for request in decided]
    assert [roles[:2] for roles in shown] == [["system", "user"]] * 6
    assert {roles[-1] for roles in shown} == {"user"}
    assert len(shown[-1]) >= 5, "earlier messages are shown as well"


async def test_what_goes_on_with_an_earlier_answer_goes_to_the_agent_that_gave_it(
    store: MemoryManager,
) -> None:
    """Edit a message: the run forks from the checkpoint before it, without later answers."""
    graph = supervisor.graph.copy({"store": store, "checkpointer": InMemorySaver()})
    thread: Any = {"configurable": {"thread_id": str(uuid4())}}

    async def say(text: str, config: Any) -> dict[str, Any]:
        return await graph.ainvoke({"messages": [HumanMessage(text)]}, config)

    with acting_as(Principal.user(ANN).through("supervisor")):
        await say("Which welding dealers are near 94107?", thread)
        answered = (await graph.aget_state(thread)).config
        assert (await say("What is the status of my application?", thread))["route"][
            "agent"
        ] == "financing"
        forked = await say("and near 60607?", answered)
    assert (forked["route"]["agent"], forked["route"]["by"]) == ("dealer_matching", "context")
    assert "Windy City Robotics" in said(forked)


def test_the_agents_are_drawn_as_subgraphs_of_the_supervisor() -> None:
    nodes = supervisor.graph.get_graph(xray=True).nodes
    for agent in ("financing", "sales", "dealer_matching", "knowledge"):
        assert {
            f"{agent}:{node}" for node in ("load_context", "agent", "tools", "write_memory")
        } <= nodes.keys()


# An agent with tools ------------------------------------------------------------------------------


class Restless(OfflineChatModel):
    """A model that never stops calling tools."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        result = super()._generate(messages, *args, **kwargs)
        call = {"name": "past_matches", "args": {}, "id": str(uuid4()), "type": "tool_call"}
        result.generations[0].message = AIMessage("", tool_calls=[call])
        return result


async def test_an_agent_that_never_comes_to_an_end_is_stopped(
    store: MemoryManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "graphs.nodes.respond.chat_model", lambda *_: Restless(disable_streaming=True)
    )
    state = await ask(store, dealer_matching.graph, "Which dealers?")
    assert sum(isinstance(message, ToolMessage) for message in state["messages"]) == MOST_ROUNDS
    assert "could not finish" in said(state)
    assert state["written"]["memories"]


async def test_a_state_stays_small_after_a_long_message_and_a_long_history(
    store: MemoryManager,
) -> None:
    graph: Any = knowledge.graph.copy({"store": store, "checkpointer": InMemorySaver()})
    thread: Any = {"configurable": {"thread_id": str(uuid4())}}
    history = [
        message
        for n in range(150)
        for message in (HumanMessage(f"Question {n}", id=f"q{n}"), AIMessage(f"Answer {n}"))
    ]
    with acting_as(Principal.user(ANN).through(graph.name)):
        await graph.ainvoke({"messages": [HumanMessage("tea " * 500_000, id="long")]}, thread)
        state = await graph.ainvoke({"messages": [*history, HumanMessage("Hello")]}, thread)
        session = str(thread["configurable"]["thread_id"])
        context = await store.load_context(ANN, session, limit=50)
    assert context.session.turns == 2 + 2 * 150 + 2
    assert context.turns[-1].content == said(state)
    assert [len(m.text) for m in state["messages"] if m.id == "long"] == [999_999]
    assert len(json.dumps(state["memory"])) < 100_000
    assert len(json.dumps(state["written"])) < 100_000


async def test_a_call_that_was_cut_off_before_its_result_does_not_stop_the_conversation(
    store: MemoryManager,
) -> None:
    call = {"name": "past_matches", "args": {}, "id": "lost", "type": "tool_call"}
    shown: list[list[BaseMessage]] = []

    class Watching(OfflineChatModel):
        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
            shown.append(messages)
            return super()._generate(messages, *args, **kwargs)

    given: Any = {
        "messages": [
            HumanMessage("dealers?"),
            AIMessage("", tool_calls=[call]),
            HumanMessage("Hello"),
        ]
    }
    with (
        pytest.MonkeyPatch.context() as patched,
        acting_as(Principal.user(ANN).through("dealer_matching")),
    ):
        patched.setattr(
            "graphs.nodes.respond.chat_model", lambda *_: Watching(disable_streaming=True)
        )
        state = await dealer_matching.graph.copy({"store": store}).ainvoke(given)
    assert not [
        m for messages in shown for m in messages if isinstance(m, AIMessage) and m.tool_calls
    ]
    assert "Hello" in said(state)


# The demo's data ----------------------------------------------------------------------------------


async def test_the_demo_is_loaded_once_and_leaves_nothing_of_itself(
    store: MemoryManager, database: str
) -> None:
    assert set((await demo.load(store, ANN)).values()) == {0}
    await as_person(database, Principal.user(ANN), "UPDATE public.leads SET budget = 1")
    assert set((await demo.load(store, ANN)).values()) == {0}, "the user's own changes stay"

    removed = await demo.remove(store, ANN)
    assert removed == {
        "applications": 26,
        "leads": 26,
        "robots": 36,
        "descriptions": 36,
        "dealers": 36,
    }
    for table in ("applications", "application_scores", "leads", "robot_catalog", "dealers"):
        assert await rows(database, f"SELECT 1 FROM public.{table}") == []
    assert await store.asearch(("agents",)) == []
    assert set((await demo.remove(store, ANN)).values()) == {0}
