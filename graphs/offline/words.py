"""Words of a text as the offline chat model reads them: stems, questions, numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_STOP_WORDS = frozenset(
    "a about am an and any are as at be been but by can could did do does for from had has have"
    " how i if in is it its let me my of on or our over please shall should so tell that the"
    " their them then there these they this to us was we were what when where which who whom why"
    " will with would you your".split()
)
_ASKS = re.compile(
    r"\s*(what|who|whose|which|when|where|why|how|is|are|am|do|does|did|can|could|will|would"
    r"|should|tell|show|list)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+")
_SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "mio": 1e6, "million": 1e6}
_SPELLED = {
    word: n
    for n, word in enumerate(
        "two three four five six seven eight nine ten eleven twelve".split(), 2
    )
}
_NUMBER = re.compile(
    rf"(?P<money>[$€£]\s*)?(?<![\w-])(?P<digits>\d[\d,]*(?:\.\d+)?|(?:{'|'.join(_SPELLED)})\b)"
    rf"(?:\s*(?P<scale>{'|'.join(_SCALES)})\b)?(?![\w-]*\d)",
    re.IGNORECASE,
)
_PART = re.compile(r"[,;.](?!\d)|\band\b")
"""End of the part of a sentence that a number belongs to."""


def is_question(text: str) -> bool:
    """Return True for a text that ends with a question mark or begins like a question."""
    return text.rstrip().endswith("?") or bool(_ASKS.match(text))


def stems(text: str) -> set[str]:
    """Return a text's words without stop words and without their commonest English endings."""
    words = (word for word in _WORD.findall(text.casefold()) if word not in _STOP_WORDS)
    return {re.sub(r"(ing|ed|es|s|e)$", "", word) if len(word) > 3 else word for word in words}


def _as_stems(words: Sequence[str]) -> frozenset[str]:
    return frozenset(stems(" ".join(words)))


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text, its unit, and the words next to it; all words as stems."""

    value: float
    is_money: bool
    unit: frozenset[str]
    beside: frozenset[str]


def find_numbers(text: str) -> list[Number]:
    """Return the numbers of a text in their order."""
    found: list[Number] = []
    for match in _NUMBER.finditer(text):
        digits, scale = match["digits"].casefold(), (match["scale"] or "").casefold()
        value = float(_SPELLED.get(digits) or digits.replace(",", "").rstrip(".")) * _SCALES.get(
            scale, 1
        )
        before = _WORD.findall(_PART.split(text[: match.start()])[-1])[-3:]
        after = _WORD.findall(_PART.split(text[match.end() :])[0])
        is_money = bool(match["money"] or scale) or value >= 1000
        found.append(
            Number(value, is_money, _as_stems(after[:1]), _as_stems([*before, *after[:3]]))
        )
    return found
