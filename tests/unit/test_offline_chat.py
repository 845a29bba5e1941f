"""The chat model for deployments without keys: deterministic, honest, useful."""

from typing import Annotated, Any, Literal

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import Field

from graphs.offline.chat import SIGNATURE, OfflineChatModel

MEMORIES = SystemMessage(
    "Be kind.\n\nWhat you know:\n- My budget is 80k.\n- My dog is called Rex.\n- I live in Porto."
)


def ask(*messages: BaseMessage) -> str:
    return str(OfflineChatModel().invoke(list(messages)).text)


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("what is my budget?", "80k"),
        ("What's the name of my dog?", "Rex"),
        ("where do I live?", "Porto"),
        ("What do you know about me?", "Porto"),
        ("tell me my budget", "80k"),
    ],
)
def test_a_question_is_answered_with_what_is_remembered(question: str, part: str) -> None:
    answer = ask(MEMORIES, HumanMessage(question))
    assert part in answer
    assert answer.endswith(SIGNATURE)
    assert ask(MEMORIES, HumanMessage(question)) == answer


def test_what_was_said_in_the_conversation_counts_more_than_what_is_remembered() -> None:
    history = [
        HumanMessage("My budget is 120k now."),
        AIMessage("Fine."),
        HumanMessage("what is my budget?"),
    ]
    assert "120k" in ask(MEMORIES, *history)


def test_a_quoted_memory_is_read_as_it_was_stored() -> None:
    known = SystemMessage('What you know:\n- "city": "Porto"\n- "My \\"budget\\": \\"80k\\"."')
    assert '“My "budget": "80k".”' in ask(known, HumanMessage("what is my budget?"))
    assert "“city: Porto”" in ask(known, HumanMessage("which city?"))


def test_without_anything_known_it_says_so() -> None:
    assert "do not know" in ask(SystemMessage("Be kind."), HumanMessage("what is my budget?"))


def test_content_as_blocks_is_read() -> None:
    assert "80k" in ask(MEMORIES, HumanMessage([{"type": "text", "text": "what is my budget?"}]))


def test_an_empty_conversation_gets_a_greeting() -> None:
    assert SIGNATURE in ask(MEMORIES)


async def test_it_streams_the_same_answer_word_by_word() -> None:
    messages = [MEMORIES, HumanMessage("what is my budget?")]
    chunks = [str(chunk.text) async for chunk in OfflineChatModel().astream(messages)]
    assert len(chunks) > 5
    assert "".join(chunks) == ask(*messages)


@tool
def find_dealers(zip_code: int, specialty: str) -> str:
    """Find dealers near a zip code."""
    return f"{zip_code} {specialty}"


@tool
def score_application(amount: float) -> str:
    """Score a financing application."""
    return str(amount)


async def test_it_calls_the_tool_that_fits_with_arguments_that_validate() -> None:
    model = OfflineChatModel().bind_tools([find_dealers, score_application])

    answer: Any = await model.ainvoke([HumanMessage("Which dealers are near 94107 for welding?")])

    assert [call["name"] for call in answer.tool_calls] == ["find_dealers"]
    assert answer.tool_calls[0]["args"]["zip_code"] == 94107
    assert find_dealers.invoke(answer.tool_calls[0]["args"]).startswith("94107")
    streamed: Any = None
    async for chunk in model.astream([HumanMessage("Please score my application over 25,000.50")]):
        streamed = chunk if streamed is None else streamed + chunk
    assert streamed.tool_calls[0]["args"] == {"amount": 25000.5}


def test_it_answers_with_a_tools_result_and_not_with_another_call() -> None:
    call = AIMessage("", tool_calls=[{"name": "find_dealers", "args": {}, "id": "1"}])
    messages = [HumanMessage("dealers?"), call, ToolMessage("Robo Ltd, 2 km", tool_call_id="1")]
    answer: Any = OfflineChatModel().bind_tools([find_dealers]).invoke(messages)
    assert "Robo Ltd" in answer.text
    assert answer.tool_calls == []


def test_a_question_that_no_tool_fits_is_answered_plainly() -> None:
    answer: Any = (
        OfflineChatModel()
        .bind_tools([find_dealers])
        .invoke([MEMORIES, HumanMessage("what is my budget?")])
    )
    assert answer.tool_calls == []
    assert "80k" in answer.text


@tool
def apply_for_loan(
    amount: Annotated[float, Field(description="Price to finance, in US dollars.")],
    term_months: Annotated[int, Field(description="Term over which it is paid back, in months.")],
    down_payment: Annotated[float, Field(description="Down payment, in US dollars.")] = 0,
    annual_revenue: Annotated[
        float | None, Field(description="Annual revenue, in US dollars.")
    ] = None,
    years: Annotated[float | None, Field(description="Years in business.")] = None,
    model: Annotated[str | None, Field(description="The model.")] = None,
) -> str:
    """Apply for a loan."""
    return ""


@tool
def find_shops(
    zip_code: Annotated[str, Field(pattern=r"^\d{5}$", description="Five-digit zip code.")],
    sells: Literal["welding", "machine tending"] | None = None,
    minimum_rating: Annotated[float, Field(description="Lowest rating, in stars.")] = 0,
) -> str:
    """Find shops near a zip code."""
    return ""


def called(question: str, *before: BaseMessage) -> dict[str, Any]:
    answer: Any = (
        OfflineChatModel()
        .bind_tools([apply_for_loan, find_shops])
        .invoke([*before, HumanMessage(question)])
    )
    assert answer.tool_calls, answer.text
    return dict(answer.tool_calls[0]["args"])


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("A loan of $64,900 over 48 months", {"amount": 64900, "term_months": 48}),
        ("A loan over 48 months for 64,900 dollars", {"amount": 64900, "term_months": 48}),
        ("Can I get a loan of 1.5 million over five years?", {"amount": 1.5e6, "term_months": 60}),
        (
            "Apply for a loan of 60k for 36 months, with 900k annual revenue, 3 years in business "
            "and 6,000 down",
            {
                "amount": 6e4,
                "term_months": 36,
                "annual_revenue": 9e5,
                "years": 3,
                "down_payment": 6000,
            },
        ),
        (
            "A loan for the AW-1400 at $5,000 over 12 months",
            {"amount": 5000, "term_months": 12, "model": "AW-1400"},
        ),
        ("Shops near 94107", {"zip_code": "94107"}),
        (
            "Shops near 94107 for welding, 4.5 stars",
            {"zip_code": "94107", "sells": "welding", "minimum_rating": 4.5},
        ),
        (
            "Which shops near 94107 tend machines?",
            {"zip_code": "94107", "sells": "machine tending"},
        ),
    ],
)
def test_arguments_are_what_was_said(question: str, expected: dict[str, Any]) -> None:
    assert called(question) == expected


def test_a_form_that_was_said_before_is_known_and_a_follow_up_keeps_the_choice() -> None:
    assert called("Any shops near me?", HumanMessage("I live in 60607.")) == {"zip_code": "60607"}
    before = (HumanMessage("Welding shops near 94107?"), AIMessage("None."))
    assert called("and shops near 60607?", *before) == {"zip_code": "60607", "sells": "welding"}


def test_what_is_required_and_was_not_said_is_asked_for() -> None:
    agent = OfflineChatModel().bind_tools([apply_for_loan, find_shops])
    answer: Any = agent.invoke([HumanMessage("Any shops near me?")])
    assert answer.tool_calls == []
    assert "zip code (five-digit zip code)" in answer.text


def test_a_greeting_is_answered_with_what_the_tools_can_do() -> None:
    answer: Any = (
        OfflineChatModel().bind_tools([apply_for_loan, find_shops]).invoke([HumanMessage("Hello!")])
    )
    assert "Apply for a loan; Find shops near a zip code" in answer.text
