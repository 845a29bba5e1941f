"""Relations of two claims of one subject: same, replaced, unsure or apart. Pure; English."""

import re
from dataclasses import replace

from graphs.memory.facts.claims import Claim, ParsedSentence
from graphs.memory.facts.values import ValueRelation, compared, fits
from graphs.memory.facts.wording import folded


def of_claims(new: ParsedSentence, a: Claim, old: ParsedSentence, b: Claim) -> ValueRelation:
    """Return the relation of two claims about one attribute of one subject."""
    if opposed(a, b):
        return "apart" if new.past or old.past else "replaced"
    if not _of_one_scope(a, b):
        return "apart" if (a.qualifier and b.qualifier) or new.past or old.past else "unsure"
    values = _values(a, b, new.changed)
    if values == "same" and a.negated == b.negated:
        return "apart" if a.qualifier > b.qualifier else _said_again(new, old)
    if new.past or old.past:
        return "unsure" if values == "same" and not old.past else "apart"
    if a.negated != b.negated:
        return "replaced" if values == "same" else _beside_denial(a, b, values)
    if new.also or (a.negated and fits(a.kind, a.attribute, a.value)):
        return "apart"
    return _of_other_value(new, a, b) if values == "replaced" and not a.negated else values


def _said_again(new: ParsedSentence, old: ParsedSentence) -> ValueRelation:
    """Return the relation of two claims with the same value, by the times at which they hold."""
    if new.past != old.past:
        return "unsure" if new.past else "apart"
    ours, theirs = (new.held_from, new.held_until), (old.held_from, old.held_until)
    if ours == theirs:
        return "same"
    # `I live there` repeats `I live there since 2020`; `I visited it` may be another visit.
    says_less = ours == (None, None) and old.claim is not None and old.claim.single != "never"
    return "same" if says_less else "apart"


def _beside_denial(a: Claim, b: Claim, values: ValueRelation) -> ValueRelation:
    """Return the relation of a denial and an assertion of different values.

    `No red meat` and `meat` can both hold. `No meat` and `red meat` hardly can.
    """
    if a.kind != "any":
        return "unsure" if values == "unsure" else "apart"
    denied, claimed = (a, b) if a.negated else (b, a)
    return "unsure" if content_words(denied.value) <= content_words(claimed.value) else "apart"


def _of_other_value(new: ParsedSentence, a: Claim, b: Claim) -> ValueRelation:
    """Return the relation of two claims with different values, by their attribute."""
    single = "always" if "always" in (a.single, b.single) else a.single
    if single == "never":
        counted = re.sub(r"\d+", "#", folded(a.value)) == re.sub(r"\d+", "#", folded(b.value))
        return "unsure" if new.changed or counted else "apart"
    if single == "if changed" and not new.changed:
        return "unsure"
    if (
        a.replaces
        and a.kind != "amount"
        and _values(replace(a, value=a.replaces, replaces=None), b) != "same"
    ):
        return "unsure"
    return "replaced"


def _values(a: Claim, b: Claim, changed: bool = False) -> ValueRelation:
    """Return the relation of the values of two claims.

    A move from one place to another proves that the two places differ.
    """
    if (
        a.kind == "place"
        and a.replaces
        and _values(replace(a, value=a.replaces, replaces=None), b) == "same"
    ):
        return "replaced"
    if a.kind != b.kind and not changed and folded(a.value) != folded(b.value):
        return "unsure"
    return compared(a.kind, a.attribute, a.value, b.value, changed)


_LIKES = frozenset({"lik", "lov", "enjoi", "ador"})
_NOT_LIKES = frozenset({("hat", False), ("dislik", False), ("detest", False), ("lik", True)})


def opposed(a: Claim, b: Claim) -> bool:
    """Return whether one claim is a liking and the other a dislike of the same thing."""
    if folded(a.value) != folded(b.value):
        return False
    stances = {(a.attribute, a.negated), (b.attribute, b.negated)}
    return bool(stances & {(verb, False) for verb in _LIKES}) and bool(stances & _NOT_LIKES)


def _of_one_scope(a: Claim, b: Claim) -> bool:
    """Return whether two claims are about the same one of several, such as one of two budgets."""
    if a.attribute == "prefer":  # `tea` repeats `tea over coffee`
        short, full = (a, b) if not a.qualifier else (b, a)
        return a.qualifier == b.qualifier or (
            not short.qualifier and folded(short.value) in full.qualifier
        )
    return a.qualifier == b.qualifier


_UNIQUE = frozenset(
    "mother father mom mum dad wife husband spouse boss manager company employer".split()
)
_FEW = frozenset(
    "brother sister son daughter child partner girlfriend boyfriend dog cat team".split()
)
_NOBODY = frozenset(
    "she he they it this that these those you one someone somebody everyone who there".split()
)


def is_one(subject: str, changed: bool) -> bool:
    """Return whether two sentences of this subject are about the same one.

    Of two brothers, each may live somewhere else.
    """
    owner, *relatives = subject.split(" 's ")
    if owner in _NOBODY:
        return False
    return all(name in _UNIQUE or (name in _FEW and changed) for name in relatives)


_EMPTY = frozenset(
    "user we a an the 's be have do not of in on at to for from by with and or it now".split()
)


def content_words(words: str) -> set[str]:
    """Return the words of a sentence that carry its meaning, such as nouns and names."""
    return set(re.findall(r"[\w@.]*\w", folded(words))) - _EMPTY
