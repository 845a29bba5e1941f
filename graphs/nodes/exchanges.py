"""A conversation as exchanges: a user's messages, and the answer to them."""

import hashlib

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from graphs.memory.contract import Exchange
from graphs.memory.values.text import problem_with, shortened
from graphs.nodes.runtime import LONGEST_MESSAGE, text_of

_LONGEST_ID = 128


def exchanges_of(messages: list[AnyMessage]) -> list[Exchange]:
    """Return a conversation as exchanges.

    An exchange is the user's messages in a row, and the last answer before they spoke again.
    """
    exchanges: list[Exchange] = []
    said: list[str] = []
    answer: str | None = None
    exchange_id = ""

    def close() -> None:
        if said:
            user = shortened("\n".join(said), LONGEST_MESSAGE)
            exchanges.append(Exchange(id=exchange_id, user=user, assistant=answer))

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
    """Return a message's id, or a digest of it if the client's id cannot be a key."""
    if len(message_id) <= _LONGEST_ID and not problem_with(message_id):
        return message_id
    return hashlib.sha256(message_id.encode("utf-8", "replace")).hexdigest()
