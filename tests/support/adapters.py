"""An adapter whose service is a dictionary, with injected failures."""

from collections.abc import Iterable, Sequence

from graphs.memory.errors import DeliveryFailed
from graphs.memory.outbox.adapter import (
    Copies,
    Outbound,
    Outgoing,
    Pseudonym,
    SwitchedAdapter,
)
from graphs.memory.outbox.intents import IntentKind
from graphs.memory.redaction.redactor import RedactedText

KEY = b"a key of the tests, and no other"

EVERYTHING: frozenset[IntentKind] = frozenset(
    {"turn_committed", "memory_written", "memory_forgotten", "session_ended", "user_erased"}
)


class Notebook:
    """An adapter that records deliveries: `told` in order, with repeats; `copies` as they are now.

    Args:
        name: Its name.
        takes: The intents that it accepts.
    """

    def __init__(self, name: str = "notebook", takes: Iterable[IntentKind] = EVERYTHING) -> None:
        self.name = name
        self.takes: frozenset[IntentKind] = frozenset(takes)
        self.told: list[Outgoing] = []
        self.copies: dict[str, dict[str, str]] = {}
        self.failures: list[DeliveryFailed] = []
        self.finds: list[str] = []
        self.asked: list[tuple[str, str]] = []

    async def deliver(self, outgoing: Outgoing) -> Copies:
        if self.failures:
            raise self.failures.pop(0)
        self.told.append(outgoing)
        if outgoing.kind == "user_erased":
            self.copies.pop(outgoing.user.text, None)
            return {}
        of_user = self.copies.setdefault(outgoing.user.text, {})
        for copy in outgoing.memories:
            if copy.text is None:
                of_user.pop(copy.reference.text, None)
            else:
                of_user[copy.reference.text] = copy.text.text
        return {
            c.reference.text: c.reference.text[::-1] if c.text else None for c in outgoing.memories
        }

    async def search(self, user: Pseudonym, query: RedactedText, limit: int) -> Sequence[str]:
        if self.failures:
            raise self.failures.pop(0)
        self.asked.append((user.text, query.text))
        return self.finds[:limit]

    async def check(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    async def close(self) -> None:
        pass

    @property
    def texts(self) -> set[str]:
        """Return the texts of all copies."""
        return {text for of_user in self.copies.values() for text in of_user.values()}


def outbound_to(*adapters: Notebook, shadow: bool = False) -> Outbound:
    return Outbound(
        [SwitchedAdapter(adapter, "shadow" if shadow else "on") for adapter in adapters], KEY
    )
