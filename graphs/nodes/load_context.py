"""The first node of every run: what is known that matters now."""

from typing import Any

from langgraph.runtime import Runtime

from graphs.nodes.runtime import current_user, last_human, memory_of, session_of, text_of
from graphs.nodes.state import Context, State


async def load_context(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    """Put the user's relevant memories and recent turns in the state."""
    asked = last_human(state["messages"])
    limit = runtime.context.memory_limit if runtime.context else Context().memory_limit
    context = await memory_of(runtime).load_context(
        current_user(), session_of(runtime), query=text_of(asked) if asked else None, limit=limit
    )
    return {"memory": context.model_dump(mode="json")}
