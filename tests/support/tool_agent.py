"""An agent that calls the memory tools as its input says: whatever a model might come to say."""

from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from graphs.tools import memory_tools

graph = (
    StateGraph(MessagesState)
    .add_node("tools", ToolNode(memory_tools()))
    .add_edge(START, "tools")
    .compile()
)
