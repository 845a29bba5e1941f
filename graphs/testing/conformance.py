"""A contract suite for LangGraph's `BaseStore`, and for what its users rely on besides.

Pass it a function that opens a fresh, empty store:

    @asynccontextmanager
    async def open_store(*, index, ttl):
        yield MyStore(index=index, ttl=ttl)

    print(await conformance.check(open_store))

With pytest, each promise is a test of its own:

    @pytest.mark.parametrize("check", conformance.checks())
    async def test_contract(check):
        await check(open_store)

It needs only langgraph.
"""

from collections.abc import Collection
from unittest import SkipTest

from graphs.testing.checks import (
    batches,
    concurrency,
    extensions,
    filters,
    namespaces,
    paging,
    put_and_get,
    recall,
    search,
    ttl,
)
from graphs.testing.registry import Check, OpenStore, registered
from graphs.testing.report import Outcome, Report, Result

__all__ = ["Check", "OpenStore", "Outcome", "Report", "Result", "capabilities", "check", "checks"]

_MODULES = (
    put_and_get,
    search,
    filters,
    paging,
    namespaces,
    ttl,
    batches,
    concurrency,
    recall,
    extensions,
)


def capabilities() -> tuple[str, ...]:
    """Return the names of all capabilities. A `BaseStore` need not have `extensions`."""
    return tuple(module.__name__.rpartition(".")[2] for module in _MODULES)


def checks(*, leave_out: Collection[str] = ()) -> list[Check]:
    """Return the checks, for the parameters of a test runner.

    Args:
        leave_out: capabilities that the store does not claim, such as `extensions`.

    Raises:
        ValueError: there is no such capability.
    """
    if unknown := set(leave_out) - set(capabilities()):
        raise ValueError(
            f"No such capability: {', '.join(sorted(unknown))}. "
            f"There are {', '.join(capabilities())}."
        )
    wanted = [capability for capability in capabilities() if capability not in leave_out]
    return sorted(
        (check for check in registered() if check.capability in wanted),
        key=lambda check: wanted.index(check.capability),
    )


async def check(open_store: OpenStore, *, leave_out: Collection[str] = ()) -> Report:
    """Run every check on a fresh store, one after the other, and report the results.

    Args:
        open_store: opens a fresh, empty store; called once for each check.
        leave_out: capabilities that the store does not claim, such as `extensions`.

    Raises:
        ValueError: there is no such capability.
    """
    return Report(
        tuple([await _result(check, open_store) for check in checks(leave_out=leave_out)])
    )


async def _result(check: Check, open_store: OpenStore) -> Result:
    try:
        await check(open_store)
    except SkipTest as skipped:
        return Result(check, Outcome.SKIPPED, str(skipped))
    except Exception as error:  # noqa: BLE001  any error is the check's result
        sentence = next(iter(str(error).splitlines()), "")
        return Result(check, Outcome.FAILED, f"{type(error).__name__}: {sentence}".rstrip(": "))
    return Result(check, Outcome.PASSED)
