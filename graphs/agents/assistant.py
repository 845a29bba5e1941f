"""A general assistant that remembers: load_context → respond → write_memory."""

from langgraph.graph import END, START, StateGraph

from graphs.nodes.load_context import load_context
from graphs.nodes.respond import respond
from graphs.nodes.state import Context, Input, State
from graphs.nodes.write_memory import write_memory

graph = (
    StateGraph(State, input_schema=Input, context_schema=Context)
    .add_node("load_context", load_context)
    .add_node("respond", respond)
    .add_node("write_memory", write_memory)
    .add_edge(START, "load_context")
    .add_edge("load_context", "respond")
    .add_edge("respond", "write_memory")
    .add_edge("write_memory", END)
    .compile(name="assistant")
)
