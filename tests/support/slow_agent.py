"""The assistant, with an answer that takes its time: what a run looks like that can be interrupted."""

import asyncio
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph

from graphs.nodes.load_context import load_context
from graphs.nodes.state import Context, Input, State
from graphs.nodes.write_memory import write_memory


async def respond(state: State) -> dict[str, Any]:
    await asyncio.sleep(3)
    return {"messages": [AIMessage("At last.")]}


graph = (
    StateGraph(State, input_schema=Input, context_schema=Context)
    .add_node("load_context", load_context)
    .add_node("respond", respond)
    .add_node("write_memory", write_memory)
    .add_edge(START, "load_context")
    .add_edge("load_context", "respond")
    .add_edge("respond", "write_memory")
    .add_edge("write_memory", END)
    .compile(name="slow")
)
