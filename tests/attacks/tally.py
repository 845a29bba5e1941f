"""The count of attack attempts, and the leaks found."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest


@dataclass(frozen=True)
class Attempt:
    """One attempt of an actor on a victim; a statement may be an attempt on several victims."""

    actor: str
    victim: str
    door: str
    verb: str

    def __str__(self) -> str:
        return f"{self.actor} reached {self.victim} through {self.door} ({self.verb})"


@dataclass
class Tally:
    """Attempts by entry point, and every leak with its evidence."""

    attempts: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)

    def count(self, attempt: Attempt) -> Attempt:
        self.attempts[attempt.door] += 1
        return attempt

    def leaked(self, attempt: Attempt, seen: object) -> None:
        self.leaks.append(f"{attempt}: {str(seen)[:500]}")

    def judge(self, attempt: Attempt, seen: object, tells: str) -> None:
        """Count an attempt; it is a leak if the result contains the victim's marker."""
        if tells in str(self.count(attempt) and seen):
            self.leaked(attempt, seen)

    def verdict(self) -> None:
        """Fail if there are leaks, and show them."""
        assert self.attempts, "nothing was tried"
        shown = "\n".join(self.leaks[:20])
        assert not self.leaks, f"{len(self.leaks)} leaks, of which the first are:\n{shown}"

    def add(self, other: "Tally") -> None:
        self.attempts.update(other.attempts)
        self.leaks.extend(other.leaks)


OVERALL = pytest.StashKey[Tally]()
"""The key of a test run's total."""


def report(tally: Tally, write_line: Callable[[str], None]) -> None:
    """Print the number of attempts and leaks by entry point."""
    for door, attempts in sorted(tally.attempts.items()):
        write_line(f"{attempts:7,} through {door}")
    write_line(f"{tally.attempts.total():,} attempts, {len(tally.leaks):,} leaks")
