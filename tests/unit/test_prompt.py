"""The bounds of what a chat model gets."""

from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from graphs.deployment.settings import load_settings
from graphs.memory.contract import estimated_tokens
from graphs.nodes.prompt import bounded, prompt_of
from graphs.nodes.state import Options, State

NOW = "2026-01-01T00:00:00Z"


def talk(exchanges: int, text: str = "word " * 80) -> list[AnyMessage]:
    said: list[AnyMessage] = []
    for n in range(exchanges):
        said += [HumanMessage(f"{n} {text}"), AIMessage(f"{n} {text}")]
    return [*said, HumanMessage("and now?")]


def length(messages: list[Any]) -> int:
    return sum(estimated_tokens(str(message.text)) for message in messages)


def state_with(messages: list[AnyMessage], *contents: str) -> State:
    memories = [
        {"namespace": ["users"], "key": str(uuid4()), "content": content}
        | {"created_at": NOW, "updated_at": NOW}
        for content in contents
    ]
    memory = {"user_id": "u", "session": {"id": "s"}, "turns": [], "memories": memories}
    return {"messages": messages, "memory": memory}


def test_a_conversation_that_fits_is_sent_whole() -> None:
    said: list[AnyMessage] = [AIMessage("Welcome."), *talk(3)]
    assert bounded(said, 10_000) == said


def test_the_latest_messages_are_sent_from_a_users_message_on() -> None:
    said = talk(10_000)
    sent = bounded(said, 1_000)
    assert sent == said[-len(sent) :]
    assert isinstance(sent[0], HumanMessage)
    assert 1 < len(sent) < 12
    assert length(sent) <= 1_000


def test_a_question_of_many_megabytes_is_cut() -> None:
    for content in ("ü" * 4_000_000, [{"type": "text", "text": "ü" * 4_000_000}]):
        [sent] = bounded([*talk(2)[:-1], HumanMessage(content)], 500)  # type: ignore[arg-type]
        assert 400 < length([sent]) <= 500
        assert str(sent.text).startswith("üü")


def test_a_long_result_of_a_tool_is_cut_and_what_is_short_stays() -> None:
    call = {"name": "look", "args": {}, "id": "c1", "type": "tool_call"}
    current: list[AnyMessage] = [
        HumanMessage("What does the file say?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("x" * 1_000_000, tool_call_id="c1"),
    ]
    sent = bounded([*talk(2), *current], 300)
    assert sent[:2] == current[:2]
    assert 100 < length(sent) <= 300


async def test_an_assistant_may_lower_the_budgets_and_not_raise_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEMORY_PROMPT_TOKENS", "100")
    monkeypatch.setenv("CHAT_MESSAGE_TOKENS", "300")
    load_settings.cache_clear()
    state = state_with(talk(50), "Likes tea.", "x" * 980_000, "Lives in Porto.")
    try:
        for options, memory, messages in (
            (Options(), 100, 300),
            (Options(memory_tokens=45, message_tokens=150), 45, 150),
            (Options(memory_tokens=10**6, message_tokens=10**6), 100, 300),
        ):
            system, *sent = await prompt_of(state, options, "Be kind.")
            assert "Likes tea." in system.text
            assert length([system]) <= memory + estimated_tokens("Be kind.\n\n")
            assert length(sent) <= messages
    finally:
        load_settings.cache_clear()
