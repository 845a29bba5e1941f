"""Precision and recall of redaction on the cases of `redaction_cases.txt`."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from graphs.memory.redaction.findings import KINDS, PersonalDataKind
from graphs.memory.redaction.redactor import Redaction, Redactor

_MARKED = re.compile(r"«(\w+) ([^»]*)»")
_ESCAPED = re.compile(r"\\(?:n|u([0-9a-f]{4}))")


@dataclass(frozen=True)
class Case:
    """A text, and the values in it that must be redacted."""

    text: str
    values: tuple[tuple[PersonalDataKind, str], ...]


@dataclass
class Scores:
    """The numbers of values of each kind that were found rightly, found wrongly, and missed."""

    right: Counter[PersonalDataKind] = field(default_factory=Counter)
    wrong: Counter[PersonalDataKind] = field(default_factory=Counter)
    missed: Counter[PersonalDataKind] = field(default_factory=Counter)

    def precision(self, *kinds: PersonalDataKind) -> float:
        return self._share(self.wrong, kinds)

    def recall(self, *kinds: PersonalDataKind) -> float:
        return self._share(self.missed, kinds)

    def _share(
        self, errors: Counter[PersonalDataKind], kinds: tuple[PersonalDataKind, ...]
    ) -> float:
        right = sum(self.right[kind] for kind in kinds)
        return right / max(right + sum(errors[kind] for kind in kinds), 1)


def cases() -> dict[str, list[Case]]:
    """Return the cases of each part: `tuned` and `held out`."""
    parts: dict[str, list[Case]] = {}
    for line in (Path(__file__).parent / "redaction_cases.txt").read_text().splitlines():
        if name := re.fullmatch("== (.*) ==", line):
            parts[name[1]] = []
        elif line and not line.startswith("#"):
            parts[name_of_last(parts)].append(_case(line))
    return parts


def name_of_last(parts: dict[str, list[Case]]) -> str:
    return next(reversed(parts))


def _case(line: str) -> Case:
    line = _ESCAPED.sub(
        lambda match: chr(int(match[1], 16)) if match[1] else "\n", line.replace("·", "")
    )
    values = tuple((kind, value) for kind, value in _MARKED.findall(line))
    return Case(_MARKED.sub(lambda match: match[2], line), values)


def measured(
    redactor: Redactor, some: list[Case], on_error: Callable[[str, Case], None] = lambda *_: None
) -> Scores:
    """Redact cases, and compare the redacted values with the expected ones, by kind and digest."""
    scores = Scores()
    for case in some:
        found = set(redactor.redact(case.text).redactions)
        known = {Redaction(kind, redactor.digest(kind, value)) for kind, value in case.values}
        for counts, redactions, name in (
            (scores.right, found & known, ""),
            (scores.wrong, found - known, "wrong"),
            (scores.missed, known - found, "missed"),
        ):
            counts.update(redaction.kind for redaction in redactions)
            if name and redactions:
                on_error(name, case)
    return scores


def report(parts: dict[str, Scores]) -> Iterator[str]:
    """Yield the lines of a table: precision and recall of each kind, and of all."""
    yield "".join(
        [f"{'':14}", *(f"{name + ': precision':>24}{'recall':>9}{'values':>8}" for name in parts)]
    )
    for label, kinds in [*((kind, (kind,)) for kind in KINDS), ("all", KINDS)]:
        yield f"{label:14}" + "".join(
            f"{scores.precision(*kinds):24.3f}{scores.recall(*kinds):9.3f}"
            f"{sum(scores.right[kind] + scores.missed[kind] for kind in kinds):8}"
            for scores in parts.values()
        )
