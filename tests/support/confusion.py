"""A confusion matrix of verdicts."""

from collections import Counter
from collections.abc import Iterable


class Confusion:
    """Counts of pairs of the expected and the returned verdict."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.count = Counter(pairs)
        self.verdicts = sorted({verdict for pair in self.count for verdict in pair})

    def precision(self, verdict: str) -> float:
        """Return the share of returned verdicts that are right; 1 if there are none."""
        came = sum(n for (_, got), n in self.count.items() if got == verdict)
        return self.count[verdict, verdict] / came if came else 1.0

    def recall(self, verdict: str) -> float:
        """Return the share of expected verdicts that were returned."""
        expected = sum(n for (wanted, _), n in self.count.items() if wanted == verdict)
        return self.count[verdict, verdict] / expected if expected else 1.0

    def lines(self) -> list[str]:
        """Return the lines of a table: expected verdicts in rows, returned ones in columns."""
        head = "".join(f"{verdict:>12}" for verdict in [*self.verdicts, "precision", "recall"])
        rows = [
            f"{wanted:<12}"
            + "".join(f"{self.count[wanted, got] or '·':>12}" for got in self.verdicts)
            + f"{self.precision(wanted):>12.3f}{self.recall(wanted):>12.3f}"
            for wanted in self.verdicts
        ]
        return [f"{'expected':<12}{head}", *rows]
