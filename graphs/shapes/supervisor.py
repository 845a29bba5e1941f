"""The shape of a supervisor: route → the chosen agent, a subgraph that answers and remembers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, trim_messages
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from graphs.memory.principal import acting_as, current_principal
from graphs.memory.values.namespaces import Namespace, agent_label, user_scope
from graphs.nodes.line import on_the_line_of
from graphs.nodes.prompt import bounded
from graphs.nodes.respond import configured_model, model_errors
from graphs.nodes.runtime import (
    current_user,
    last_human,
    memory_of,
    session_of,
    text_of,
)
from graphs.nodes.state import AgentContext, Input, State
from graphs.offline.chat import OfflineChatModel
from graphs.shapes.routing import Route, Router, Skill

_LATEST_MESSAGES = 6
"""Messages of the conversation that a chat model gets to choose an agent."""

_ROUTING_TOKENS = 4_000
"""Most tokens of these messages."""


class Routed(State, total=False):
    """The conversation, and the chosen agent."""

    route: dict[str, str]
    """The latest choice as JSON: the agent, the method and the reason."""


def supervisor_of(
    agents: Mapping[Skill, CompiledStateGraph[Any, Any, Any, Any]], *, name: str
) -> CompiledStateGraph[Routed, AgentContext, Input, Routed]:
    """Return the graph of a supervisor, which chooses an agent and passes the conversation to it.

    The agent acts under its own name for the same user. It sees its own memories and not the
    private ones of other agents, and the exchange is stored once, as its own. The supervisor
    stores each choice as an item of its own.

    Args:
        agents: the graph of each agent, by skill. The first one gets questions that are like
            nothing else.
        name: the supervisor's name, as in `langgraph.json`.
    """
    router = Router([*agents])

    async def route(state: Routed, runtime: Runtime[AgentContext]) -> dict[str, Any]:
        question = last_human(state["messages"])
        asked = text_of(question) if question else ""
        last = _answered_last(state["messages"], agents)
        chosen = await _choose(router, asked, state["messages"], runtime, last)
        scope, session = decisions_of(current_user(), name), session_of(runtime)
        told = f"“{asked}” went to {chosen.agent}, because {chosen.because}."
        decision = {"content": told, "question": asked, "session_id": session, **asdict(chosen)}
        await memory_of(runtime).aput(scope, session, decision, index=False)
        return {"route": asdict(chosen)}

    graph = StateGraph(Routed, input_schema=Input, context_schema=AgentContext).add_node(
        "route", route
    )
    for skill, agent in agents.items():
        _add_agent(graph, skill.name, agent)
    return (
        graph.add_edge(START, "route")
        .add_conditional_edges(
            "route", lambda state: state["route"]["agent"], [skill.name for skill in agents]
        )
        .compile(name=name)
    )


def decisions_of(user_id: str, supervisor: str) -> Namespace:
    """Return the namespace of a supervisor's choices.

    There is one item for each session; its history has the earlier choices.
    """
    return user_scope(user_id, agent_label(supervisor), "routing")


def _answered_last(messages: Sequence[AnyMessage], agents: Mapping[Skill, Any]) -> str | None:
    """Return the agent that answered last.

    Messages say so, and not the stored choice: a forked thread has only its own branch.
    """
    names = {skill.name for skill in agents}
    return next(
        (m.name for m in reversed(messages) if isinstance(m, AIMessage) and m.name in names), None
    )


async def _choose(
    router: Router,
    question: str,
    messages: Sequence[AnyMessage],
    runtime: Runtime[AgentContext],
    last: str | None,
) -> Route:
    model = await configured_model(runtime.context or AgentContext())
    if not isinstance(model, OfflineChatModel):
        said = [
            m
            for m in messages
            if isinstance(m, HumanMessage) or (isinstance(m, AIMessage) and not m.tool_calls)
        ]
        # Some models refuse a conversation that does not begin with a user's message.
        latest = trim_messages(
            said, max_tokens=_LATEST_MESSAGES, token_counter=len, start_on="human"
        )
        shown = bounded(latest, _ROUTING_TOKENS)
        with model_errors():
            chosen = await router.by_model(model, shown, last)
        if chosen:
            return chosen
    return await router.by_likeness(question, memory_of(runtime).index_config, last)


def _add_agent(
    graph: StateGraph[Routed, AgentContext, Input, Routed],
    name: str,
    agent: CompiledStateGraph[Any, Any, Any, Any],
) -> None:
    """Add an agent's graph as a subgraph that acts under the agent's name."""

    async def handed_on(state: Routed) -> dict[str, Any]:
        with acting_as(current_principal(None).through(name)), on_the_line_of(state):
            answered: dict[str, Any] = await agent.ainvoke({"messages": state["messages"]})
            return answered

    graph.add_node(name, handed_on).add_edge(name, END)
