"""The chat model without keys: deterministic, honest, useful."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from graphs.offline_chat import SIGNATURE, OfflineChatModel

MEMORIES = SystemMessage("Be kind.\n\nWhat you know:\n- My budget is 80k.\n- My dog is called Rex.\n- I live in Porto.")


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
    history = [HumanMessage("My budget is 120k now."), AIMessage("Fine."), HumanMessage("what is my budget?")]
    assert "120k" in ask(MEMORIES, *history)


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
    answer: Any = OfflineChatModel().bind_tools([find_dealers]).invoke([MEMORIES, HumanMessage("what is my budget?")])
    assert answer.tool_calls == []
    assert "80k" in answer.text
