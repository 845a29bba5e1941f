"""The Mem0 Platform as something to migrate from: its memories page by page, and the history of each."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential_jitter,
)

from graphs.adapters.mem0_platform import HOST, TIMEOUT_SECONDS
from graphs.mem0.importing import import_mem0
from graphs.memory.errors import ContractError, SourceFailed, SourceUnavailable
from graphs.memory.values.namespaces import Address, Namespace, decode_label
from graphs.operations.migration.records import (
    SourceChange,
    expiry,
    memory,
    moment,
    rejected,
)
from graphs.operations.migration.source import RecordBatch, Rejected, SourceRecord

PAGE = 100
"""Memories of a page, which are stored together; the service gives at most 200."""

_AT_ONCE = 4
"""How many histories are asked for at the same time."""

_ATTEMPTS = 8
_LONGEST_WAIT = 60.0
"""Seconds; a service that asks for more patience than this is given up, and gone on with another time."""

_EVERYTHING = {"OR": [{name: "*"} for name in ("user_id", "agent_id", "app_id", "run_id")]}
"""What belongs to anybody. A filter that names one kind of owner finds only what has no other."""

_WORTH_RETRYING = {"HTTP_408", "HTTP_409", "HTTP_425", "HTTP_429"}

_NO_PAGE: dict[str, Any] = {"count": 0, "next": None, "results": []}
_RAISES = object()


class Mem0Platform:
    """The memories of an account of the Mem0 Platform.

    Args:
        client: `graphs.deployment.clients.hosted_mem0.HostedClient`, or what does as that.
        errors: what it raises.
        host: of the service.
        history: whether to ask for the history of each memory, which is one request for each.
        first_wait: seconds before something is asked again; what the service says goes before.
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
        """Ask the service which account it is, so that one that was begun is not gone on with in another one.

        Raises:
            SourceFailed: the service does not know the key, or does not answer.
        """
        told = await self._asked(self._client.ping)
        if told.get("project_id"):
            self.origin = f"{self.origin} {told.get('org_id')}/{told['project_id']}"

    async def count(self) -> int | None:
        """Return how many memories the account has."""
        return int((await self._page(1, 1))["count"])

    async def batches(self, after: str | None) -> AsyncIterator[RecordBatch]:
        """Yield its memories; the cursor is the number of a page."""
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
        """Return the memories that the service finds for a person, or an agent, by the addresses here."""
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
                "Mem0 gave no page of memories: {count, next, results}. Is MEM0_HOST its address?"
            )
        return answer

    async def _taken(self, told: Mapping[str, Any]) -> SourceRecord | Rejected:
        """Return a memory as it is to lie here, or why it cannot."""
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
            return Rejected(source_id, "memory", f"is not as Mem0 describes them: {error}", told)

    async def _history_of(self, memory_id: str) -> list[Mapping[str, Any]]:
        async with self._slots:
            answer = await self._asked(lambda: self._client.history(memory_id), missing=())
        return list(answer)

    async def _asked(self, ask: Callable[[], Awaitable[Any]], *, missing: Any = _RAISES) -> Any:
        """Ask the service, as patiently as it wants; `missing` is the answer where it knows of no such thing.

        Raises:
            SourceFailed: it refuses.
            SourceUnavailable: it did not answer, also when it was asked again.
        """
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(self._is_passing),
                stop=stop_after_attempt(_ATTEMPTS),
                wait=self._wait,
                reraise=True,
            ):
                with attempt:
                    return await ask()
        except self._errors as error:
            code = str(getattr(error, "error_code", ""))
            if code == "HTTP_404" and missing is not _RAISES:
                return missing
            if _may_pass(code):
                later = f"in {patience:,.0f} seconds" if (patience := _patience(error)) else "later"
                raise SourceUnavailable(
                    f"Mem0 does not answer ({code}); run the same command {later}."
                ) from error
            hint = ": check MEM0_API_KEY" if code in ("HTTP_401", "HTTP_403") else ""
            raise SourceFailed(f"Mem0 refuses ({code or type(error).__name__}){hint}.") from error
        except ValueError as error:
            raise SourceFailed("Mem0 gave no JSON. Is MEM0_HOST its address?") from error
        raise AssertionError  # the last attempt raises

    def _is_passing(self, error: BaseException) -> bool:
        code = str(getattr(error, "error_code", ""))
        return (
            isinstance(error, self._errors)
            and _may_pass(code)
            and _patience(error) <= _LONGEST_WAIT
        )

    def _wait(self, state: RetryCallState) -> float:
        """What the service asked for, if it did, and a little more, so that not all come back in the same moment."""
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
    """Lend the source, with the official client.

    Args:
        key: of the account.
        host: of the service, None for the usual one.
        folder: where mem0 may make the folder that it makes when it is imported.
        history: whether to bring the history of each memory.
        first_wait: seconds before something is asked again.

    Raises:
        SourceFailed: the service does not know the key, or does not answer.
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
    """Make the client. Its import reads files, and takes a second: call it from a thread."""
    import_mem0(folder)
    from graphs.deployment.clients.hosted_mem0 import HostedClient, Mem0Error

    return HostedClient(http), Mem0Error
