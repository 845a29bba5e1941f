"""The first node of every run: loads the relevant memory."""

from typing import Any

from langgraph.runtime import Runtime

from graphs.nodes.exchanges import exchanges_of
from graphs.nodes.runtime import (
    current_user,
    last_human,
    memory_of,
    session_of,
    text_of,
)
from graphs.nodes.state import Options, State


async def load_context(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
    """Put the user's relevant memories and recent turns in the state.

    In a thread's first run, also mark where memory begins: earlier messages that come along were
    said elsewhere and are not stored.
    """
    asked = last_human(state["messages"])
    limit = runtime.context.memory_limit if runtime.context else Options().memory_limit
    context = await memory_of(runtime).load_context(
        current_user(), session_of(runtime), query=text_of(asked) if asked else None, limit=limit
    )
    loaded: dict[str, Any] = {"memory": context.model_dump(mode="json")}
    if "written" not in state:
        before = exchanges_of(state["messages"])[:-1]
        loaded["written"] = {"exchange": before[-1].id if before else None, "memories": []}
    return loaded
