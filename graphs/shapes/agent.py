"""The shape of an agent with tools: load_context → agent ⇄ tools → write_memory."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.runtime import Runtime

from graphs.nodes.load_context import load_context
from graphs.nodes.prompt import prompt_of
from graphs.nodes.respond import configured_model, model_errors
from graphs.nodes.state import AgentContext, Input, State
from graphs.nodes.write_memory import write_memory

MOST_ROUNDS = 6
"""Most rounds of tool calls before the agent has to answer the user."""

_LAST_ROUND = "Answer the user now with what you have; call no more tools."
_GAVE_UP = (
    "I could not finish this with the tools I have. Please ask again more narrowly, or in smaller "
    "steps."
)


def agent_with_memory(
    *, name: str, prompt: str, tools: Sequence[BaseTool]
) -> CompiledStateGraph[State, AgentContext, Input, State]:
    """Return the graph of an agent with tools whose every run begins and ends with memory.

    Its messages carry its name. It runs alone, or as a subgraph, such as a supervisor's.

    Args:
        name: the agent's name, as in `langgraph.json`. It also identifies the sub-scope of a
            user's memory that is the agent's own.
        prompt: the agent's purpose and behaviour. Memories of the user are added.
        tools: its tools; asynchronous, as those of `graphs.tools.as_tool`.
    """

    async def agent(state: State, runtime: Runtime[AgentContext]) -> dict[str, Any]:
        configured = runtime.context or AgentContext()
        is_last = _rounds(state["messages"]) >= MOST_ROUNDS
        asked = await prompt_of(
            state,
            configured,
            prompt,
            getattr(configured, "instructions", ""),
            _LAST_ROUND if is_last else "",
            messages=_answered(state["messages"]),
        )
        model = await configured_model(configured)
        with model_errors():
            answer = await model.bind_tools(tools).ainvoke(asked)
        if is_last and answer.tool_calls:
            answer = AIMessage(_GAVE_UP, id=answer.id)
        answer.name = name
        return {"messages": [answer]}

    return (
        StateGraph(State, input_schema=Input, context_schema=AgentContext)
        .add_node("load_context", load_context)
        .add_node("agent", agent)
        .add_node("tools", ToolNode(tools))
        .add_node("write_memory", write_memory)
        .add_edge(START, "load_context")
        .add_edge("load_context", "agent")
        .add_conditional_edges("agent", tools_condition, {"tools": "tools", END: "write_memory"})
        .add_edge("tools", "agent")
        .add_edge("write_memory", END)
        .compile(name=name)
    )


def _rounds(messages: Sequence[AnyMessage]) -> int:
    """Count the rounds of tool calls since the user's last message."""
    since = next(
        (n for n, m in enumerate(reversed(messages)) if isinstance(m, HumanMessage)), len(messages)
    )
    return sum(
        isinstance(m, AIMessage) and bool(m.tool_calls) for m in messages[len(messages) - since :]
    )


def _answered(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Return a conversation without unanswered tool calls, as a cancelled run leaves them.

    Chat models refuse such calls.
    """
    results = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    kept = [
        m
        for m in messages
        if not isinstance(m, AIMessage) or results >= {c["id"] for c in m.tool_calls}
    ]
    calls = {
        call["id"]
        for message in kept
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    }
    return [
        message
        for message in kept
        if not isinstance(message, ToolMessage) or message.tool_call_id in calls
    ]
