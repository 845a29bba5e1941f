"""Adapter to hosted Mem0: one copy of each memory of a user, redacted and under a pseudonym.

A copy carries a reference to its memory. If its id was lost because an answer did not arrive, the
copy is found again by its reference instead of being made twice. One case is left, since the
service's `add` has no idempotency key and runs in the background. If its answer was lost and it has
not finished when it is retried, a second copy is made. The next search for copies of this memory
finds both, and one is deleted.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from graphs.mem0.importing import import_mem0
from graphs.memory.errors import DeliveryFailed
from graphs.memory.outbox.adapter import (
    Copies,
    Copy,
    Outgoing,
    Pseudonym,
)
from graphs.memory.outbox.intents import IntentKind
from graphs.memory.redaction.redactor import RedactedText

T = TypeVar("T")

HOST = "https://api.mem0.ai"
"""Default address of the service."""

TIMEOUT_SECONDS = 20.0
"""Seconds that the service may take to answer."""

POLL_SECONDS = (0.2, 0.5, 1.0, 2.0)
"""Seconds between polls of an unfinished `add`, before the worker turns to another job."""

_GONE, _BUSY = 404, 429
_WORTH_RETRYING = {408, 409, 425, _BUSY}


class Mem0Adapter:
    """The adapter to hosted Mem0. It takes no turns, only the memories made of them.

    Args:
        client: a `graphs.deployment.clients.hosted_mem0.HostedClient`, or an object with its
            methods.
        errors: the base class of the client's errors.
    """

    name = "mem0"
    takes: frozenset[IntentKind] = frozenset({"memory_written", "memory_forgotten", "user_erased"})

    def __init__(self, client: Any, errors: type[Exception]) -> None:
        self._client = client
        self._errors = errors

    async def deliver(self, outgoing: Outgoing) -> Copies:
        """Bring the service's copies into the state of the memories.

        Raises:
            DeliveryFailed: the service did not accept it, or has not finished yet.
        """
        if outgoing.kind == "user_erased":
            await self._erase(outgoing.user)
            return {}
        return {
            copy.reference.text: await self._copy(outgoing, copy)
            for copy in outgoing.memories
            if _is_kept(copy)
        }

    async def _copy(self, outgoing: Outgoing, copy: Copy) -> str | None:
        """Bring one copy into the state of its memory; return its id, or None if it was deleted."""
        if outgoing.receipt:
            return await self._when_done(outgoing.receipt, outgoing.user, copy)
        known = [copy.external_id] if copy.external_id else []
        # An earlier attempt may have made a copy whose id did not arrive.
        if copy.text is None or (outgoing.again and not known):
            known = [*dict.fromkeys([*known, *await self._find(outgoing.user, copy.reference)])]
        if copy.text is None:
            await self._delete(known)
            return None
        await self._delete(known[1:])
        if known and await self._update(known[0], copy, copy.text):
            return known[0]
        return await self._add(outgoing, copy, copy.text)

    async def _add(self, outgoing: Outgoing, copy: Copy, text: RedactedText) -> str | None:
        answer = await self._ask(
            self._client.add(
                [{"role": "user", "content": text.text}],
                user_id=outgoing.user.text,
                infer=False,
                metadata={**_metadata(copy), "delivery": str(outgoing.id)},
            )
        )
        event_id = answer.get("event_id") or next(
            (each.get("event_id") for each in answer.get("results", ())), None
        )
        if not event_id:
            raise DeliveryFailed("Mem0 accepted a memory, but its answer has no event id.")
        return await self._when_done(str(event_id), outgoing.user, copy)

    async def _when_done(self, event_id: str, user: Pseudonym, copy: Copy) -> str | None:
        """Poll an event until it is done, and return the id of the copy that it made."""
        for seconds in (*POLL_SECONDS, None):
            event = await self._ask(self._client.event(event_id), receipt=event_id)
            match event.get("status"):
                case "SUCCEEDED":
                    return await self._made(event, user, copy)
                case "FAILED":
                    raise DeliveryFailed(f"Mem0 could not store a memory: event {event_id} failed.")
            if seconds is not None:
                await asyncio.sleep(seconds)
        raise DeliveryFailed("Mem0 has not stored the memory yet.", receipt=event_id)

    async def _made(self, event: Mapping[str, Any], user: Pseudonym, copy: Copy) -> str | None:
        """Return the id of the copy that an event made.

        It is found by its reference, since the results of events have no fixed form.
        """
        made = await self._find(user, copy.reference)
        made = made or [
            each["id"]
            for each in event.get("results") or ()
            if isinstance(each, dict) and each.get("id")
        ]
        if not made:
            raise DeliveryFailed("Mem0 reports a memory as stored, but does not have it.")
        # Delete second copies, or all if the memory was deleted meanwhile.
        await self._delete(made[1:] if copy.text else made)
        return made[0] if copy.text else None

    async def _update(self, external_id: str, copy: Copy, text: RedactedText) -> bool:
        """Update the text of a copy; return False if the service does not have it any more."""
        return await self._unless_gone(
            self._client.update(external_id, text=text.text, metadata=_metadata(copy))
        )

    async def _delete(self, external_ids: Sequence[str]) -> None:
        for external_id in external_ids:
            await self._unless_gone(self._client.delete(external_id))

    async def _find(self, user: Pseudonym, reference: Pseudonym) -> list[str]:
        """Return the ids of all copies of a memory, oldest first."""
        filters = {"AND": [{"user_id": user.text}, {"metadata": {"reference": reference.text}}]}
        answer = await self._ask(self._client.get_all(filters=filters, page=1, page_size=100))
        found = [
            each
            for each in answer["results"]
            if (each.get("metadata") or {}).get("reference") == reference.text
        ]
        return [each["id"] for each in sorted(found, key=lambda each: str(each.get("created_at")))]

    async def _erase(self, user: Pseudonym) -> None:
        await self._unless_gone(self._client.delete_all(user_id=user.text))
        await self._unless_gone(self._client.delete_users(user_id=user.text))

    async def search(self, user: Pseudonym, query: RedactedText, limit: int) -> list[str]:
        """Return the ids of the user's memories that the service finds, best first.

        Raises:
            DeliveryFailed: the service did not answer.
        """
        answer = await self._ask(
            self._client.search(query.text, filters={"user_id": user.text}, top_k=limit)
        )
        return [each["id"] for each in answer["results"]]

    async def check(self) -> None:
        """Check that the service answers and accepts the key.

        Raises:
            DeliveryFailed: it does not.
        """
        await self._ask(self._client.ping())

    async def close(self) -> None:
        """Do nothing: the owner of the HTTP client closes it."""

    async def _unless_gone(self, call: Coroutine[Any, Any, Any]) -> bool:
        try:
            await self._ask(call)
        except DeliveryFailed as error:
            if getattr(error.__cause__, "error_code", "") == f"HTTP_{_GONE}":
                return False
            raise
        return True

    async def _ask(self, call: Coroutine[Any, Any, T], receipt: str | None = None) -> T:
        """Await a call of the client, and translate its errors.

        Only their code is told, since their text may quote the content.
        """
        try:
            return await call
        except self._errors as error:
            raise _failure(error, receipt) from error
        except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
            raise DeliveryFailed(
                f"Mem0 returned an unexpected answer ({type(error).__name__})."
            ) from error


def _is_kept(copy: Copy) -> bool:
    return copy.type != "turn"


def _metadata(copy: Copy) -> dict[str, str]:
    return {"reference": copy.reference.text} | ({"type": copy.type} if copy.type else {})


def _failure(error: Any, receipt: str | None) -> DeliveryFailed:
    code = str(getattr(error, "error_code", ""))
    status = int(code.removeprefix("HTTP_")) if code.removeprefix("HTTP_").isdigit() else 0
    hopeless = 400 <= status < 500 and status not in {_GONE, *_WORTH_RETRYING}
    hint = ": check MEM0_API_KEY" if status in (401, 403) else ""
    retry_after = error.debug_info.get("retry_after") if status == _BUSY else None
    if status == _GONE:
        receipt = None  # the event is not known any more, so the next attempt starts anew
    return DeliveryFailed(
        f"Mem0 did not accept the request ({code or type(error).__name__}){hint}.",
        retry_after=retry_after,
        hopeless=hopeless,
        receipt=receipt,
    )


@asynccontextmanager
async def mem0_adapter(key: str, host: str | None, folder: Path) -> AsyncIterator[Mem0Adapter]:
    """Open the adapter with the official client, as a context manager.

    Args:
        key: the account's API key.
        host: the address of the service; None for the default.
        folder: the parent of the folder that mem0 makes when it is imported.
    """
    options: dict[str, Any] = {
        "base_url": host or HOST,
        "headers": {"Authorization": f"Token {key}"},
    }
    http = await asyncio.to_thread(httpx.AsyncClient, timeout=TIMEOUT_SECONDS, **options)
    async with http:
        yield await asyncio.to_thread(_made, folder, http)


def _made(folder: Path, http: httpx.AsyncClient) -> Mem0Adapter:
    """Make the adapter. The import of mem0 takes a second: call it from a thread."""
    import_mem0(folder)
    from graphs.deployment.clients.hosted_mem0 import HostedClient, Mem0Error

    return Mem0Adapter(HostedClient(http), Mem0Error)
