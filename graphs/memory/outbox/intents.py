"""Intents: events by reference and without content, for delivery to adapters.

A trigger emits intents for memories that are written or deleted, on every path
(`memory.emit_memory_change`). `write_memory` emits them for turns, and `erase_user` for erased
users. Agents and routes emit the rest: `await store.intents.emit(SessionEnded(user_id=…,
session_id=…))`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from graphs.memory.access import Access
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
    """A memory was stored, or its text changed."""

    kind: Literal["memory_written"] = "memory_written"
    namespace: tuple[str, ...]
    key: str


class MemoryForgotten(_OfPerson):
    """A memory, or one side of an exchange, was deleted: by a call, by decay or by expiry."""

    kind: Literal["memory_forgotten"] = "memory_forgotten"
    namespace: tuple[str, ...]
    key: str


class SessionEnded(_OfPerson):
    """A session ended. Its `ended_at` is set until the next turn."""

    kind: Literal["session_ended"] = "session_ended"
    session_id: str


class UserErased(_Intent):
    """A user was erased. Only the pseudonym that deliveries used still stands for them."""

    kind: Literal["user_erased"] = "user_erased"
    pseudonym: str


Emitted = TurnCommitted | MemoryWritten | MemoryForgotten | SessionEnded
"""Intents that callers may emit."""

Intent = Annotated[Emitted | UserErased, Field(discriminator="kind")]

_INTENT: TypeAdapter[Emitted | UserErased] = TypeAdapter(Intent)


def parse(user_id: str | None, told: dict[str, Any]) -> Emitted | UserErased:
    """Return a stored intent. Its user is stored beside it, where the database checked it.

    Raises:
        pydantic.ValidationError: it is not a valid intent.
    """
    return _INTENT.validate_python(told if user_id is None else {**told, "user_id": user_id})


def emit(intent: Emitted) -> Query[None]:
    """Return the query that emits an intent.

    If its transaction commits, all adapters that are switched on and take this kind get a delivery.
    """
    told = intent.model_dump_json(exclude={"user_id"})
    return Query(_SQL["emit"], {"user_id": intent.user_id, "intent": told})


class Intents:
    """The entry for agents and routes to emit intents: `store.intents`.

    Args:
        access: the way to the database.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def emit(self, intent: Emitted) -> None:
        """Emit an intent. It is delivered to the adapters that are switched on and take its kind.

        `SessionEnded` also ends the session in the database, even if no adapter is switched on.

        Raises:
            InvalidInput: the intent is `UserErased`, which only `erase_user` emits.
            AccessDenied: the principal is neither this user nor the service.
        """
        if not isinstance(intent, Emitted):
            raise InvalidInput(
                f"{type(intent).__name__} cannot be emitted: call `erase_user`, which emits it."
            )
        await self._access.ask(intent.user_id, emit(intent))
