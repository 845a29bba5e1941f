"""The middle node of a plain agent: the chat model answers with the memory in its prompt."""

import asyncio
from typing import Any

from langchain_core.language_models import BaseChatModel
from langgraph.runtime import Runtime

from graphs.deployment.models import chat_model
from graphs.deployment.settings import load_settings
from graphs.nodes.prompt import prompt_of
from graphs.nodes.state import Context, Options, State


async def respond(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    """Answer with the chat model, and stream its tokens."""
    configured = runtime.context or Context()
    model = await configured_model(configured)
    asked = await prompt_of(state, configured, configured.system_prompt)
    return {"messages": [await model.ainvoke(asked)]}


async def configured_model(options: Options) -> BaseChatModel:
    """Return the chat model that is configured for a run, or the deployment's.

    Raises:
        ConfigurationError: it cannot be created; the message says what is missing.
    """
    settings = await asyncio.to_thread(load_settings)
    return await asyncio.to_thread(chat_model, settings, options.model or None)
