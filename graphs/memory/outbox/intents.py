"""Intents: what happened, told by reference and without content, so that adapters can tell it on.

Memories that are written or forgotten are told by a trigger, whatever path they take (`memory.emit_memory_change`);
`write_memory` tells of turns, `erase_user` of persons who were erased. Agents and routes tell the rest:
`await store.intents.emit(SessionEnded(user_id=…, session_id=…))`.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from graphs.memory.database import statements
from graphs.memory.database.query import Query
from graphs.memory.errors import InvalidInput

_SQL = statements.load("intents", __package__)

IntentKind = Literal[
    "turn_committed", "memory_written", "memory_forgotten", "session_ended", "user_erased"
]

DeliveryStatus = Literal["pending", "delivered", "skipped", "failed"]


class _Intent(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _OfPerson(_Intent):
    user_id: str = Field(min_length=1)


class TurnCommitted(_OfPerson):
    """An exchange was stored, for the first time or with another answer."""

    kind: Literal["turn_committed"] = "turn_committed"
    session_id: str
    exchange: str = Field(description="The id of the user's message.")


class MemoryWritten(_OfPerson):
    """A memory was stored, or has another text now."""

    kind: Literal["memory_written"] = "memory_written"
    namespace: tuple[str, ...]
    key: str


class MemoryForgotten(_OfPerson):
    """A memory, or one side of an exchange, was deleted: by hand, by decay, or since its time was over."""

    kind: Literal["memory_forgotten"] = "memory_forgotten"
    namespace: tuple[str, ...]
    key: str


class SessionEnded(_OfPerson):
    """A conversation is over; `ended_at` of the session says so, until something is said in it again."""

    kind: Literal["session_ended"] = "session_ended"
    session_id: str


class UserErased(_Intent):
    """A person was erased. Nothing names them any more but the pseudonym under which things had left."""

    kind: Literal["user_erased"] = "user_erased"
    pseudonym: str


Emitted = TurnCommitted | MemoryWritten | MemoryForgotten | SessionEnded
"""What may be emitted by a call."""

Intent = Annotated[Emitted | UserErased, Field(discriminator="kind")]

_INTENT: TypeAdapter[Emitted | UserErased] = TypeAdapter(Intent)


def parse(user_id: str | None, told: dict[str, Any]) -> Emitted | UserErased:
    """Return an intent as it was stored. Whom it is about is said beside it, where the database checked it.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return _INTENT.validate_python(told if user_id is None else {**told, "user_id": user_id})


def emit(intent: Emitted) -> Query[None]:
    """Ask for an intent to be told to all adapters that are switched on and take it, if the transaction commits."""
    told = intent.model_dump_json(exclude={"user_id"})
    return Query(_SQL["emit"], {"user_id": intent.user_id, "intent": told})


class Intents:
    """Where agents and routes emit intents: `store.intents`.

    Args:
        ask: answers a query about a user, if whoever is acting is that user or the service.
    """

    def __init__(self, ask: Callable[[str, Query[Any]], Awaitable[Any]]) -> None:
        self._ask = ask

    async def emit(self, intent: Emitted) -> None:
        """Have it noted that something happened, and told to the adapters that are switched on; with none, only that.

        Raises:
            InvalidInput: that a person was erased is for `erase_user` to tell.
            AccessDenied: the principal is not this user and not the service.
        """
        if not isinstance(intent, Emitted):
            raise InvalidInput(
                f"{type(intent).__name__} cannot be emitted: `erase_user` tells that by itself."
            )
        await self._ask(intent.user_id, emit(intent))
