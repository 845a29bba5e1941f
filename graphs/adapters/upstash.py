"""Adapters to Upstash, over its official clients.

QStash delivers each event to an endpoint. Redis keeps copies near their readers. Both are an
optional extra (`pip install graph-native-memory[upstash]`), imported only if they are switched on.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx

from graphs.memory.errors import ConfigurationError, DeliveryFailed
from graphs.memory.outbox.adapter import Copies, Copy, Outgoing
from graphs.memory.outbox.intents import IntentKind

T = TypeVar("T")

TIMEOUT_SECONDS = 20.0
"""Seconds that the service may take to answer."""

CACHE_SECONDS = 30 * 24 * 3600
"""Seconds that a user's memories stay in the cache after the last change: 30 days."""

_NONSENSE = (ValueError, KeyError, TypeError, AttributeError)
"""Errors of the clients about an unexpected answer, such as a proxy's page."""

_STATUS = re.compile(r"^Request failed with status: (\d{3})")
_HOPELESS = frozenset({400, 401, 403, 404, 405, 413, 422})
"""Status codes after which a retry cannot help: the token, destination or message is wrong."""

_EVERYTHING: frozenset[IntentKind] = frozenset(
    {"turn_committed", "memory_written", "memory_forgotten", "session_ended", "user_erased"}
)


class QStashAdapter:
    """The adapter to QStash. It publishes each intent as a JSON message.

    The message is `{id, kind, user, session, memories: [{reference, type, role, text}]}`. QStash
    drops a message whose id it saw in the last ten minutes, and promises delivery at least once:
    the endpoint should use `id` as an idempotency key. Data that the endpoint stored cannot be
    deleted from here: `user_erased` asks the endpoint to do so.

    Args:
        client: a `qstash.AsyncQStash`.
        errors: the base class of the client's errors.
        destination: the endpoint's URL.
    """

    name = "qstash"
    takes = _EVERYTHING

    def __init__(self, client: Any, errors: type[Exception], destination: str) -> None:
        self._client = client
        self._errors = errors
        self._destination = destination

    async def deliver(self, outgoing: Outgoing) -> Copies:
        """Publish a message.

        Raises:
            DeliveryFailed: the service did not accept it.
        """
        await _asked(
            "QStash",
            self._errors,
            self._client.message.publish_json(
                url=self._destination, body=_message(outgoing), deduplication_id=str(outgoing.id)
            ),
        )
        return {}

    async def check(self) -> None:
        """Check that the service answers and accepts the token.

        Raises:
            DeliveryFailed: it does not.
        """
        await _asked("QStash", self._errors, self._client.url_group.list())

    async def close(self) -> None:
        """Close the client's connections, for which it has no method."""
        await self._client.http._client.aclose()


class RedisAdapter:
    """The adapter to Redis. It keeps one hash per user, `graph-memory:<pseudonym>`.

    A field is a memory's reference; its value is `{type, role, session, text}` as JSON.

    Args:
        client: an `upstash_redis.asyncio.Redis`.
        errors: the base class of the client's errors.
    """

    name = "redis"
    takes: frozenset[IntentKind] = frozenset(
        {"turn_committed", "memory_written", "memory_forgotten", "user_erased"}
    )

    def __init__(self, client: Any, errors: type[Exception]) -> None:
        self._client = client
        self._errors = errors

    async def deliver(self, outgoing: Outgoing) -> Copies:
        """Bring the user's hash into the state of the memories.

        Raises:
            DeliveryFailed: the service did not accept it.
        """
        key = f"graph-memory:{outgoing.user.text}"
        changes = self._client.multi()
        if outgoing.kind == "user_erased":
            changes.delete(key)
        else:
            kept = {
                copy.reference.text: _cached(outgoing, copy)
                for copy in outgoing.memories
                if copy.text
            }
            gone = [copy.reference.text for copy in outgoing.memories if copy.text is None]
            if kept:
                changes.hset(key, values=kept)
            if gone:
                changes.hdel(key, *gone)
            changes.expire(key, CACHE_SECONDS)
        await _asked("Redis", self._errors, changes.exec())
        return {}

    async def check(self) -> None:
        """Check that the service answers and accepts the token.

        Raises:
            DeliveryFailed: it does not.
        """
        await _asked("Redis", self._errors, self._client.ping())

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()


def _message(outgoing: Outgoing) -> dict[str, Any]:
    return {
        "id": str(outgoing.id),
        "kind": outgoing.kind,
        "user": outgoing.user.text,
        "session": outgoing.session.text if outgoing.session else None,
        "memories": [
            {"reference": copy.reference.text, **_told(copy)} for copy in outgoing.memories
        ],
    }


def _cached(outgoing: Outgoing, copy: Copy) -> str:
    session = outgoing.session.text if outgoing.session else None
    return json.dumps({"session": session, **_told(copy)}, ensure_ascii=False)


def _told(copy: Copy) -> dict[str, str | None]:
    return {"type": copy.type, "role": copy.role, "text": copy.text.text if copy.text else None}


async def _asked(service: str, errors: type[Exception], call: Awaitable[T]) -> T:
    """Await a call of a client, and translate its errors.

    Only their code or type is told, since their text may quote the content.
    """
    try:
        # The clients have no timeout, or one of ten minutes.
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await call
    except errors as error:
        status = _STATUS.search(str(error))
        code = int(status[1]) if status else 0
        raise DeliveryFailed(
            f"{service} did not accept the request ({code or type(error).__name__}).",
            retry_after=_seconds_until(str(getattr(error, "reset", None))),
            hopeless=code in _HOPELESS,
        ) from error
    except (httpx.HTTPError, TimeoutError, *_NONSENSE) as error:
        raise DeliveryFailed(
            f"{service} did not accept the request ({type(error).__name__})."
        ) from error


def _seconds_until(reset: str) -> float | None:
    """Return the seconds until a reset time that a service sent; None if it sent none.

    The reset time is in seconds since 1970.
    """
    return max(1.0, float(reset) - time.time()) if reset.replace(".", "", 1).isdigit() else None


@asynccontextmanager
async def qstash_adapter(
    token: str, url: str | None, destination: str
) -> AsyncIterator[QStashAdapter]:
    """Open the adapter to QStash, as a context manager.

    Args:
        token: the account's token.
        url: the address of the service; None for the default.
        destination: the endpoint's URL.

    Raises:
        ConfigurationError: the client is not installed.
    """
    adapter = QStashAdapter(*await asyncio.to_thread(_qstash, token, url), destination)
    try:
        yield adapter
    finally:
        await adapter.close()


@asynccontextmanager
async def redis_adapter(url: str, token: str) -> AsyncIterator[RedisAdapter]:
    """Open the adapter to Redis, as a context manager.

    Args:
        url: the URL of the database's REST API.
        token: the token of the REST API.

    Raises:
        ConfigurationError: the client is not installed.
    """
    adapter = RedisAdapter(*await asyncio.to_thread(_redis, url, token))
    try:
        yield adapter
    finally:
        await adapter.close()


def _qstash(token: str, url: str | None) -> tuple[Any, type[Exception]]:
    """Return QStash's client and the base class of its errors.

    The import reads files: call it from a thread. The client does not retry, since jobs do.
    """
    try:
        from qstash import AsyncQStash
        from qstash.errors import QStashError
    except ImportError as error:
        raise _missing("UPSTASH_QSTASH_MODE") from error
    return AsyncQStash(token, retry=False, base_url=url), QStashError


def _redis(url: str, token: str) -> tuple[Any, type[Exception]]:
    """Return the client of Redis and the base class of its errors."""
    try:
        from upstash_redis.asyncio import Redis
        from upstash_redis.errors import UpstashError
    except ImportError as error:
        raise _missing("UPSTASH_REDIS_MODE") from error
    return Redis(url, token, rest_retries=0, allow_telemetry=False), UpstashError


def _missing(setting: str) -> ConfigurationError:
    return ConfigurationError(
        f"{setting} needs Upstash's clients: run pip install 'graph-native-memory[upstash]'."
    )
