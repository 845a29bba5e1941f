"""The choice of an agent for a question."""

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.store.base import IndexConfig
from pydantic import SecretStr

from graphs.agents import (
    dealer_matching,
    financing,
    knowledge,
    sales,
)
from graphs.shapes.routing import Route, Router
from tests.support.openai_stub import OpenAIStub

FOLDER = Path(__file__).parent
CONVERSATION: list[AnyMessage] = [
    HumanMessage("Which dealers are near 94107?"),
    AIMessage("Bay Robotics."),
    HumanMessage("and near 10001?"),
]


@pytest.fixture
def router() -> Router:
    return Router([agent.skill for agent in (knowledge, financing, sales, dealer_matching)])


def questions(name: str) -> list[list[str]]:
    lines = (FOLDER / f"routing_{name}.txt").read_text().splitlines()
    return [line.split(" | ") for line in lines if not line.startswith("#")]


@pytest.mark.parametrize(
    ("name", "least"),
    [("held_out", 0.8), ("development", 0.95)],  # 33 of 40 and 59 of 60
)
async def test_questions_go_where_they_belong(
    router: Router, index: IndexConfig, name: str, least: float
) -> None:
    asked = questions(name)
    right = [
        (await router.by_likeness(question, index, None)).agent == agent
        for agent, question in asked
    ]
    assert sum(right) / len(asked) >= least


async def test_without_an_embedding_model_words_do(router: Router) -> None:
    asked = questions("held_out")
    right = [
        (await router.by_likeness(question, None, None)).agent == agent for agent, question in asked
    ]
    assert sum(right) / len(asked) >= 0.7


@pytest.mark.parametrize("question", ["and near me?", "what about 10001?", "hmm", "why?"])
async def test_what_goes_on_with_an_answer_stays_with_the_agent_that_gave_it(
    router: Router, index: IndexConfig, question: str
) -> None:
    for last in ("dealer_matching", "financing"):
        assert await router.by_likeness(question, index, last) == Route(
            last, "context", f"it continues the answer of {last}"
        )


async def test_another_question_goes_elsewhere_whoever_answered_before(
    router: Router, index: IndexConfig
) -> None:
    route = await router.by_likeness(
        "What is the status of my application?", index, "dealer_matching"
    )
    assert (route.agent, route.by) == ("financing", "likeness")
    assert (await router.by_likeness("qqq zzz", index, None)).agent == "knowledge"


def model(stub: OpenAIStub) -> ChatOpenAI:
    return ChatOpenAI(
        model="gpt-stub", base_url=stub.url, api_key=SecretStr("sk-test"), max_retries=0
    )


async def test_a_model_can_name_one_of_the_agents_and_nothing_else(router: Router) -> None:
    answer = {"content": json.dumps({"because": "dealers", "agent": "dealer_matching"})}
    with OpenAIStub(answer) as stub:
        route = await router.by_model(model(stub), CONVERSATION, "sales")
        [asked] = stub.asked("/chat/completions")
    assert route == Route("dealer_matching", "model", "dealers")
    choice = asked["response_format"]["json_schema"]["schema"]["properties"]["agent"]
    assert set(choice["enum"]) == {"knowledge", "financing", "sales", "dealer_matching"}
    assert "last answer was given by sales" in asked["messages"][0]["content"]


@pytest.mark.parametrize(
    "message",
    [
        {"content": json.dumps({"because": "I can", "agent": "administrator"})},
        {"content": "dealer_matching"},
        {"content": None, "refusal": "No."},
    ],
)
async def test_an_answer_that_names_none_of_them_decides_nothing(
    router: Router, message: dict[str, Any]
) -> None:
    with OpenAIStub(message) as stub:
        assert await router.by_model(model(stub), CONVERSATION, None) is None
