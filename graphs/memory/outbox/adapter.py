"""The interface of adapters, and the types of their input.

An adapter delivers to one external service what happened here. Its input contains no text that was
not redacted, and no id of a user or session. Only this side can make the types of its input: texts
are `RedactedText` and ids are `Pseudonym`. The rest are ids made here and words of the contract.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, final, runtime_checkable
from uuid import UUID

from graphs.memory.contract import MemoryType
from graphs.memory.errors import ConfigurationError
from graphs.memory.outbox.intents import IntentKind

if TYPE_CHECKING:
    from graphs.memory.redaction.redactor import RedactedText

Mode = Literal["off", "shadow", "on"]
"""Modes of an adapter.

`off`: no deliveries. `on`: deliveries. `shadow`: deliveries, and its search results are compared
with ours.
"""

_MADE_HERE = object()


@final
@dataclass(frozen=True, slots=True)
class Pseudonym:
    """A stand-in outside for an id of ours.

    The same id always has the same pseudonym. Only the holder of the key can link the two.
    """

    text: str
    made_by: InitVar[object] = None

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _MADE_HERE:
            raise TypeError("A Pseudonym is only made by Pseudonyms: call its of().")


class Pseudonyms:
    """A maker of pseudonyms: the first 128 bits of an HMAC-SHA256, in hexadecimal.

    Args:
        key: the deployment's secret.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, *names: str) -> Pseudonym:
        """Return the pseudonym of an id, given its kind and the names that form it."""
        # The lengths tell `("ab", "c")` from `("a", "bc")`.
        told = "".join(f"{len(name.encode())}:{name}" for name in ("pseudonym", *names))
        return Pseudonym(
            hmac.new(self._key, told.encode(), hashlib.sha256).hexdigest()[:32], _MADE_HERE
        )

    def of_user(self, user_id: str) -> Pseudonym:
        """Return the pseudonym of a user."""
        return self.of("user", user_id)

    @staticmethod
    def again(text: str) -> Pseudonym:
        """Return a pseudonym that was made before, from its text in the record of deliveries.

        Raises:
            ValueError: the text is not a pseudonym. An empty one would stand for every user.
        """
        if len(text) != 32 or not all(digit in "0123456789abcdef" for digit in text):
            raise ValueError(f"{text!r} is not a pseudonym: it must be 32 hexadecimal digits.")
        return Pseudonym(text, _MADE_HERE)


@dataclass(frozen=True, slots=True)
class Copy:
    """A memory in the form in which an external service may have it."""

    reference: Pseudonym
    """The pseudonym of the memory's namespace and key."""
    text: "RedactedText | None"
    """None if the memory was deleted: the copy must be deleted, too."""
    type: MemoryType | None = None
    role: Literal["user", "assistant"] | None = None
    """The speaker, if the memory is a turn."""
    external_id: str | None = None
    """The service's id of its copy, as of the last delivery."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A delivery, as an adapter gets it: an event, and the current state of its memories.

    It may arrive twice or late. As it describes a state and not a change, this does no harm.
    """

    id: UUID
    """The idempotency key: the same for every attempt."""
    kind: IntentKind
    user: Pseudonym
    session: Pseudonym | None = None
    memories: Sequence[Copy] = ()
    again: bool = False
    """True if it was tried before, and may have arrived without an answer."""
    receipt: str | None = None
    """The service's id of the work that it accepted in the last attempt and had not finished."""


Copies = Mapping[str, str | None]
"""The service's ids of its copies, by the reference's text; None for a copy that was deleted."""


class Adapter(Protocol):
    """A client of one external service. The only error it raises on purpose is `DeliveryFailed`."""

    name: str
    takes: frozenset[IntentKind]
    """The kinds of intents that it delivers; `user_erased` must be one of them."""

    async def deliver(self, outgoing: Outgoing) -> Copies:
        """Deliver to the service. To deliver twice must have the same effect as once.

        Raises:
            DeliveryFailed: the service did not accept it, or has not finished yet.
        """

    async def check(self) -> None:
        """Check that the service answers.

        Raises:
            DeliveryFailed: it does not.
        """

    async def close(self) -> None:
        """Release its resources."""


@runtime_checkable
class Searchable(Protocol):
    """An adapter whose service can be searched, so that its results can be compared with ours."""

    async def search(self, user: Pseudonym, query: "RedactedText", limit: int) -> Sequence[str]:
        """Return the service's ids of the user's memories that it finds, best first.

        Raises:
            DeliveryFailed: the service did not answer.
        """


@dataclass(frozen=True, slots=True)
class SwitchedAdapter:
    """An adapter that is switched on, and its mode."""

    adapter: Adapter
    mode: Literal["shadow", "on"] = "on"


class Outbound:
    """The adapters that are switched on, with the redactor and the pseudonyms for their input.

    Args:
        switched: the adapters.
        key: the deployment's secret, at least 16 bytes, for pseudonyms and for digests of redacted
            values. With another key, users get other pseudonyms, and data delivered under the old
            ones stays where it is.
        regions: ISO 3166 codes of the countries whose phone numbers are recognised without a
            country code.

    Raises:
        ConfigurationError: the key is too short, or an adapter in the shadow cannot be searched.
    """

    def __init__(
        self,
        switched: Iterable[SwitchedAdapter],
        key: bytes,
        regions: Sequence[str] = ("CL", "ES", "US"),
    ) -> None:
        # Late: only who tells external services needs the tables of phone numbers and national ids.
        from graphs.memory.redaction.redactor import Redactor

        self.adapters = {each.adapter.name: each for each in switched}
        self.redactor = Redactor(key, regions)
        self.pseudonyms = Pseudonyms(key)
        for name, each in self.adapters.items():
            if each.mode == "shadow" and not isinstance(each.adapter, Searchable):
                raise ConfigurationError(
                    f"The adapter {name} cannot run in the shadow, since its service cannot be "
                    "searched: switch it `on` or `off`."
                )

    @property
    def announcement(self) -> dict[str, Any]:
        """The mode of each adapter, and the intents that it takes.

        Each transaction announces it to the database, which queues deliveries accordingly.
        """
        return {
            name: {"mode": each.mode, "takes": sorted(each.adapter.takes)}
            for name, each in self.adapters.items()
        }

    async def close(self) -> None:
        """Close all adapters."""
        for each in self.adapters.values():
            await each.adapter.close()
