"""The middle node of a plain agent: the chat model answers with the memory in its prompt."""

import asyncio
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import SystemMessage
from langgraph.runtime import Runtime
from pydantic import ValidationError

from graphs.deployment.models import chat_model
from graphs.deployment.settings import load_settings
from graphs.memory.contract import MemoryContext
from graphs.nodes.state import Context, Options, State


async def respond(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    """Answer with the chat model, and stream its tokens."""
    configured = runtime.context or Context()
    model = await configured_model(configured)
    return {
        "messages": [
            await model.ainvoke(
                [system_message(state, configured.system_prompt), *state["messages"]]
            )
        ]
    }


async def configured_model(options: Options) -> BaseChatModel:
    """Return the chat model that is configured for a run, or the deployment's.

    Raises:
        ConfigurationError: it cannot be created; the message says what is missing.
    """
    settings = await asyncio.to_thread(load_settings)
    return await asyncio.to_thread(chat_model, settings, options.model or None)


def system_message(state: State, *parts: str) -> SystemMessage:
    """Return the system prompt: its parts, followed by the memory."""
    return SystemMessage("\n\n".join(part for part in (*parts, _remembered(state)) if part))


def _remembered(state: State) -> str:
    """Return the memory as text; empty if the state has none that is valid.

    People can edit the state in Studio.
    """
    try:
        return MemoryContext.model_validate(state.get("memory")).as_prompt()
    except ValidationError:
        return ""
