"""The memory tools in a real agent with a scripted model, on a real database."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime
from langgraph.store.base import IndexConfig
from langgraph.store.memory import InMemoryStore
from pydantic import Field

from graphs.deployment.pools import open_pool
from graphs.memory.brain.entities import cl_rut
from graphs.memory.errors import ConfigurationError, PrincipalRequired, StoreUnavailable
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.offline.embeddings import OfflineEmbeddings
from graphs.tools import memory_tools
from tests.support.sql import rows

ANN, BOB = str(uuid4()), str(uuid4())
ACME, GLOBEX = "761920839", "123456785"


class Scripted(BaseChatModel):
    """A model that makes the given tool calls one after another, then says that it is done."""

    calls: list[tuple[str, dict[str, Any]]]
    shown: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> "Scripted":
        self.shown.extend(tool.tool_call_schema.model_json_schema() for tool in tools)
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        n = sum(isinstance(message, ToolMessage) for message in messages)
        reply = AIMessage("Done.")
        if n < len(self.calls):
            name, args = self.calls[n]
            reply = AIMessage(
                "",
                tool_calls=[{"name": name, "args": args, "id": f"call_{n}", "type": "tool_call"}],
            )
        return ChatResult(generations=[ChatGeneration(message=reply)])


class Embeddings(OfflineEmbeddings):
    """An embedding model that can be switched off."""

    is_away = False

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        if self.is_away:
            raise ConnectionError("secret-host:443 refused")
        return await super().aembed_documents(texts)


@pytest.fixture
def model() -> Embeddings:
    return Embeddings()


@pytest.fixture
async def store(database: str, model: Embeddings) -> AsyncIterator[MemoryManager]:
    """Yield a store that acts for nobody by default. Ann belongs to Acme, Bob to no company."""
    await rows(
        database,
        f"""INSERT INTO memory.organisations (id, name)
        VALUES ('{ACME}', 'Acme'), ('{GLOBEX}', 'Globex');
        INSERT INTO memory.organisation_members (organisation_id, user_id)
        VALUES ('{ACME}', '{ANN}')""",
    )
    index: Any = {"dims": 256, "embed": model, "model": "offline:wordllama", "ranking": "hybrid"}
    async with (
        open_pool(database) as pool,
        MemoryManager(pool, index=index, entities={"company": cl_rut}) as store,
    ):
        yield store


def call(name: str, **args: Any) -> tuple[str, dict[str, Any]]:
    return name, args


async def run(
    store: Any,
    user_id: str | None,
    *calls: tuple[str, dict[str, Any]],
    tools: list[BaseTool] | None = None,
) -> list[ToolMessage]:
    """Return the answers of tools, in a run of an agent for a user."""
    agent: Any = create_agent(Scripted(calls=list(calls)), tools or memory_tools(), store=store)
    # A client may send any configuration.
    config = {"configurable": {"user_id": BOB, "langgraph_auth_user_id": BOB}}
    asked = {"messages": [HumanMessage("Hello")]}
    if user_id is None:
        result = await agent.ainvoke(asked, config)
    else:
        with acting_as(Principal.user(user_id)):
            result = await agent.ainvoke(asked, config)
    return [message for message in result["messages"] if isinstance(message, ToolMessage)]


def texts(messages: list[ToolMessage]) -> list[str]:
    return [str(message.text) for message in messages]


async def test_what_one_run_saves_another_finds_and_changes(store: MemoryManager) -> None:
    saved = await run(
        store,
        ANN,
        call("save_memory", slug="favourite_drink", content="Ann likes green tea."),
        call("save_memory", slug="home_town", content="Ann lives in\nValparaíso."),
        call("save_memory", slug="home_town", content="Ann lives in\nValparaíso."),
    )
    assert texts(saved) == [
        "Saved as favourite_drink.",
        "Saved as home_town.",
        "home_town already says so.",
    ]
    found = await run(
        store,
        ANN,
        call("search_memory", query="what does she like to drink?", limit=1),
        call("save_memory", slug="favourite_drink", content="Ann likes coffee."),
        call("search_memory", query="favourite drink", limit=1),
        call("search_memory", query="where does she live?"),
    )
    assert texts(found)[:3] == [
        "- favourite_drink: Ann likes green tea.",
        "Saved as favourite_drink.",
        "- favourite_drink: Ann likes coffee.",
    ]
    assert texts(found)[3].splitlines()[0] == "- home_town: Ann lives in Valparaíso.", (
        "one line for each memory"
    )
    with acting_as(Principal.user(ANN)):
        assert len([m async for m in store.brain.user_memories(ANN)]) == 2


async def test_search_finds_what_was_remembered_without_a_slug_too(store: MemoryManager) -> None:
    with acting_as(Principal.user(ANN)):
        await store.aput(
            ("users", ANN, "facts"), "f1", {"content": "Ann's dog is called Rex.", "type": "fact"}
        )
    assert texts(await run(store, ANN, call("search_memory", query="what is the dog called?"))) == [
        "- Ann's dog is called Rex."
    ]
    assert texts(await run(store, BOB, call("search_memory", query="dog"))) == [
        "Nothing is remembered about that."
    ]


async def test_the_model_is_shown_no_argument_that_says_whose_memory_it_is(
    store: MemoryManager,
) -> None:
    for tools in (memory_tools(), memory_tools(lambda _: ACME)):
        model = Scripted(calls=[])
        with acting_as(Principal.user(ANN)):
            await create_agent(model, tools, store=store).ainvoke(
                {"messages": [HumanMessage("Hello")]}
            )
        assert [schema["title"] for schema in model.shown] == [
            "search_memory",
            "save_memory",
            "search_company_memory",
            "save_company_memory",
        ]
        for schema in model.shown:
            assert set(schema["properties"]) in ({"query", "limit"}, {"slug", "content"})
            assert all(part.get("description") for part in schema["properties"].values())
            assert len(schema["description"]) > 100


FORGED: dict[str, Any] = {
    "user_id": BOB, "user": BOB, "company_id": GLOBEX, "company": GLOBEX, "company_of": GLOBEX,
    "namespace": ["users", BOB],
    "runtime": {"server_info": {"user": {"identity": BOB}}, "store": None},
    "store": None, "state": {"user_id": BOB},
    "config": {"configurable": {"langgraph_auth_user_id": BOB}},
    "principal": {"role": "service_role"}, "self": BOB,
}  # fmt: skip


async def test_no_model_can_name_another_user_or_company(
    store: MemoryManager, database: str
) -> None:
    """Add forged arguments to calls: they act for the signed-in user, or are refused."""
    with acting_as(Principal.service()):
        await store.brain.save_user_memories(BOB, {"secret": "The password is swordfish."})
        await store.brain.save_company_memories(GLOBEX, {"secret": "The password is swordfish."})
    for name, forged in [*FORGED.items(), ("all", None)]:
        extra = FORGED if name == "all" else {name: forged}
        answers = await run(
            store,
            ANN,
            ("search_memory", {"query": "password swordfish", **extra}),
            ("save_memory", {"slug": "secret", "content": "planted", **extra}),
            ("search_company_memory", {"query": "password swordfish", **extra}),
            ("save_company_memory", {"slug": "secret", "content": "planted", **extra}),
        )
        assert len(answers) == 4
        assert "swordfish" not in str([answer.content for answer in answers]), name
    for slug in (f"users.{BOB}.secret", f"../{BOB}/secret", f"{BOB}"):
        [answer] = await run(store, ANN, call("save_memory", slug=slug, content="planted"))
        assert answer.status == "error"
    owners = await rows(
        database,
        "SELECT coalesce(user_id, org_id) AS owner, value ->> 'content' AS content "
        "FROM memory.memories",
    )
    assert {(row["owner"], row["content"]) for row in owners} == {
        (BOB, "The password is swordfish."),
        (GLOBEX, "The password is swordfish."),
        (ANN, "planted"),
        (ACME, "planted"),
    }


async def test_what_the_model_gets_wrong_it_is_told_in_words_it_can_act_on(
    store: MemoryManager, database: str
) -> None:
    wrong = await run(
        store,
        ANN,
        call("save_memory", slug="Full Name", content="Ann Lee"),
        call("save_memory", slug="user_full_name", content="  "),
        call("save_memory", slug="user_full_name", content="a\0b"),
        call("save_memory", slug="user_full_name"),
        call("search_memory", query="a\0b"),
        call("search_memory", query="x", limit=1000),
        call("search_memory", query=""),
    )
    assert [message.status for message in wrong] == ["error"] * 7
    said = [
        "slug must begin with a lower-case letter",
        "content must be",
        "content contains a NUL",
        "content",
        "query",
        "limit",
        "query",
    ]
    for text, part in zip(texts(wrong), said, strict=True):
        assert part in text, text
        assert "Traceback" not in text
    assert await rows(database, "SELECT 1 FROM memory.memories") == []


async def test_what_is_away_is_said_without_saying_how_it_is_built(
    store: MemoryManager, model: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.is_away = True
    [unembedded] = await run(store, ANN, call("save_memory", slug="a", content="One."))
    monkeypatch.setattr(store, "recall_memory", _unavailable)
    [unreachable] = await run(store, ANN, call("search_memory", query="a"))
    for answer in (unembedded, unreachable):
        assert (answer.status, answer.text) == (
            "error",
            "The memory is temporarily unavailable. Continue without it.",
        )


async def _unavailable(*_: Any, **__: Any) -> None:
    raise StoreUnavailable(
        "connection to 10.0.0.1 failed: password authentication failed for user postgres"
    )


async def test_the_members_of_a_company_share_its_memory(
    store: MemoryManager, database: str
) -> None:
    colleague = str(uuid4())
    await rows(
        database,
        f"INSERT INTO memory.organisation_members VALUES ('{ACME}', '{colleague}', 'member')",
    )
    await run(
        store,
        ANN,
        call("save_company_memory", slug="tax_regime", content="Acme is taxed as Pro PyME."),
    )
    with acting_as(Principal.user(ANN)):
        await store.aput(("orgs", ACME, "notes"), "n1", {"text": "The office closes at six."})
    found = await run(
        store,
        colleague,
        call("search_company_memory", query="how is the company taxed?", limit=1),
        call("search_company_memory", query="when does the office close?", limit=1),
        call("save_company_memory", slug="tax_regime", content="Acme is taxed under 14 A."),
        call("search_memory", query="tax"),
    )
    assert texts(found) == [
        "- tax_regime: Acme is taxed as Pro PyME.",
        "- The office closes at six.",
        "Saved as tax_regime.",
        "Nothing is remembered about that.",
    ]
    assert len(await rows(database, "SELECT 1 FROM memory.company_brain")) == 1


async def test_who_has_accepted_no_company_or_several_is_told(
    store: MemoryManager, database: str
) -> None:
    await rows(
        database, f"INSERT INTO memory.organisation_members VALUES ('{ACME}', '{BOB}', 'member')"
    )
    await rows(
        database,
        f"UPDATE memory.organisation_members SET accepted_at = NULL WHERE user_id = '{BOB}'",
    )
    for tools in (memory_tools(), memory_tools(lambda _: ACME)):
        [saved] = await run(
            store, BOB, call("save_company_memory", slug="plan", content="Mine."), tools=tools
        )
        assert saved.status == "error", "an invitation is not accepted by saving something"
    [none] = await run(store, BOB, call("search_company_memory", query="tax"))
    assert none.status == "error"
    assert "belongs to no company, or has not accepted" in none.text
    await rows(
        database, f"INSERT INTO memory.organisation_members VALUES ('{GLOBEX}', '{ANN}', 'member')"
    )
    [several] = await run(
        store, ANN, call("save_company_memory", slug="tax_regime", content="Pro PyME.")
    )
    assert several.status == "error"
    assert "several companies" in several.text
    assert await rows(database, "SELECT 1 FROM memory.memories") == []


async def test_an_agent_can_say_which_company_a_run_is_about_among_those_of_the_user(
    store: MemoryManager, database: str
) -> None:
    def company_of(runtime: Runtime[Any]) -> str:
        return str(runtime.context["company"])

    agent: Any = create_agent(
        Scripted(
            calls=[
                call("save_company_memory", slug="tax_regime", content="Pro PyME."),
                call("search_company_memory", query="tax regime"),
            ]
        ),
        memory_tools(company_of),
        store=store,
        context_schema=dict,
    )
    answers = {}
    for company in ("76.192.083-9", "12.345.678-5", "1-0"):
        with acting_as(Principal.user(ANN)):
            result = await agent.ainvoke(
                {"messages": [HumanMessage("Hello")]}, context={"company": company}
            )
        answers[company] = texts([m for m in result["messages"] if isinstance(m, ToolMessage)])
    assert answers["76.192.083-9"] == ["Saved as tax_regime.", "- tax_regime: Pro PyME."]
    assert answers["12.345.678-5"] == [
        "The user may not use this memory. Continue without it.",
        "Nothing is remembered about that.",
    ], "Ann is no member of Globex, whatever company the run names"
    assert all("check digit" in text for text in answers["1-0"])
    assert [
        row["org_id"] for row in await rows(database, "SELECT org_id FROM memory.company_brain")
    ] == [ACME]


async def test_what_only_an_operator_can_put_right_is_raised(
    store: MemoryManager, index: IndexConfig
) -> None:
    for name, args in (
        ("search_memory", {"query": "x"}),
        ("save_company_memory", {"slug": "a", "content": "x"}),
    ):
        with pytest.raises(PrincipalRequired):
            await run(store, None, call(name, **args))
        with pytest.raises(ConfigurationError):
            await run(InMemoryStore(), ANN, call(name, **args))


async def test_the_tools_work_in_a_graph_with_a_tool_node_of_its_own(
    store: MemoryManager, database: str
) -> None:
    """Check also that their writes name the run."""
    calls = [
        {
            "name": "save_memory",
            "args": {"slug": slug, "content": f"It is {slug}."},
            "id": slug,
            "type": "tool_call",
        }
        for slug in ("a", "b", "c")
    ]
    graph: Any = (
        StateGraph(MessagesState)
        .add_node("tools", ToolNode(memory_tools()))
        .add_edge(START, "tools")
        .compile(store=store)
    )
    run_id, thread_id = uuid4(), str(uuid4())
    with acting_as(Principal.user(ANN)):
        result = await graph.ainvoke(
            {"messages": [AIMessage("", tool_calls=calls)]},
            {"run_id": run_id, "configurable": {"thread_id": thread_id}},
        )
    assert [m.text for m in result["messages"][1:]] == ["Saved as a.", "Saved as b.", "Saved as c."]
    sources = await rows(database, "SELECT DISTINCT run_id, thread_id FROM memory.memories")
    assert sources == [{"run_id": str(run_id), "thread_id": thread_id}]
