"""An agent that saves a note, answers and remembers, and then is a while in ending."""

import asyncio
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from graphs.nodes.load_context import load_context
from graphs.nodes.runtime import current_user, last_human, text_of
from graphs.nodes.state import Context, Input, State
from graphs.nodes.write_memory import write_memory


async def respond(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
    asked = last_human(state["messages"])
    text = text_of(asked) if asked else ""
    assert runtime.store
    await runtime.store.aput(("users", current_user(), "notes"), "last", {"content": text})
    return {"messages": [AIMessage(f"Noted: {text}")]}


async def linger(state: State) -> dict[str, Any]:
    await asyncio.sleep(3)
    return {}


graph = (
    StateGraph(State, input_schema=Input, context_schema=Context)
    .add_node("load_context", load_context)
    .add_node("respond", respond)
    .add_node("write_memory", write_memory)
    .add_node("linger", linger)
    .add_edge(START, "load_context")
    .add_edge("load_context", "respond")
    .add_edge("respond", "write_memory")
    .add_edge("write_memory", "linger")
    .add_edge("linger", END)
    .compile(name="lingering")
)
