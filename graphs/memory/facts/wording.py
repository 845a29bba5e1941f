"""Canonical wording of English sentences: person, contractions, numbers, dates, spelling. Pure.

    My budget's 80 thousand dollars.      user 's budget be 80000 usd
    User's budget is $80,000              user 's budget be 80000 usd

Names keep their capitals, which tell a name from a word.
Words that are not understood stay as they are. So do other languages, apart from their numbers.
"""

import re
import unicodedata
from decimal import Decimal

# The order matters: later patterns read the output of earlier ones.
_SUBSTITUTIONS = [
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in [
        (r"\b(?:the )?user\b", "user"),
        (r"\bi'm\b|\bim\b", "I am"),
        (r"\b(?:can't|cannot)\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"n't\b", " not"),
        (r"'ve\b", " have"),
        (r"'ll\b", " will"),
        (r"'d\b", " would"),
        (r"'re\b", " are"),
        (r"\b(it|that|he|she|there)'s\b", r"\1 is"),
        (r"\b(\w+s)'(?!\w)", r"\1 's"),
        (r"(?<=\w)'s\b", " 's"),
        (r"\b(?:my|mine)\b", "user 's"),
        (r"\bour\b", "we 's"),
        (r"\bwe\b", "we"),
        (r"\b(?:i|me)\b(?![.'-]\w)", "user"),
        (r"\b(?:am|are|is)\b", "be"),
        (r"\bhas\b", "have"),
        (r"\bhave got\b", "have"),
        (r"\bdoes\b", "do"),
        (r"\bany ?(?:more|longer)\b", "any more"),
        (r"\bfavourite\b", "favorite"),
        (r"\bcolour\b", "color"),
        (r"\be-?mail(?: address)?\b(?!@)", "email"),
        (r"\b(?:tele)?phone (?:number|no\.?)|\b(?:mobile|cell) (?:phone )?number", "phone number"),
        (r"\bdate of birth\b|\bbirth date\b", "birthday"),
        (r"\b(?:a|per|each|every) (hour|day|week|month|year)\b", r"per \1"),
    ]
]

_MONTHS = {
    name: n for n, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)
}
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY, _YEAR = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?", r"(?P<year>(?:19|20)\d\d)"
_DATES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b(?:the )?{_DAY} (?:of )?{_MONTH}(?:,? {_YEAR})?\b",
        rf"\b{_MONTH} (?:the )?{_DAY}\b(?!\d)(?:,? {_YEAR}\b)?",
        rf"\b{_MONTH},? {_YEAR}\b",
    )
]

_SCALES = {
    "k": 3,
    "thousand": 3,
    "grand": 3,
    "mio": 6,
    "mn": 6,
    "million": 6,
    "bn": 9,
    "billion": 9,
}
_UNITS = {
    "usd": r"us ?dollars?|dollars?|usd|us\$|\$",
    "eur": r"euros?|eur|€",
    "gbp": r"pounds?|gbp|£",
    "percent": r"%|percent|per cent",
    "kg": r"kgs?|kilos?|kilograms?",
    "cm": r"cms?|centimet(?:er|re)s?",
    "km": r"kms?|kilomet(?:er|re)s?",
}
_SIGNS = {"$": "usd", "€": "eur", "£": "gbp"}
_NUMBER = re.compile(
    r"(?<![\w.,/-])(?P<sign>[$€£])? ?(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?P<fraction>\.\d+)?"
    rf"(?: ?(?P<scale>{'|'.join(_SCALES)})\b)?"
    + "(?: ?(?:"
    + "|".join(rf"(?P<{unit}>{forms})" for unit, forms in _UNITS.items())
    + r")(?!\w))?(?!\w|[.,]\d)",
    re.IGNORECASE,
)
_COUNTS = {
    word: str(n)
    for n, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}
_COUNT = re.compile(rf"\b(?:{'|'.join(_COUNTS)})\b", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:(?<!\S)(?:an?(?! (?:few|little|lot|bit)\b)|the)|^(?:An?|The)) ")


def canonical(text: str) -> str:
    """Return a sentence in canonical wording.

    Sentences of equal wording have equal meanings; the reverse does not hold.
    """
    words = unicodedata.normalize("NFKC", text).replace("\u2019", "'").replace("\u2018", "'")
    words = re.sub(r"\s+", " ", words).strip().rstrip(".!;, ")
    for pattern, replacement in _SUBSTITUTIONS:
        words = pattern.sub(replacement, words)
    for pattern in _DATES:
        words = pattern.sub(_date, words)
    words = _COUNT.sub(lambda match: _COUNTS[match.group().lower()], words)
    words = _NUMBER.sub(_number, words)
    return re.sub(r"\s+", " ", words).strip()


def folded(words: str) -> str:
    """Return canonical words without capitals and articles, which never make a difference."""
    return re.sub(r"\s+", " ", _ARTICLE.sub("", words)).strip().casefold()


def with_amount_of(text: str, other: str) -> str | None:
    """Return a text with its amount replaced by that of another text.

    The unit is kept if the other amount has none. None unless each text has exactly one amount.
    """
    ours, theirs = list(_NUMBER.finditer(text)), list(_NUMBER.finditer(other))
    if len(ours) != 1 or len(theirs) != 1:
        return None
    [old], [amount] = ours, theirs
    amount_text = amount.group().strip()
    if not _unit(amount):  # 120k after $80k is $120k
        unit = old.group()[len(old.group().removesuffix(_unit_text(old)).rstrip()) :]
        amount_text = f"{old['sign'] or ''}{amount_text}{unit}"
    before = " " if old.group().startswith(" ") else ""
    return text[: old.start()] + before + amount_text + text[old.end() :]


def _unit(match: re.Match[str]) -> str:
    """Return the canonical unit of a number; an empty text if it has none."""
    return _SIGNS.get(match["sign"] or "") or next((unit for unit in _UNITS if match[unit]), "")


def _unit_text(match: re.Match[str]) -> str:
    return next((match[unit] for unit in _UNITS if match[unit]), "")


def _date(match: re.Match[str]) -> str:
    found = match.groupdict()
    parts = [found.get("year"), f"{_MONTHS[found['month'][:3].lower()]:02}"]
    if found.get("day"):
        parts.append(f"{int(found['day']):02}")
    return "-".join(part for part in parts if part)


def _number(match: re.Match[str]) -> str:
    """Return a number written out.

    Digits with a leading zero are no number. `80.000` stays: it may be 80 or 80 thousand.
    """
    digits, fraction, scale = (
        match["digits"].replace(",", ""),
        match["fraction"] or "",
        match["scale"],
    )
    if len(digits) > 1 and digits[0] == "0":
        return match.group()
    number = digits + fraction
    if scale:
        number = format(Decimal(number).scaleb(_SCALES[scale.lower()]).normalize(), "f")
    before = " " if match.group().startswith(" ") else ""
    return f"{before}{number} {_unit(match)}".rstrip()
