"""A conversation as exchanges."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from graphs.nodes.exchanges import exchanges_of
from graphs.nodes.runtime import LONGEST_MESSAGE


def human(text: Any, message_id: str = "h") -> HumanMessage:
    return HumanMessage(text, id=message_id)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], []),
        ([AIMessage("Hello")], []),
        ([human("")], []),
        ([human([{"type": "image_url", "image_url": {"url": "data:"}}])], []),
        ([human("a", "1")], [("1", "a", None)]),
        ([human("a", "1"), AIMessage("b")], [("1", "a", "b")]),
        ([human("a", "1"), human("b", "2"), AIMessage("c")], [("2", "a\nb", "c")]),
        ([human("a", "1"), AIMessage("b"), human("c", "2")], [("1", "a", "b"), ("2", "c", None)]),
        (
            [
                human("a", "1"),
                AIMessage(""),
                ToolMessage("t", tool_call_id="x"),
                AIMessage("b"),
                SystemMessage("s"),
            ],
            [("1", "a", "b")],
        ),
        ([human("a\0b", "1")], [("1", "ab", None)]),
    ],
)
def test_what_was_said_in_a_row_is_one_exchange_with_its_last_answer(
    messages: list[AnyMessage], expected: list[tuple[str, str, str | None]]
) -> None:
    assert [(e.id, e.user, e.assistant) for e in exchanges_of(messages)] == expected


@pytest.mark.parametrize("message_id", ["x" * 3000, "nul\0", "\ud800"])
def test_an_id_that_cannot_be_a_key_is_digested(message_id: str) -> None:
    exchange = exchanges_of([human("a", message_id)])[0]
    assert len(exchange.id) == 64
    assert exchange.id.isalnum()


def test_of_long_messages_an_exchange_has_the_beginning_and_the_end() -> None:
    long = f"first {'x' * 3_000_000} last"
    [exchange] = exchanges_of([human(long, "1"), human(long, "2"), AIMessage(long)])
    for said in (exchange.user, str(exchange.assistant)):
        assert (said[:6], said[-5:], len(said)) == ("first ", " last", LONGEST_MESSAGE - 1)
