"""The last node of every run: what was said, and what of it is worth remembering."""

from datetime import UTC, datetime
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.runtime import Runtime

from graphs.memory.contract import Exchange, MemoryPayload
from graphs.nodes.runtime import agent_of, current_user, last_human, memory_of, session_of, text_of
from graphs.nodes.state import Context, State


async def write_memory(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    """Store the latest exchange as turns of the session, and the facts in it.

    An exchange is known by the id of the user's message: a run that is retried, resumed or regenerated stores it
    again in the same place.
    """
    exchange = latest_exchange(state)
    if exchange is None:
        return {"written": {}}
    user_id, session_id = current_user(), session_of(runtime)
    payload = MemoryPayload(
        identity=user_id,
        timestamp=datetime.now(UTC),
        agent=agent_of(runtime),
        session_id=session_id,
        type="turn",
        content=exchange,
    )
    receipt = await memory_of(runtime).write_memory(user_id, session_id, payload)
    return {"written": receipt.model_dump(mode="json")}


def latest_exchange(state: State) -> Exchange | None:
    """Return the user's last message and the answer that follows it; None if the user said nothing in words."""
    messages = state["messages"]
    asked = last_human(messages)
    if asked is None or not text_of(asked):
        return None
    after = messages[messages.index(asked) + 1 :]
    answers = [text for message in after if isinstance(message, AIMessage) and (text := text_of(message))]
    return Exchange(id=str(asked.id), user=text_of(asked), assistant=answers[-1] if answers else None)
