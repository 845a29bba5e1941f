"""The Mem0 Platform as a source: pages of memories, and the history of each memory."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from tenacity import RetryCallState, wait_exponential_jitter

from graphs.adapters.mem0_platform import HOST, TIMEOUT_SECONDS
from graphs.mem0.importing import import_mem0
from graphs.memory.errors import ContractError
from graphs.memory.retry import retrying
from graphs.memory.values.namespaces import Address, Namespace, decode_label
from graphs.operations.errors import SourceFailed, SourceUnavailable
from graphs.operations.migration.records import (
    SourceChange,
    expiry,
    memory,
    moment,
    rejected,
)
from graphs.operations.migration.source import RecordBatch, Rejected, SourceRecord

PAGE = 100
"""Memories per page and batch. The service returns at most 200."""

_AT_ONCE = 4
"""Concurrent requests for histories."""

_ATTEMPTS = 8
_LONGEST_WAIT = 60.0
"""Longest wait in seconds. If the service asks for more, the migration stops and can be resumed."""

_EVERYTHING = {"OR": [{name: "*"} for name in ("user_id", "agent_id", "app_id", "run_id")]}
"""A filter for memories of any owner. Filtering by one kind of owner omits those with several."""

_WORTH_RETRYING = {"HTTP_408", "HTTP_409", "HTTP_425", "HTTP_429"}

_NO_PAGE: dict[str, Any] = {"count": 0, "next": None, "results": []}
_RAISES = object()


class Mem0Platform:
    """The memories of an account on the Mem0 Platform.

    Args:
        client: `graphs.deployment.clients.hosted_mem0.HostedClient`, or an equivalent.
        errors: the exception type that it raises.
        host: host of the service.
        history: whether to import histories, which takes one request per memory.
        first_wait: seconds before the first retry; the service's `retry_after` takes precedence.
    """

    name = "mem0-platform"

    def __init__(
        self,
        client: Any,
        errors: type[Exception],
        host: str,
        *,
        history: bool = True,
        first_wait: float = 0.5,
    ) -> None:
        self._client = client
        self._errors = errors
        self._history = history
        self._first_wait = first_wait
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self.origin = host
        self.options = {"history": history}

    async def identify(self) -> None:
        """Set `origin` to the account, so that no migration is resumed with another account.

        Raises:
            SourceFailed: the service rejects the key, or does not answer.
        """
        told = await self._asked(self._client.ping)
        if told.get("project_id"):
            self.origin = f"{self.origin} {told.get('org_id')}/{told['project_id']}"

    async def count(self) -> int | None:
        """Return the number of memories in the account."""
        return int((await self._page(1, 1))["count"])

    async def batches(self, after: str | None) -> AsyncIterator[RecordBatch]:
        """Yield its memories. The cursor is the number of a page."""
        number = int(after or 0)
        while True:
            number += 1
            page = await self._page(number, PAGE)
            found = page["results"]
            if not found:
                return
            taken = await asyncio.gather(*(self._taken(each) for each in found))
            records = [each for each in taken if isinstance(each, SourceRecord)]
            yield RecordBatch(
                records, str(number), [each for each in taken if isinstance(each, Rejected)]
            )
            if not page.get("next"):
                return

    async def ask(self, scope: Namespace, query: str, limit: int, /) -> list[Address] | None:
        """Return the addresses here of the memories that the service finds in a scope."""
        kind, owner = scope[0], decode_label(scope[1])
        filters = {"AND": [{"user_id" if kind == "users" else "agent_id": owner}]}
        answer = await self._asked(lambda: self._client.search(query, filters=filters, top_k=limit))
        return [((*scope[:2], "facts"), str(each["id"])) for each in answer["results"]]

    async def _page(self, number: int, size: int) -> Mapping[str, Any]:
        ask = functools.partial(
            self._client.get_all, filters=_EVERYTHING, page=number, page_size=size
        )
        answer = await self._asked(ask, missing=_NO_PAGE if number > 1 else _RAISES)
        if (
            not isinstance(answer, dict)
            or not isinstance(answer.get("results"), list)
            or "count" not in answer
        ):
            raise SourceFailed(
                "Mem0 did not return a page of memories ({count, next, results}): check MEM0_HOST."
            )
        return answer

    async def _taken(self, told: Mapping[str, Any]) -> SourceRecord | Rejected:
        """Return a memory as a record, or the reason why it cannot be one."""
        source_id = str(told.get("id"))
        try:
            changes = (
                [_change(each) for each in await self._history_of(source_id)]
                if self._history
                else []
            )
            return _record(source_id, told, changes)
        except ContractError as error:
            return rejected(source_id, error, told)
        except (ValueError, KeyError, TypeError) as error:
            return Rejected(source_id, "memory", f"does not have Mem0's format: {error}", told)

    async def _history_of(self, memory_id: str) -> list[Mapping[str, Any]]:
        async with self._slots:
            answer = await self._asked(lambda: self._client.history(memory_id), missing=())
        return list(answer)

    async def _asked(self, ask: Callable[[], Awaitable[Any]], *, missing: Any = _RAISES) -> Any:
        """Call the service with retries; `missing` is the result for a 404.

        Raises:
            SourceFailed: the service refuses the request.
            SourceUnavailable: it did not answer, retries included.
        """
        try:
            return await retrying(ask, self._is_passing, attempts=_ATTEMPTS, wait=self._wait)
        except self._errors as error:
            code = str(getattr(error, "error_code", ""))
            if code == "HTTP_404" and missing is not _RAISES:
                return missing
            if _may_pass(code):
                later = f"in {patience:,.0f} seconds" if (patience := _patience(error)) else "later"
                raise SourceUnavailable(
                    f"Mem0 does not answer ({code}): run the same command again {later}."
                ) from error
            hint = ": check MEM0_API_KEY" if code in ("HTTP_401", "HTTP_403") else ""
            raise SourceFailed(
                f"Mem0 refuses the request ({code or type(error).__name__}){hint}."
            ) from error
        except ValueError as error:
            raise SourceFailed("Mem0 did not return JSON: check MEM0_HOST.") from error

    def _is_passing(self, error: BaseException) -> bool:
        code = str(getattr(error, "error_code", ""))
        return (
            isinstance(error, self._errors)
            and _may_pass(code)
            and _patience(error) <= _LONGEST_WAIT
        )

    def _wait(self, state: RetryCallState) -> float:
        """Return the seconds until the next attempt: `retry_after`, if given, plus jitter."""
        error = state.outcome.exception() if state.outcome else None
        wait = wait_exponential_jitter(
            multiplier=self._first_wait, max=_LONGEST_WAIT / 2, jitter=self._first_wait
        )
        return max(_patience(error) + wait(state) / 10, wait(state))


def _may_pass(code: str) -> bool:
    return code in _WORTH_RETRYING or code.startswith(("HTTP_5", "NET_"))


def _patience(error: BaseException | None) -> float:
    return float((getattr(error, "debug_info", None) or {}).get("retry_after") or 0)


def _record(source_id: str, told: Mapping[str, Any], changes: list[SourceChange]) -> SourceRecord:
    metadata = {
        **(told.get("metadata") or {}),
        **({"app_id": told["app_id"]} if told.get("app_id") else {}),
    }
    return memory(
        source_id,
        told.get("memory"),
        key=source_id,
        user_id=told.get("user_id"),
        agent=told.get("agent_id"),
        run_id=told.get("run_id"),
        tags=told.get("categories") or (),
        metadata=metadata,
        created_at=moment(told["created_at"]),
        updated_at=moment(told.get("updated_at") or told["created_at"]),
        expires_at=expiry(told.get("expiration_date")),
        changes=changes,
    )


def _change(told: Mapping[str, Any]) -> SourceChange:
    at = told.get("updated_at") or told["created_at"]
    return SourceChange(told["event"], moment(at), told.get("old_memory"))


@asynccontextmanager
async def mem0_platform(
    key: str, host: str | None, folder: Path, *, history: bool = True, first_wait: float = 0.5
) -> AsyncIterator[Mem0Platform]:
    """Yield the source, with the official client.

    Args:
        key: API key of the account.
        host: host of the service; None for the default.
        folder: where mem0 may create the folder that its import creates.
        history: whether to import the history of each memory.
        first_wait: seconds before the first retry.

    Raises:
        SourceFailed: the service rejects the key, or does not answer.
    """
    where = host or HOST
    options: dict[str, Any] = {"base_url": where, "headers": {"Authorization": f"Token {key}"}}
    http = await asyncio.to_thread(httpx.AsyncClient, timeout=TIMEOUT_SECONDS, **options)
    async with http:
        client, errors = await asyncio.to_thread(_client, folder, http)
        source = Mem0Platform(client, errors, where, history=history, first_wait=first_wait)
        await source.identify()
        yield source


def _client(folder: Path, http: httpx.AsyncClient) -> tuple[Any, type[Exception]]:
    """Create the client. Its import reads files and takes a second: call it in a thread."""
    import_mem0(folder)
    from graphs.deployment.clients.hosted_mem0 import HostedClient, Mem0Error

    return HostedClient(http), Mem0Error
