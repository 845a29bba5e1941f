"""The last node of every run: what was said, and what of it is worth remembering."""

from datetime import UTC, datetime
from typing import Any

from langgraph.runtime import Runtime

from graphs.memory.contract import Exchange, MemoryPayload
from graphs.nodes.exchanges import exchanges_of
from graphs.nodes.runtime import (
    agent_of,
    current_user,
    memory_of,
    session_of,
)
from graphs.nodes.state import State


async def write_memory(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
    """Store what was said since the last write as turns of the session, and the facts in it.

    An exchange is known by the id of the user's message: a run that is retried, resumed or regenerated stores it
    again in the same place.
    """
    user_id, session_id = current_user(), session_of(runtime)
    written: dict[str, Any] = {"exchange": None, "memories": []}
    for exchange in _unwritten(state):
        payload = MemoryPayload(
            identity=user_id,
            timestamp=datetime.now(UTC),
            agent=agent_of(runtime),
            session_id=session_id,
            type="turn",
            content=exchange,
        )
        receipt = await memory_of(runtime).write_memory(user_id, session_id, payload)
        written = {
            "exchange": exchange.id,
            "memories": written["memories"] + receipt.model_dump(mode="json")["memories"],
        }
    return {"written": written}


def _unwritten(state: State) -> list[Exchange]:
    """The exchanges after the last one that was written; the latest one always, since its answer may be a new one."""
    exchanges = exchanges_of(state["messages"])
    last = (state.get("written") or {}).get("exchange")
    if "written" in state and last is None:
        return exchanges
    done = next((n for n, exchange in enumerate(exchanges) if exchange.id == last), len(exchanges))
    return exchanges[done + 1 :] or exchanges[-1:]
