"""The last node of every run: stores the new exchanges."""

from datetime import UTC, datetime
from typing import Any

from langgraph.runtime import Runtime

from graphs.memory.contract import Exchange, MemoryPayload
from graphs.memory.conversations.sessions import Sessions
from graphs.memory.principal import current_provenance
from graphs.nodes.exchanges import exchanges_of
from graphs.nodes.runtime import (
    agent_of,
    current_user,
    memory_of,
    run_attempt,
    session_of,
)
from graphs.nodes.state import State

_MOST_TURNS = 100
"""Number of a session's latest turns among which a run looks for its own."""


async def write_memory(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
    """Store the exchanges since the last write as turns of the session.

    A background job then extracts facts from them. The id of the user's message identifies an
    exchange: a run that is retried, resumed or regenerated stores it again in the same place. Where
    a message came without an id, a run that the server carries out again gives it another one. So
    such a run looks where it stored its exchanges before.
    """
    user_id, session_id = current_user(), session_of(runtime)
    written: dict[str, Any] = {"exchange": None, "memories": []}
    exchanges = _unwritten(state)
    if run_attempt() > 1:
        exchanges = await _as_before(memory_of(runtime).sessions, user_id, session_id, exchanges)
    for exchange in exchanges:
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


async def _as_before(
    sessions: Sessions, user_id: str, session_id: str, exchanges: list[Exchange]
) -> list[Exchange]:
    """Return a run's exchanges with the ids by which its earlier attempts stored them."""
    run_id = current_provenance().get("run_id")
    turns = (await sessions.turns(user_id, session_id, limit=_MOST_TURNS)).items
    stored = [t.exchange for t in reversed(turns) if t.run_id == run_id and t.role == "user"]
    new = [exchange.id for exchange in exchanges if exchange.id not in stored]
    taken = {exchange.id for exchange in exchanges}
    ids = dict(zip(new, (id_ for id_ in stored if id_ not in taken), strict=False))
    return [e.model_copy(update={"id": ids.get(e.id, e.id)}) for e in exchanges]


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
