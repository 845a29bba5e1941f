"""Values by kind: recognise a value, and compare two. Pure."""

import re
from decimal import Decimal
from typing import Literal

from graphs.memory.facts.places import exclude_one_another, is_listed, same_place
from graphs.memory.facts.wording import folded

ValueKind = Literal[
    "amount", "date", "email", "phone", "place", "name", "client", "address", "favorite", "thing",
    "marital", "words", "any",
]  # fmt: skip
"""Kinds of values.

`client` is a name that may be a person's, as in `I work for Ada`.
`any` is anything; several such values may hold at once.
"""

ValueRelation = Literal["same", "replaced", "unsure", "apart"]
"""The relation of a new value to a known one.

`same`: it says the same. `replaced`: it takes its place.
`unsure`: this cannot be decided. `apart`: both may hold.
"""

_UNIT = r"(?:usd|eur|gbp|chf|percent|kg|g|lbs?|m|cm|km|feet|ft|years?(?: old)?|points?)"
AMOUNT = re.compile(rf"(?P<number>\d+(?:\.\d+)?)(?<!\.\d\d\d)(?P<unit>(?: {_UNIT})?(?: per \w+)?)")
_MONEY = r"( (usd|eur|gbp|chf))?( per \w+)?"
_UNITS_OF = {
    "age": r"( years?( old)?)?",
    "weight": r" (kg|g|lbs?)",
    "height": r" (m|cm|feet|ft)",
    "credit score": r"( points)?",
}
_DATE = re.compile(
    r"(?:on |in )?(?:the )?(?P<date>(?P<year>\d{4})?-?(?P<month>\d\d)?-?(?P<day>\d\d)?)(?<=\d)"
)
_SMALL = frozenset("of the & de von van la le".split())
_PREDICATES = re.compile(
    r"\b(on|in|at|for|from|with|to|by|of|because|than|that|so|very|too|not)\b"
    r"|\b(open|closed|expensive|cheap|hard|easy|great|good|bad|nice|old|new|long|short|boring|fun"
    r"|important|healthy|unhealthy|spicy|sweet|gone|over|dead|terrible|popular|common|rare|unusual"
    r"|different|same|fine|ok|okay|better|worse|hot|cold|special|nothing|something|complicated"
    r"|unclear|unknown|secret|private|wrong|pending|near|far)$"
    r"|(ful|ous|ive|able|ible|ing|est)$"
)
"""Words that describe a value and are none: `closed on Mondays`, `too expensive`."""

MARITAL = "single|married|divorced|widowed|engaged|separated"
_FAVORITES = {
    "favorite color": (
        "black|blue|brown|gr[ae]y|green|orange|pink|purple|red|turquoise|violet|white|yellow"
    ),
    "favorite season": "spring|summer|autumn|fall|winter",
    "favorite number": r"\d+",
}


def fits(kind: ValueKind, attribute: str, value: str) -> bool:
    """Return whether a text is a value of this kind, and not a description.

    `80k` is a budget, `tight` is not.
    """
    match kind:
        case "amount":
            amount = AMOUNT.fullmatch(value)
            return amount is not None and bool(
                re.fullmatch(_UNITS_OF.get(attribute, _MONEY), amount["unit"])
            )
        case "date":
            return bool(_DATE.fullmatch(value))
        case "email":
            return bool(re.fullmatch(r"[^@\s]+@[^@\s]+\.\w+", value))
        case "phone":
            return bool(re.fullmatch(r"[+\d][\d ()/.-]{5,}", value))
        case "address":
            return bool(re.search(r"\d", value)) and _is_name(value)
        case "name" | "client":
            return _is_name(value)
        case "place":
            return _is_name(value) or is_listed(folded(value))
        case "favorite":
            return not _PREDICATES.search(value) and len(value.split()) <= 4
        case "thing":
            return bool(re.match(r"an? (\d{4} )?[A-Z]", value))
        case "marital":
            return bool(re.fullmatch(MARITAL, value))
        case "words":
            return len(value.split()) <= 4 and not _PREDICATES.search(value)
        case "any":
            return True


def compared(
    kind: ValueKind, attribute: str, new: str, old: str, changed: bool = False
) -> ValueRelation:
    """Return the relation of a new value to a known one of the same attribute.

    Args:
        kind: the kind of both values.
        attribute: the attribute of both values.
        new: the value that is claimed now.
        old: the value that is known.
        changed: the sentence says that something changed; then values that share a word may differ.
    """
    if folded(new) == folded(old):
        return "same"
    if not fits(kind, attribute, new):
        return "unsure" if _may_be(kind, new) else "apart"
    if not fits(kind, attribute, old):
        return "unsure"
    match kind:
        case "amount":
            return _amounts(new, old)
        case "date":
            return _dates(new, old)
        case "phone":
            return _phones(new, old)
        case "place":
            return _places(folded(new), folded(old))
        case "name" | "client" | "address" | "words":
            return "unsure" if _share_words(new, old) and not changed else "replaced"
        case "favorite":
            known = changed or _are_alike(attribute, new, old)
            return "replaced" if known and not _share_words(new, old) else "unsure"
    return "replaced"


def _may_be(kind: ValueKind, value: str) -> bool:
    """Return whether a text that does not fit a kind may still mean a value: `at least 100k`."""
    match kind:
        case "amount" | "phone" | "date":
            return bool(re.search(r"\d", value))
        case "name" | "client" | "place" | "address":
            return any(letter.isupper() for letter in value)
        case "favorite":
            return value[0].isupper()
        case "thing":
            return value.startswith(("a ", "an "))
    return False


def _amounts(new: str, old: str) -> ValueRelation:
    a, b = AMOUNT.fullmatch(new), AMOUNT.fullmatch(old)
    assert a and b  # noqa: S101, PT018  they fit
    same = Decimal(a["number"]) == Decimal(b["number"])
    if a["unit"] == b["unit"]:
        return "same" if same else "replaced"
    return "replaced" if not same and "" in (a["unit"], b["unit"]) else "unsure"


def _dates(new: str, old: str) -> ValueRelation:
    """Return the relation of two dates.

    They exclude each other only if both name the same parts: a day in May does not contradict
    `May`.
    """
    a, b = _DATE.fullmatch(new), _DATE.fullmatch(old)
    assert a and b  # noqa: S101, PT018  they fit
    if a["date"] == b["date"]:
        return "same"
    alike = all((a[part] is None) == (b[part] is None) for part in ("year", "month", "day"))
    return "replaced" if alike else "unsure"


def _phones(new: str, old: str) -> ValueRelation:
    """Return the relation of two phone numbers by their last digits.

    Country and area may be written in several ways: 0171 123456 may be +49 171 123456.
    """
    a, b = (re.sub(r"\D", "", value) for value in (new, old))
    if a == b:
        return "same"
    return "unsure" if a[-6:] == b[-6:] else "replaced"


def _places(new: str, old: str) -> ValueRelation:
    """Return the relation of two places.

    `Berlin` says less than `Berlin, Germany`. The other way round it is more exact, and worth
    keeping.
    """
    if same_place(new, old):
        return "same" if len(new) <= len(old) else "unsure"
    return "replaced" if exclude_one_another(new, old) else "unsure"


def _are_alike(attribute: str, new: str, old: str) -> bool:
    """Return whether both values are names, or both are in the attribute's list, such as colors.

    Any other word may be a description instead of a value.
    """
    listed = _FAVORITES.get(attribute)
    return all(re.fullmatch(listed, value) if listed else _is_name(value) for value in (new, old))


def _is_name(value: str) -> bool:
    words = value.replace(",", "").split()
    return len(words) <= 6 and all(word in _SMALL or not word[0].islower() for word in words)


def _share_words(new: str, old: str) -> bool:
    a, b = (set(re.findall(r"\w+", folded(value))) - _SMALL for value in (new, old))
    return bool(a & b)
