"""Folded text, as detectors of personal data read it, and their findings. Pure.

In folded text, digits of any script are ASCII digits, and dashes and spaces of any kind are `-` and
a space. Invisible characters are removed, so that these tricks hide no value. Folded text knows the
position in the original of each of its characters.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

PersonalDataKind = Literal["secret", "iban", "card", "national_id", "email", "ip", "phone"]
"""Kinds of values that are redacted."""

KINDS: tuple[PersonalDataKind, ...] = (
    "secret",
    "iban",
    "card",
    "national_id",
    "email",
    "ip",
    "phone",
)
"""The kinds by rank: of two findings of equal length, the kind that comes first here wins."""

GAP = "\n"
"""Stands in for removed text. Detectors read line by line, so nothing is found across it."""

_PLAIN = re.compile(r"[\t\n\r -~]*+")
_INVISIBLE = {"Cc", "Cf", "Cn", "Co", "Mn", "Me"}
_ALIKE = {"\u2212": "-", "\u02d7": "-", "\u3002": ".", "\u2028": "\n", "\u2029": "\n", "\x85": "\n"}


class Finding(NamedTuple):
    """A value in a folded text: its kind, and its start and end."""

    kind: PersonalDataKind
    start: int
    end: int


class Folded(NamedTuple):
    """A folded text, and the position in the original of each character and of the end."""

    text: str
    origins: Sequence[int]


def folded(text: str) -> Folded:
    """Return a text in its folded form."""
    if _PLAIN.fullmatch(text):
        return Folded(text.replace("\t", " "), range(len(text) + 1))
    pieces: list[str] = []
    origins: list[int] = []
    for place, char in enumerate(text):
        piece = _folded_char(char)
        pieces.append(piece)
        origins.extend([place] * len(piece))
    return Folded("".join(pieces), [*origins, len(text)])


@lru_cache(maxsize=4096)
def _folded_char(char: str) -> str:
    if char in "\n\r":
        return char
    category = unicodedata.category(char)
    if char == "\t" or category == "Zs":
        return " "
    if category == "Pd":
        return "-"
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if char in _ALIKE:
        return _ALIKE[char]
    return "" if category in _INVISIBLE else unicodedata.normalize("NFKC", char)


def without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return a text of the same length with gaps in place of spans.

    The spans must be in order and must not overlap.
    """
    pieces, last = [], 0
    for start, end in spans:
        pieces += [text[last:start], GAP * (end - start)]
        last = end
    return "".join([*pieces, text[last:]]) if pieces else text


def merged(text: str, findings: Iterable[Finding]) -> list[tuple[Finding, str]]:
    """Return findings that do not overlap, in order, each with its value.

    Overlapping findings become one that covers all of them. It has the kind and the value of the
    longest.
    """
    clusters: list[tuple[int, int, Finding]] = []
    for finding in sorted(findings, key=lambda found: found.start):
        if clusters and finding.start < clusters[-1][1]:
            start, end, best = clusters.pop()
            clusters.append((start, max(end, finding.end), max(best, finding, key=_weight)))
        else:
            clusters.append((finding.start, finding.end, finding))
    return [
        (Finding(best.kind, start, end), text[best.start : best.end])
        for start, end, best in clusters
    ]


def _weight(finding: Finding) -> tuple[int, int]:
    return finding.end - finding.start, -KINDS.index(finding.kind)


def text_before(text: str, place: int, length: int) -> str:
    """Return up to `length` characters before a position, within its line."""
    return text[max(place - length, 0) : place].rpartition("\n")[2]
