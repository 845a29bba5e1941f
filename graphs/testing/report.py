"""Results of a run of the suite."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from graphs.testing.registry import Check


class Outcome(StrEnum):
    """The outcome of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Result:
    """The outcome of one check; `reason` says why it failed or was skipped."""

    check: Check
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """The results of a run, in the order of the checks. `str(report)` is a table."""

    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Return true if no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Result, ...]:
        """Return the results of broken promises."""
        return tuple(result for result in self.results if result.outcome is Outcome.FAILED)

    def by_capability(self) -> dict[str, tuple[Result, ...]]:
        """Return the results by capability."""
        grouped = groupby(self.results, key=lambda result: result.check.capability)
        return {capability: tuple(results) for capability, results in grouped}

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{'capability':<14}{'passed':>8}{'failed':>8}{'skipped':>9}"
        for capability, results in self.by_capability().items():
            yield _row(capability, results)
        yield _row("all", self.results)
        for result in self.results:
            if result.outcome is not Outcome.PASSED:
                yield ""
                yield f"{result.outcome}: {result.check}: {result.check.promise}"
                yield f"    {result.reason}"


def _row(title: str, results: tuple[Result, ...]) -> str:
    counts = [sum(result.outcome is outcome for result in results) for outcome in Outcome]
    return f"{title:<14}{counts[0]:>8}{counts[1]:>8}{counts[2]:>9}"
