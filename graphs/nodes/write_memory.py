"""The last node of every run: what was said, and what of it is worth remembering."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.runtime import Runtime

from graphs.memory.contract import Exchange, MemoryPayload
from graphs.memory.text import problem_with
from graphs.nodes.runtime import agent_of, current_user, memory_of, session_of, text_of
from graphs.nodes.state import Context, State

_LONGEST_ID = 128


async def write_memory(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
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
    last = state.get("written", {}).get("exchange")
    done = next((n for n, exchange in enumerate(exchanges) if exchange.id == last), None)
    return exchanges[-1:] if done is None else exchanges[done + 1 :] or exchanges[-1:]


def exchanges_of(messages: list[AnyMessage]) -> list[Exchange]:
    """Return a conversation as exchanges: what the user said in a row, and the last answer before they spoke again."""
    exchanges: list[Exchange] = []
    said: list[str] = []
    answer: str | None = None
    exchange_id = ""

    def close() -> None:
        if said:
            exchanges.append(Exchange(id=exchange_id, user="\n".join(said), assistant=answer))

    for message in messages:
        text = text_of(message)
        if isinstance(message, HumanMessage) and text:
            if answer is not None:
                close()
                said, answer = [], None
            said.append(text)
            exchange_id = _short(str(message.id))
        elif isinstance(message, AIMessage) and text and said:
            answer = text
    close()
    return exchanges


def _short(message_id: str) -> str:
    """A message's id, or a digest of it where a client's own idea of an id cannot be a key."""
    if len(message_id) <= _LONGEST_ID and not problem_with(message_id):
        return message_id
    return hashlib.sha256(message_id.encode("utf-8", "replace")).hexdigest()
