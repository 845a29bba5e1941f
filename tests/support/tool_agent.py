"""An agent that makes the tool calls in its input: stands for anything that a model might say."""

from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from graphs.tools import memory_tools

graph = (
    StateGraph(MessagesState)
    .add_node("tools", ToolNode(memory_tools()))
    .add_edge(START, "tools")
    .compile()
)
