"""Hosted Mem0 has a copy of each memory of a person, redacted and under a pseudonym, one for one.

A copy carries a reference to its memory, so that one whose id got lost (an answer that never came) is found again
rather than made twice. What the service does not allow: an `add` has no key of idempotency and is done in the
background. One that was asked for, whose answer was lost, and that is still not done when it is tried again, is made a
second time; whoever looks next for copies of that memory finds both, and deletes one.
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
"""Where the service is, if nothing else is said."""

TIMEOUT_SECONDS = 20.0
"""How long the service may take to answer."""

POLL_SECONDS = (0.2, 0.5, 1.0, 2.0)
"""The waits between asking whether an `add` is done, before the worker turns to something else."""

_GONE, _BUSY = 404, 429
_WORTH_RETRYING = {408, 409, 425, _BUSY}


class Mem0Adapter:
    """Tells hosted Mem0. Turns are not for it: it gets the facts that were made of them.

    Args:
        client: `graphs.deployment.clients.hosted_mem0.HostedClient`, or what does as that.
        errors: what it raises.
    """

    name = "mem0"
    takes: frozenset[IntentKind] = frozenset({"memory_written", "memory_forgotten", "user_erased"})

    def __init__(self, client: Any, errors: type[Exception]) -> None:
        self._client = client
        self._errors = errors

    async def deliver(self, outgoing: Outgoing) -> Copies:
        """Make the service's copies like the memories.

        Raises:
            DeliveryFailed: it was not taken, or is not done yet.
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
        """Make one copy like its memory, and return its id; None if there is none any more."""
        if outgoing.receipt:
            return await self._when_done(outgoing.receipt, outgoing.user, copy)
        known = [copy.external_id] if copy.external_id else []
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
            raise DeliveryFailed("Mem0 took a memory, and did not say under which event.")
        return await self._when_done(str(event_id), outgoing.user, copy)

    async def _when_done(self, event_id: str, user: Pseudonym, copy: Copy) -> str | None:
        """Return the id of what an event made, once it is done."""
        for seconds in (*POLL_SECONDS, None):
            event = await self._ask(self._client.event(event_id), receipt=event_id)
            match event.get("status"):
                case "SUCCEEDED":
                    return await self._made(event, user, copy)
                case "FAILED":
                    raise DeliveryFailed(f"Mem0 could not make a memory: event {event_id} failed.")
            if seconds is not None:
                await asyncio.sleep(seconds)
        raise DeliveryFailed("Mem0 has not made the memory yet.", receipt=event_id)

    async def _made(self, event: Mapping[str, Any], user: Pseudonym, copy: Copy) -> str | None:
        """Return the id of what was made. It is looked for by its reference: an event's results have no fixed form."""
        made = await self._find(user, copy.reference)
        made = made or [
            each["id"]
            for each in event.get("results") or ()
            if isinstance(each, dict) and each.get("id")
        ]
        if not made:
            raise DeliveryFailed("Mem0 says that it made a memory, and does not have it.")
        await self._delete(
            made[1:] if copy.text else made
        )  # what was made twice, or forgotten meanwhile
        return made[0] if copy.text else None

    async def _update(self, external_id: str, copy: Copy, text: RedactedText) -> bool:
        """Give a copy another text; False if the service does not have it any more."""
        return await self._unless_gone(
            self._client.update(external_id, text=text.text, metadata=_metadata(copy))
        )

    async def _delete(self, external_ids: Sequence[str]) -> None:
        for external_id in external_ids:
            await self._unless_gone(self._client.delete(external_id))

    async def _find(self, user: Pseudonym, reference: Pseudonym) -> list[str]:
        """Return the ids of all copies of a memory, the oldest first."""
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
        """Return the ids of a person's memories that the service finds, best first.

        Raises:
            DeliveryFailed: it did not answer.
        """
        answer = await self._ask(
            self._client.search(query.text, filters={"user_id": user.text}, top_k=limit)
        )
        return [each["id"] for each in answer["results"]]

    async def check(self) -> None:
        """Return if the service answers, and knows the key.

        Raises:
            DeliveryFailed: it does not.
        """
        await self._ask(self._client.ping())

    async def close(self) -> None:
        """Do nothing: whoever opened the connections closes them."""

    async def _unless_gone(self, call: Coroutine[Any, Any, Any]) -> bool:
        try:
            await self._ask(call)
        except DeliveryFailed as error:
            if getattr(error.__cause__, "error_code", "") == f"HTTP_{_GONE}":
                return False
            raise
        return True

    async def _ask(self, call: Coroutine[Any, Any, T], receipt: str | None = None) -> T:
        """Await a call of the client. Its errors are told by their code: their words may quote what was sent."""
        try:
            return await call
        except self._errors as error:
            raise _failure(error, receipt) from error
        except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
            raise DeliveryFailed(
                f"Mem0 gave an answer that makes no sense ({type(error).__name__})."
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
        receipt = None  # an event that is not known any more
    return DeliveryFailed(
        f"Mem0 did not take it ({code or type(error).__name__}){hint}.",
        retry_after=retry_after,
        hopeless=hopeless,
        receipt=receipt,
    )


@asynccontextmanager
async def mem0_adapter(key: str, host: str | None, folder: Path) -> AsyncIterator[Mem0Adapter]:
    """Lend the adapter, with the official client.

    Args:
        key: of the account.
        host: of the service, None for the usual one.
        folder: where mem0 may make the folder that it makes when it is imported.
    """
    options: dict[str, Any] = {
        "base_url": host or HOST,
        "headers": {"Authorization": f"Token {key}"},
    }
    http = await asyncio.to_thread(httpx.AsyncClient, timeout=TIMEOUT_SECONDS, **options)
    async with http:
        yield await asyncio.to_thread(_made, folder, http)


def _made(folder: Path, http: httpx.AsyncClient) -> Mem0Adapter:
    """Make the client. Its import reads files, and takes a second: call it from a thread."""
    import_mem0(folder)
    from graphs.deployment.clients.hosted_mem0 import HostedClient, Mem0Error

    return Mem0Adapter(HostedClient(http), Mem0Error)
