"""The middle node of a plain agent: the chat model answers with the memory in its prompt."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import Runtime

from graphs.deployment.models import chat_model, check_chosen_model
from graphs.deployment.settings import load_settings
from graphs.memory.errors import ChatModelFailed, GraphMemoryError, error_sentence
from graphs.nodes.prompt import prompt_of
from graphs.nodes.state import Context, Options, State


async def respond(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    """Answer with the chat model, and stream its tokens."""
    configured = runtime.context or Context()
    model = await configured_model(configured)
    asked = await prompt_of(state, configured, configured.system_prompt)
    with model_errors():
        answer = await model.ainvoke(asked)
    return {"messages": [answer]}


async def configured_model(options: Options) -> BaseChatModel:
    """Return the chat model that is configured for a run, or the deployment's.

    Raises:
        ConfigurationError: it cannot be created; the message says what is missing.
        InvalidValue: the deployment does not allow this model.
    """
    settings = await asyncio.to_thread(load_settings)
    if options.model:
        check_chosen_model(settings, options.model)
    return await asyncio.to_thread(chat_model, settings, options.model or None)


@contextmanager
def model_errors() -> Iterator[None]:
    """Turn the errors of a chat model's provider into ours, with the first line of their text.

    LangGraph's server hides the messages of errors that it does not know, and so would hide that a
    key is missing from the person who can set it.

    Raises:
        ChatModelFailed: the provider did not answer.
    """
    try:
        yield
    except (GraphMemoryError, GraphBubbleUp):
        raise
    except Exception as error:
        raise ChatModelFailed(
            f"The chat model did not answer ({type(error).__name__}: {error_sentence(error)}). "
            "Check its key, its name and its service."
        ) from error
