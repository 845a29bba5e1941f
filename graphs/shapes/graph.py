"""The shape of every agent: load_context → respond → write_memory."""

from collections.abc import Callable
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from graphs.nodes.load_context import load_context
from graphs.nodes.state import Context, Input, State
from graphs.nodes.write_memory import write_memory


def with_memory(
    respond: Callable[..., Any], *, name: str
) -> CompiledStateGraph[State, Context, Input, State]:
    """Return the graph of an agent whose every run begins and ends with memory.

    Args:
        respond: the agent's own node, a function of `(state, runtime)` or a compiled subgraph. It
            finds the memory in `state["memory"]` and returns the messages that answer.
        name: the graph's name in Studio and traces.
    """
    return (
        StateGraph(State, input_schema=Input, context_schema=Context)
        .add_node("load_context", load_context)
        .add_node("respond", respond)
        .add_node("write_memory", write_memory)
        .add_edge(START, "load_context")
        .add_edge("load_context", "respond")
        .add_edge("respond", "write_memory")
        .add_edge("write_memory", END)
        .compile(name=name)
    )
