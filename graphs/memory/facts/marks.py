"""Marks in sentences: words that show if a claim is asserted, and if it is new. Pure; English."""

import re

_HEDGES = re.compile(
    r"\b(if|unless|might|may|could|would|should|will|shall|must|perhaps|maybe|probably|possibly"
    r"|likely|almost|wish(es)?"
    r"|hopes?|hoping|wants?|wanted|plans?|planning|thinks?|guess|believes?|supposes?|supposed"
    r"|imagine|pretend|assum(e|es|ing)|considers?|considering|going to|about to|says?|said|told"
    r"|tells?|claims?|heard|according to|dreams? of|next (week|month|year)|tomorrow|soon)\b"
)
_OPENINGS = re.compile(
    r"(if|unless|perhaps|maybe|suppose|supposing|imagine|assum(e|ing)|let|what|who|whose|where"
    r"|when|why|how|which|be|do"
    r"|was|were|did|have|can|could|would|should|will|according|say|pretend)\b",
    re.IGNORECASE,
)


def asserted(text: str, spoken: str) -> bool:
    """Return whether a sentence is asserted; questions, conditions, plans and hearsay are not.

    Args:
        text: the sentence as it was said, in which quotation marks still stand.
        spoken: its canonical wording.
    """
    quoted = re.search(r"[\"\u201c-\u201e«»?¿]", text)
    return not (quoted or _OPENINGS.match(spoken) or _HEDGES.search(spoken))


_MARKS = {
    "changed": (
        "now|actually|correction|update|these days|nowadays|from now on|as of now|as of today"
        "|instead|again"
    ),
    "also": "also|too|as well|in addition|besides",
    "filler": (
        "well|so|and|but|oh|okay|ok|sorry|just|still|currently|at the moment|by the way|previously"
        "|before that"
    ),
}
_ANY_MARK = "|".join(f"(?P<{name}>{words})" for name, words in _MARKS.items())
_FIRST = re.compile(rf"(?:{_ANY_MARK})\b[,:]? ", re.IGNORECASE)
_LAST = re.compile(rf",? (?:{_ANY_MARK})$")
_WITHIN = re.compile(
    r"(?<!not) (?:(?P<changed>now)|(?P<also>also)"
    r"|(?P<filler>still|really|currently|just|recently))(?= )"
)


def unmarked(clause: str) -> tuple[str, set[str]]:
    """Return a sentence without its marks, and the kinds of marks that it had.

    If the sentence has `not`, fillers inside and at the end stay, since they may change its
    meaning.
    """
    marks: set[str] = set()
    for pattern in (_FIRST, _LAST, _WITHIN):
        while (
            match := pattern.search(clause) if pattern is not _FIRST else pattern.match(clause)
        ) and (match.lastgroup != "filler" or pattern is _FIRST or " not " not in clause):
            marks.add(str(match.lastgroup))
            clause = clause[: match.start()] + clause[match.end() :]
    return clause, marks
