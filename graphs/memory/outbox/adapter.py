"""What an adapter is, and what it gets: nothing that was not redacted, and nobody's id.

An adapter tells a service outside what happened here. What it is handed has types that only this side can make: texts
are `RedactedText`, ids are `Pseudonym`, and what is left are ids of our own making and words of the contract.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from typing import Any, Literal, Protocol, final, runtime_checkable
from uuid import UUID

from graphs.memory.contract import MemoryType
from graphs.memory.errors import ConfigurationError
from graphs.memory.outbox.intents import IntentKind
from graphs.memory.redaction.redactor import RedactedText, Redactor

Mode = Literal["off", "shadow", "on"]
"""Whether an adapter gets anything (`shadow`, `on`), and whether what it finds is compared with ours (`shadow`)."""

_MADE_HERE = object()


@final
@dataclass(frozen=True, slots=True)
class Pseudonym:
    """What stands outside for an id of ours. The same id has the same one; only who has the key can tell which."""

    text: str
    made_by: InitVar[object] = None

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _MADE_HERE:
            raise TypeError("A Pseudonym is made by Pseudonyms only: call its of().")


class Pseudonyms:
    """Makes pseudonyms: HMAC-SHA256 of what is named, the first 128 bits of it in hexadecimal.

    Args:
        key: secret of the deployment.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, *names: str) -> Pseudonym:
        """Return what stands for an id: what kind of thing it is, and its names."""
        told = "".join(f"{len(name.encode())}:{name}" for name in ("pseudonym", *names))
        return Pseudonym(
            hmac.new(self._key, told.encode(), hashlib.sha256).hexdigest()[:32], _MADE_HERE
        )

    def of_user(self, user_id: str) -> Pseudonym:
        """Return what stands for a person."""
        return self.of("user", user_id)

    @staticmethod
    def again(text: str) -> Pseudonym:
        """Return a pseudonym that was made before, as the record of deliveries has it.

        Raises:
            ValueError: it is none; an empty one would stand for everybody.
        """
        if len(text) != 32 or not all(digit in "0123456789abcdef" for digit in text):
            raise ValueError(f"{text!r} is no pseudonym.")
        return Pseudonym(text, _MADE_HERE)


@dataclass(frozen=True, slots=True)
class Copy:
    """A memory as a service outside may have it."""

    reference: Pseudonym
    """Stands for its namespace and key."""
    text: RedactedText | None
    """None where it is gone, and the copy is to go, too."""
    type: MemoryType | None = None
    role: Literal["user", "assistant"] | None = None
    """Who said it, where it is a turn."""
    external_id: str | None = None
    """What the service called it the last time."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What a service is told: that something happened, and how the memories it is about are now.

    It may be told twice, or late: it says how things are, not what to change, so that nothing is lost by that.
    """

    id: UUID
    """The same whenever this is tried again: the key of idempotency."""
    kind: IntentKind
    user: Pseudonym
    session: Pseudonym | None = None
    memories: Sequence[Copy] = ()
    again: bool = False
    """Whether it was tried before, and may have arrived without our knowing."""
    receipt: str | None = None
    """What the service is working on since the last attempt."""


Copies = Mapping[str, str | None]
"""What a service calls its copies, by the reference's text; None for those it has no more."""


class Adapter(Protocol):
    """Tells one service outside. Everything it raises on purpose is a `DeliveryFailed`."""

    name: str
    takes: frozenset[IntentKind]
    """The intents that it is told. `user_erased` is always among them."""

    async def deliver(self, outgoing: Outgoing) -> Copies:
        """Tell the service; to tell it twice must be as good as once.

        Raises:
            DeliveryFailed: it was not taken, or is not done yet.
        """

    async def check(self) -> None:
        """Return if the service answers.

        Raises:
            DeliveryFailed: it does not.
        """

    async def close(self) -> None:
        """Give back what it holds."""


@runtime_checkable
class Searchable(Protocol):
    """An adapter whose service can be searched, and so be compared with ours."""

    async def search(self, user: Pseudonym, query: RedactedText, limit: int) -> Sequence[str]:
        """Return what the service calls the memories of a person that it finds, best first.

        Raises:
            DeliveryFailed: it did not answer.
        """


@dataclass(frozen=True, slots=True)
class SwitchedAdapter:
    """An adapter that is switched on."""

    adapter: Adapter
    mode: Literal["shadow", "on"] = "on"


class Outbound:
    """The adapters that are switched on, and what makes texts and ids fit to leave.

    Args:
        switched: the adapters.
        key: secret of the deployment, at least 16 bytes, for pseudonyms and for the digests of what is redacted. With
            another key people get other pseudonyms, and what left under the old ones stays where it is.
        regions: ISO 3166 codes of the countries whose phone numbers are known also without a country's code.

    Raises:
        ConfigurationError: the key is too short, or an adapter that is to be compared cannot be searched.
    """

    def __init__(
        self,
        switched: Iterable[SwitchedAdapter],
        key: bytes,
        regions: Sequence[str] = ("CL", "ES", "US"),
    ) -> None:
        self.adapters = {each.adapter.name: each for each in switched}
        self.redactor = Redactor(key, regions)
        self.pseudonyms = Pseudonyms(key)
        for name, each in self.adapters.items():
            if each.mode == "shadow" and not isinstance(each.adapter, Searchable):
                raise ConfigurationError(
                    f"The adapter {name} cannot be searched, so that there is nothing to compare in its shadow: "
                    "switch it `on` or `off`."
                )

    @property
    def announcement(self) -> dict[str, Any]:
        """What a transaction tells the database about its adapters: which there are, and what each takes."""
        return {
            name: {"mode": each.mode, "takes": sorted(each.adapter.takes)}
            for name, each in self.adapters.items()
        }

    async def close(self) -> None:
        """Give back what the adapters hold."""
        for each in self.adapters.values():
            await each.adapter.close()
