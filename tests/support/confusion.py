"""How often a verdict is the right one."""

from collections import Counter
from collections.abc import Iterable


class Confusion:
    """Counts what was expected and what came."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.count = Counter(pairs)
        self.verdicts = sorted({verdict for pair in self.count for verdict in pair})

    def precision(self, verdict: str) -> float:
        """How many of those that came are right; 1 if none came."""
        came = sum(n for (_, got), n in self.count.items() if got == verdict)
        return self.count[verdict, verdict] / came if came else 1.0

    def recall(self, verdict: str) -> float:
        """How many of those that were expected came."""
        expected = sum(n for (wanted, _), n in self.count.items() if wanted == verdict)
        return self.count[verdict, verdict] / expected if expected else 1.0

    def lines(self) -> list[str]:
        """A table: what was expected in rows, what came in columns."""
        head = "".join(f"{verdict:>12}" for verdict in [*self.verdicts, "precision", "recall"])
        rows = [
            f"{wanted:<12}"
            + "".join(f"{self.count[wanted, got] or '·':>12}" for got in self.verdicts)
            + f"{self.precision(wanted):>12.3f}{self.recall(wanted):>12.3f}"
            for wanted in self.verdicts
        ]
        return [f"{'expected':<12}{head}", *rows]
