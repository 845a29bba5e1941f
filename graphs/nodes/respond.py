"""The middle node of a plain agent: the chat model answers, knowing what is remembered."""

import asyncio
from typing import Any

from langchain_core.messages import SystemMessage
from langgraph.runtime import Runtime
from pydantic import ValidationError

from graphs.memory.contract import MemoryContext
from graphs.models import chat_model
from graphs.nodes.state import Context, State
from graphs.settings import load_settings


async def respond(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    """Answer with the chat model; its tokens are streamed as they come."""
    configured = runtime.context or Context()
    prompt = "\n\n".join(part for part in (configured.system_prompt, _remembered(state)) if part)
    settings = await asyncio.to_thread(load_settings)
    model = await asyncio.to_thread(chat_model, settings, configured.model or None)
    return {"messages": [await model.ainvoke([SystemMessage(prompt), *state["messages"]])]}


def _remembered(state: State) -> str:
    """What is remembered, as text; nothing where somebody else wrote the state, as Studio lets people do."""
    try:
        return MemoryContext.model_validate(state.get("memory")).as_prompt()
    except ValidationError:
        return ""
