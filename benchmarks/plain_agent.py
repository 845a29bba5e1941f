"""The example agent without its memory nodes, for `benchmarks.load` to compare with."""

from langgraph.graph import END, START, StateGraph

from graphs.nodes.respond import respond
from graphs.nodes.state import Context, Input, State

graph = (
    StateGraph(State, input_schema=Input, context_schema=Context)
    .add_node("respond", respond)
    .add_edge(START, "respond")
    .add_edge("respond", END)
    .compile(name="plain")
)
