"""A trial of the store with a temporary user: write, read, search, change, delete, erase."""

import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

from graphs.memory.errors import GraphMemoryError
from graphs.memory.principal import Principal, acting_as
from graphs.memory.values.namespaces import user_scope
from graphs.memory_manager import MemoryManager
from graphs.operations.results import CheckResult

_TEXT = "The robot arm in hall seven is serviced by Ada every March."
_CHANGED = "The robot arm in hall nine is serviced by Ada every April."
_QUESTION = "Who services the robot arm?"


class _Unexpected(Exception):
    """A step succeeded with a wrong result."""


async def try_out(store: MemoryManager) -> list[CheckResult]:
    """Run the store's main operations as a temporary user, check isolation, and erase the user.

    As after every erasure, a certificate and its audit record stay, which name nobody. The trial
    stops at the first step that fails; the erasure is tried in any case.
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
        advice = "Run `graph-memory verify` and read the server's log."
        return CheckResult(name=name, status="wrong", detail=str(error), advice=advice)
    return CheckResult(
        name=name, status="ok", detail=f"{1000 * (time.perf_counter() - began):.1f} ms"
    )


class _Trial:
    """The steps of the trial. Their names appear in the report."""

    def __init__(self, store: MemoryManager, user_id: str) -> None:
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
            raise _Unexpected("the search did not find the item that was written")

    async def change(self) -> None:
        await self._store.aput(self._scope, "trial", {"text": _CHANGED})
        await self._expect(_CHANGED)

    async def stay_hidden(self) -> None:
        with acting_as(Principal.user(str(uuid4()))):
            if await self._store.aget(self._scope, "trial") or await self._store.asearch(
                self._scope
            ):
                raise _Unexpected("another user could read it: run `graph-memory rls test`")

    async def delete(self) -> None:
        await self._store.adelete(self._scope, "trial")
        await self._expect(None)

    async def erase(self) -> None:
        with acting_as(Principal.service()):
            await self._store.erase_user(self._user_id)

    async def _expect(self, text: str | None) -> None:
        item = await self._store.aget(self._scope, "trial")
        if (item.value.get("text") if item else None) != text:
            raise _Unexpected("the item read differs from the item written")
