"""What a run sends to its chat model: the prompt, the memory and the messages, each bounded."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage
from pydantic import ValidationError

from graphs.deployment.settings import load_settings
from graphs.memory.contract import MemoryContext, estimated_tokens
from graphs.nodes.state import Options, State

MessageT = TypeVar("MessageT", bound=BaseMessage)

_OF_A_MESSAGE = 4
"""Tokens of a message beside its text."""

_OF_A_BLOCK = 1_000
"""Tokens of a block that is no text, such as an image."""

_CUT = " […]"


async def prompt_of(
    state: State, options: Options, *parts: str, messages: Sequence[AnyMessage] | None = None
) -> list[BaseMessage]:
    """Return the system prompt with the memory, followed by the messages that fit.

    Args:
        state: the conversation and its memory.
        options: the run's configuration. It may lower the deployment's budgets, and not raise them.
        parts: the parts of the system prompt, before the memory.
        messages: the messages to send; without them, those of the state.
    """
    settings = await asyncio.to_thread(load_settings)
    remembered = _remembered(state, _lower(settings.memory_prompt_tokens, options.memory_tokens))
    return [
        SystemMessage("\n\n".join(part for part in (*parts, remembered) if part)),
        *bounded(
            state["messages"] if messages is None else messages,
            _lower(settings.chat_message_tokens, options.message_tokens),
        ),
    ]


def bounded(messages: Sequence[MessageT], max_tokens: int) -> list[MessageT]:
    """Return the latest messages that fit, from a user's message on.

    The current exchange, from the user's last message on, is always part of them. If it alone is
    too long, its longest texts are cut.
    """
    costs = [_tokens(message) for message in messages]
    if sum(costs) <= max_tokens:
        return list(messages)
    starts = [n for n, message in enumerate(messages) if isinstance(message, HumanMessage)] or [0]
    first = starts[-1]
    if (cost := sum(costs[first:])) > max_tokens:
        most = _level(costs[first:], max_tokens)
        return [_shortened(message, most) for message in messages[first:]]
    for start in reversed(starts[:-1]):
        cost += sum(costs[start:first])
        if cost > max_tokens:
            break
        first = start
    return list(messages[first:])


def _lower(most: int, wanted: int | None) -> int:
    return most if wanted is None else min(most, wanted)


def _remembered(state: State, max_tokens: int) -> str:
    """Return the memory as text; empty if the state has none that is valid.

    People can edit the state in Studio.
    """
    try:
        return MemoryContext.model_validate(state.get("memory")).as_prompt(max_tokens)
    except ValidationError:
        return ""


def _tokens(message: BaseMessage) -> int:
    blocks = message.content if isinstance(message.content, list) else []
    others = len([b for b in blocks if isinstance(b, dict) and b.get("type") != "text"])
    calls = str(message.tool_calls) if isinstance(message, AIMessage) and message.tool_calls else ""
    text = estimated_tokens(str(message.text)) + estimated_tokens(calls)
    return _OF_A_MESSAGE + others * _OF_A_BLOCK + text


def _level(costs: Sequence[int], max_tokens: int) -> int:
    """Return the most tokens of each message with which all of them fit."""
    left = max_tokens
    for n, cost in enumerate(sorted(costs)):
        share = left // (len(costs) - n)
        if cost > share:
            return share
        left -= cost
    return left


def _shortened(message: MessageT, max_tokens: int) -> MessageT:
    """Return a message whose text is cut to some tokens; blocks that are no text are kept."""
    if _tokens(message) <= max_tokens:
        return message
    left = max(0, (max_tokens - _OF_A_MESSAGE) * 4 - len(_CUT.encode()))
    if isinstance(message.content, str):
        return message.model_copy(update={"content": _cut(message.content, left)})
    blocks: list[str | dict[str, object]] = []
    for block in message.content:
        if isinstance(block, dict) and block.get("type") != "text":
            blocks.append(block)
            continue
        text = block if isinstance(block, str) else str(block.get("text", ""))
        if left > 0:
            cut = _cut(text, left)
            blocks.append(cut if isinstance(block, str) else {**block, "text": cut})
            left -= len(text.encode("utf-8", "replace"))
    return message.model_copy(update={"content": blocks})


def _cut(text: str, most: int) -> str:
    """Return a text, or its beginning and a mark if it has more bytes."""
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= most else encoded[:most].decode("utf-8", "ignore") + _CUT
