"""The first node of every run: loads the relevant memory."""

from typing import Any

from langgraph.runtime import Runtime

from graphs.memory.contract import MemoryContext
from graphs.memory.values.text import shortened
from graphs.nodes.exchanges import exchanges_of
from graphs.nodes.line import place_at_start
from graphs.nodes.runtime import (
    current_user,
    last_human,
    memory_of,
    session_of,
    text_of,
)
from graphs.nodes.state import Options, State

LONGEST_QUERY = 8_000
"""Characters of a message that memories are searched with."""

LONGEST_IN_THREAD = 1_000_000
"""Characters of a message in a thread, whose messages every step stores again, too."""

LONGEST_IN_STATE = 4_000
"""Characters of a turn or a memory in the state, which every step of a run stores again."""


async def load_context(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
    """Put the user's relevant memories and recent turns in the state.

    In a thread's first run, also mark where memory begins: earlier messages that come along were
    said elsewhere and are not stored. Of long texts and messages, the state keeps the beginning
    and the end.
    """
    asked = last_human(state["messages"])
    limit = runtime.context.memory_limit if runtime.context else Options().memory_limit
    query = shortened(text_of(asked), LONGEST_QUERY) if asked else None
    place = place_at_start(state)
    context = await memory_of(runtime).load_context(
        current_user(), session_of(runtime), query=query, limit=limit, place=place
    )
    loaded: dict[str, Any] = {"memory": _snapshot(context)}
    if cut := [
        message.model_copy(update={"content": shortened(message.content, LONGEST_IN_THREAD)})
        for message in state["messages"]
        if isinstance(message.content, str) and len(message.content) > LONGEST_IN_THREAD
    ]:
        loaded["messages"] = cut
    if "written" not in state:
        before = exchanges_of(state["messages"])[:-1]
        line = {"run": place.parent} if place.knows else {}
        loaded["written"] = {"exchange": before[-1].id if before else None, "memories": [], **line}
    return loaded


def _snapshot(context: MemoryContext) -> dict[str, Any]:
    """Return a context as JSON of bounded size."""
    snapshot = context.model_dump(mode="json")
    for part in (*snapshot["turns"], *snapshot["memories"]):
        part["content"] = shortened(part["content"], LONGEST_IN_STATE)
    snapshot["profile"] = {
        name: shortened(value, LONGEST_IN_STATE) if isinstance(value, str) else value
        for name, value in snapshot["profile"].items()
    }
    return snapshot
