"""Whether two values of one attribute are the same, exclude one another, or cannot be told. Pure."""

import re
from typing import Literal

from graphs.memory.claims import AMOUNT, Claim
from graphs.memory.places import exclude_one_another, same_place
from graphs.memory.wording import folded

Relation = Literal["same", "replaced", "unsure", "apart"]
"""What is new beside what is known: says it again, takes its place, cannot be told, or leaves it alone."""


def compared(new: Claim, old: Claim, changed: bool) -> Relation:
    """Return what the value of a claim is to that of another one of the same attribute.

    Args:
        new: what is claimed now.
        old: what is known.
        changed: the sentence says of itself that something changed, so that values which look alike differ.
    """
    if folded(new.value) == folded(old.value):
        return "same"
    match new.kind:
        case "amount":
            return _amounts(new.value, old.value)
        case "date":
            return _dates(new.value, old.value)
        case "email":
            return _emails(new.value, old.value)
        case "phone":
            return _phones(new.value, old.value)
        case "place":
            return _places(new, old)
        case "name":
            return _names(new.value, old.value, changed)
        case "favorite":
            return _favorites(new, old, changed)
        case "thing":
            return "replaced" if all(re.match("an? ", value) for value in (new.value, old.value)) else "apart"
        case "words" if new.single == "always" and new.attribute != "prefer":
            return _words(new.value, old.value, changed)
    return "replaced"


def opposed(new: Claim, old: Claim) -> bool:
    """Return whether one likes what the other does not."""
    if new.subject != old.subject or folded(new.value) != folded(old.value):
        return False
    verbs = {(new.attribute, new.negated), (old.attribute, old.negated)}
    liked = {(verb, False) for verb in _LIKES}
    return bool(verbs & liked) and bool(verbs & _NOT_LIKES)


_LIKES = frozenset({"lik", "lov", "enjoi", "ador"})
_NOT_LIKES = frozenset({("hat", False), ("dislik", False), ("detest", False), ("lik", True)})


def _amounts(new: str, old: str) -> Relation:
    a, b = AMOUNT.fullmatch(new), AMOUNT.fullmatch(old)
    if not a or not b:
        return "unsure" if re.search(r"\d", new) else "apart"
    same = float(a["number"]) == float(b["number"])
    if a["unit"] == b["unit"]:
        return "same" if same else "replaced"
    return "replaced" if not same and "" in (a["unit"], b["unit"]) else "unsure"


_DATE = re.compile(r"(?:on |in )?(?:the )?(?P<date>(?P<year>\d{4})?-?(?P<month>\d\d)?-?(?P<day>\d\d)?)")


def _dates(new: str, old: str) -> Relation:
    """Dates exclude one another where both name the same parts: a day in May is no other date than May."""
    a, b = _DATE.fullmatch(new), _DATE.fullmatch(old)
    if not a or not b:
        return "apart"
    if a["date"] == b["date"]:
        return "same"
    alike = all((a[part] is None) == (b[part] is None) for part in ("year", "month", "day"))
    return "replaced" if alike else "unsure"


def _emails(new: str, old: str) -> Relation:
    addresses = all(re.fullmatch(r"[^@\s]+@[^@\s]+\.\w+", value) for value in (new, old))
    return "replaced" if addresses else "apart"


def _phones(new: str, old: str) -> Relation:
    """Numbers are compared without country and area: 0171 123456 may be +49 171 123456."""
    if not all(re.fullmatch(r"[+\d][\d ()/.-]{5,}", value) for value in (new, old)):
        return "apart"
    a, b = (re.sub(r"\D", "", value) for value in (new, old))
    if a == b:
        return "same"
    return "unsure" if a[-6:] == b[-6:] else "replaced"


def _places(new: Claim, old: Claim) -> Relation:
    a, b = folded(new.value), folded(old.value)
    if new.replaces and same_place(folded(new.replaces), b):
        return "replaced"
    if exclude_one_another(a, b):
        return "replaced"
    return "unsure"


_SMALL = frozenset("of and the & de von van la le".split())


def _is_name(value: str) -> bool:
    words = value.replace(",", "").split()
    return len(words) <= 6 and all(word in _SMALL or not word[0].islower() for word in words)


def _names(new: str, old: str, changed: bool) -> Relation:
    if not _is_name(new):
        return "unsure" if any(letter.isupper() for letter in new) else "apart"
    if not _is_name(old):
        return "unsure"
    return "replaced" if changed or not _share_words(new, old) else "unsure"


def _share_words(new: str, old: str) -> bool:
    a, b = (set(re.findall(r"\w+", folded(value))) - _SMALL for value in (new, old))
    return bool(a & b)


_PLAIN_FAVORITES = frozenset(
    "color food drink sport animal fruit vegetable season number day month subject genre dish cuisine dessert".split()
)
_PREDICATES = re.compile(
    r"\b(on|in|at|for|from|with|to|by|of|because|than|that|so|very|too|not|open|closed|expensive|cheap|hard|easy|great"
    r"|good|bad|nice|old|new|long|short|boring|fun|important|interesting|healthy|unhealthy|spicy|sweet|gone|over|dead"
    r"|available|delicious|terrible|popular|common|rare|unusual|different|the same|fine|ok|okay|better|worse)\b"
    r"|(ful|ous|ive|able|ible|ing)$"
)


def _favorites(new: Claim, old: Claim, changed: bool) -> Relation:
    """What is somebody's favorite, not what it is like: `My favorite restaurant is closed`."""
    if _PREDICATES.search(new.value) or _PREDICATES.search(old.value):
        return "apart"
    names = _is_name(new.value) and _is_name(old.value)
    plain = new.attribute.removeprefix("favorite ") in _PLAIN_FAVORITES and len(new.value.split()) <= 2
    if not names and not plain:
        return "unsure"
    return "replaced" if not _share_words(new.value, old.value) else "unsure"


def _words(new: str, old: str, changed: bool) -> Relation:
    if _PREDICATES.search(new) or _PREDICATES.search(old):
        return "apart"
    if len(new.split()) > 4:
        return "unsure"
    return "replaced" if changed or not _share_words(new, old) else "unsure"
