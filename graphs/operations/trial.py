"""The memory tried out by somebody who is made up: written, read, searched, and erased again."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from uuid import uuid4

from langgraph.store.base import Item, SearchItem

from graphs.memory.errors import GraphMemoryError
from graphs.memory.principal import Principal, acting_as
from graphs.memory.values.namespaces import Namespace, user_scope
from graphs.operations.checks import CheckResult

_TEXT = "The robot arm in hall seven is serviced by Ada every March."
_CHANGED = "The robot arm in hall nine is serviced by Ada every April."
_QUESTION = "Who services the robot arm?"


class TriedStore(Protocol):
    """What is tried out; `MemoryManager` is one."""

    index_config: Any
    """None for a store without vector search."""

    async def aput(self, namespace: Namespace, key: str, value: Mapping[str, Any]) -> None:
        """Store an item."""

    async def aget(self, namespace: Namespace, key: str) -> Item | None:
        """Return an item."""

    async def adelete(self, namespace: Namespace, key: str) -> None:
        """Delete an item."""

    async def asearch(
        self, namespace_prefix: Namespace, /, *, query: str | None = None
    ) -> list[SearchItem]:
        """Search a scope."""

    async def erase_user(self, user_id: str) -> Any:
        """Remove all that is kept about a user."""


class _Unexpected(Exception):
    """A step went through, and did not do what it should."""


async def try_out(store: TriedStore) -> list[CheckResult]:
    """Write, read, search, change and delete as a person who is made up, look at it as another one, and erase it all.

    What stays is what stays of everybody who is erased: a certificate and its audit record, which name nobody. The
    first step that fails ends it; the erasure is tried in any case.
    """
    user_id = str(uuid4())
    trial = _Trial(store, user_id)
    checks: list[CheckResult] = []
    try:
        with acting_as(Principal.user(user_id)):
            for step in (
                trial.write_and_read,
                trial.search,
                trial.change,
                trial.stay_hidden,
                trial.delete,
            ):
                checks.append(await _measured(step))
                if checks[-1].status == "wrong":
                    break
    finally:
        checks.append(await _measured(trial.erase))
    return checks


async def _measured(step: Callable[[], Awaitable[None]]) -> CheckResult:
    name = step.__name__.replace("_", " ")
    began = time.perf_counter()
    try:
        await step()
    except (GraphMemoryError, _Unexpected) as error:
        advice = "Look at what `graph-memory verify` and the server's log say."
        return CheckResult(name=name, status="wrong", detail=str(error), advice=advice)
    return CheckResult(
        name=name, status="ok", detail=f"{1000 * (time.perf_counter() - began):.1f} ms"
    )


class _Trial:
    """The steps, named for what they do."""

    def __init__(self, store: TriedStore, user_id: str) -> None:
        self._store = store
        self._user_id = user_id
        self._scope = user_scope(user_id, "scratch")

    async def write_and_read(self) -> None:
        await self._store.aput(self._scope, "trial", {"text": _TEXT})
        await self._expect(_TEXT)

    async def search(self) -> None:
        query = _QUESTION if self._store.index_config else None
        found = await self._store.asearch(self._scope, query=query)
        if [item.key for item in found] != ["trial"]:
            raise _Unexpected("what was written was not found")

    async def change(self) -> None:
        await self._store.aput(self._scope, "trial", {"text": _CHANGED})
        await self._expect(_CHANGED)

    async def stay_hidden(self) -> None:
        with acting_as(Principal.user(str(uuid4()))):
            if await self._store.aget(self._scope, "trial") or await self._store.asearch(
                self._scope
            ):
                raise _Unexpected("another person could read it: run `graph-memory rls test`")

    async def delete(self) -> None:
        await self._store.adelete(self._scope, "trial")
        await self._expect(None)

    async def erase(self) -> None:
        with acting_as(Principal.service()):
            await self._store.erase_user(self._user_id)

    async def _expect(self, text: str | None) -> None:
        item = await self._store.aget(self._scope, "trial")
        if (item.value.get("text") if item else None) != text:
            raise _Unexpected("what was read is not what was written")
