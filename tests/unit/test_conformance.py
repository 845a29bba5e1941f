"""The contract suite itself: it passes correct stores, finds broken ones, and reports them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from unittest import SkipTest

import pytest
from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Op,
    PutOp,
    Result,
    SearchOp,
    TTLConfig,
)
from langgraph.store.memory import InMemoryStore

from graphs.testing import conformance
from graphs.testing.conformance import Check, OpenStore, Outcome


def opens(store_class: type[InMemoryStore]) -> OpenStore:
    @asynccontextmanager
    async def open_store(
        *, index: IndexConfig | None, ttl: TTLConfig | None
    ) -> AsyncIterator[BaseStore]:
        yield store_class(index=index)

    return open_store


def check_named(name: str) -> Check:
    (check,) = [check for check in conformance.checks() if str(check) == name]
    return check


class ForgetsEveryThirdPut(InMemoryStore):
    puts = 0

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        kept: list[Op] = []
        for op in ops:
            self.puts += isinstance(op, PutOp)
            kept.append(
                GetOp(op.namespace, op.key) if isinstance(op, PutOp) and self.puts % 3 == 0 else op
            )
        return await super().abatch(kept)


class IgnoresOffsets(InMemoryStore):
    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        return await super().abatch(
            [op._replace(offset=0) if isinstance(op, SearchOp) else op for op in ops]
        )


class MatchesPrefixesOfLabels(InMemoryStore):
    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        def widened(op: Op) -> Op:
            whole = isinstance(op, SearchOp) and len(op.namespace_prefix) == 1
            return op._replace(namespace_prefix=()) if whole and isinstance(op, SearchOp) else op

        return await super().abatch([widened(op) for op in ops])


class RanksBackwards(InMemoryStore):
    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        results = await super().abatch(ops)
        return [result[::-1] if isinstance(result, list) else result for result in results]


@pytest.mark.parametrize(
    ("store_class", "broken"),
    [
        (ForgetsEveryThirdPut, "paging.limit_and_offset_page_through_everything_once"),
        (IgnoresOffsets, "paging.limit_and_offset_page_through_everything_once"),
        (IgnoresOffsets, "recall.semantic_pages_are_complete"),
        (MatchesPrefixesOfLabels, "namespaces.a_prefix_matches_whole_labels"),
        (RanksBackwards, "search.a_query_ranks_by_similarity"),
        (RanksBackwards, "recall.a_small_scope_among_many_vectors"),
    ],
)
async def test_a_broken_promise_is_found(store_class: type[InMemoryStore], broken: str) -> None:
    check = check_named(broken)
    await check(opens(InMemoryStore))
    with pytest.raises(AssertionError):
        await check(opens(store_class))


async def test_what_a_store_does_not_offer_is_skipped() -> None:
    with pytest.raises(SkipTest, match="supports_ttl"):
        await check_named("ttl.an_expired_item_is_never_read")(opens(InMemoryStore))


async def test_a_store_that_hangs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hangs(InMemoryStore):
        async def abatch(self, ops: Iterable[Op]) -> list[Result]:
            import asyncio

            await asyncio.Event().wait()
            return []

    monkeypatch.setattr("graphs.testing.registry.SECONDS", 0.05)
    with pytest.raises(AssertionError, match="not done within"):
        await check_named("put_and_get.a_missing_item_is_none")(opens(Hangs))


async def test_a_report_tells_what_was_kept_and_why_not() -> None:
    everything_else = [
        name for name in conformance.capabilities() if name not in ("paging", "ttl", "filters")
    ]

    report = await conformance.check(opens(IgnoresOffsets), leave_out=everything_else)

    outcomes = {str(result.check): result.outcome for result in report.results}
    assert outcomes["paging.a_limit_of_none_finds_nothing"] is Outcome.FAILED
    assert outcomes["filters.equality_and_comparisons"] is Outcome.PASSED
    assert outcomes["ttl.an_expired_item_is_never_read"] is Outcome.SKIPPED
    assert not report.passed
    assert [*report.by_capability()] == ["filters", "paging", "ttl"]
    table = str(report)
    assert "failed: paging.a_limit_of_none_finds_nothing: A limit of zero" in table
    assert "skipped: ttl.an_expired_item_is_never_read" in table
    assert "passed: " not in table


async def test_a_store_that_cannot_be_opened_fails_every_check() -> None:
    @asynccontextmanager
    async def open_store(
        *, index: IndexConfig | None, ttl: TTLConfig | None
    ) -> AsyncIterator[BaseStore]:
        raise ConnectionError("nobody there")
        yield InMemoryStore()

    report = await conformance.check(open_store, leave_out=["ttl", "concurrency"])

    assert len(report.failures) == len(report.results) > 40
    assert {result.reason for result in report.failures} == {"ConnectionError: nobody there"}


def test_capabilities_can_be_left_out_by_name() -> None:
    assert {check.capability for check in conformance.checks()} == set(conformance.capabilities())
    assert "extensions" not in {
        check.capability for check in conformance.checks(leave_out=["extensions"])
    }
    with pytest.raises(ValueError, match="No such capability: extension"):
        conformance.checks(leave_out=["extension"])


def test_every_check_says_what_it_promises_in_one_sentence() -> None:
    checks = conformance.checks()
    assert len({str(check) for check in checks}) == len(checks)
    assert [
        str(check) for check in checks if not check.promise.endswith(".") or ". " in check.promise
    ] == []
