"""The last node of every run: stores the new exchanges."""

from datetime import UTC, datetime
from typing import Any

from langgraph.runtime import Runtime

from graphs.memory.contract import Exchange, MemoryPayload
from graphs.nodes.exchanges import exchanges_of
from graphs.nodes.line import place_at_end
from graphs.nodes.runtime import (
    agent_of,
    current_user,
    memory_of,
    session_of,
)
from graphs.nodes.state import State

MOST_NAMED = 100
"""Memories that the state names of a long history that was stored at once: the last ones."""


async def write_memory(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
    """Store the exchanges since the last write as turns of the session.

    A background job then extracts facts from them. The id of the user's message identifies an
    exchange: a run that is retried, resumed or regenerated stores it again in the same place.
    """
    user_id, session_id = current_user(), session_of(runtime)
    exchanges, place = _unwritten(state), place_at_end(state)
    receipts = await memory_of(runtime).write_memories(
        user_id,
        session_id,
        [
            MemoryPayload(
                identity=user_id,
                timestamp=datetime.now(UTC),
                agent=agent_of(runtime),
                session_id=session_id,
                type="turn",
                content=exchange,
            )
            for exchange in exchanges
        ],
        place=place,
    )
    memories = [
        memory for receipt in receipts for memory in receipt.model_dump(mode="json")["memories"]
    ]
    if not exchanges:  # it wrote nothing, and the conversation stands where it stood
        return {"written": {**(state.get("written") or {}), "memories": []}}
    return {
        "written": {
            "exchange": exchanges[-1].id,
            "memories": memories[-MOST_NAMED:],
            "run": place.run_id,
        }
    }


def _unwritten(state: State) -> list[Exchange]:
    """Return the exchanges after the last stored one.

    The latest one is always among them, since its answer may be new.
    """
    exchanges = exchanges_of(state["messages"])
    last = (state.get("written") or {}).get("exchange")
    if "written" in state and last is None:
        return exchanges
    done = next((n for n, exchange in enumerate(exchanges) if exchange.id == last), len(exchanges))
    return exchanges[done + 1 :] or exchanges[-1:]
