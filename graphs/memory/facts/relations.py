"""Relations of two claims of one subject: same, replaced, unsure or apart. Pure; English."""

import re
from dataclasses import replace

from graphs.memory.facts.claims import Claim, ParsedSentence
from graphs.memory.facts.values import ValueRelation, compared, fits
from graphs.memory.facts.wording import folded


def of_claims(new: ParsedSentence, a: Claim, old: ParsedSentence, b: Claim) -> ValueRelation:
    """The relation of two claims of one attribute of one subject."""
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
    """The same value: of the same time, or does one of the two hold no longer?"""
    if new.past != old.past:
        return "unsure" if new.past else "apart"
    ours, theirs = (new.held_from, new.held_until), (old.held_from, old.held_until)
    if ours == theirs:
        return "same"
    # Who lives there since 2020 lives there; but who was there in 2020 may have been there again.
    says_less = ours == (None, None) and old.claim is not None and old.claim.single != "never"
    return "same" if says_less else "apart"


def _beside_denial(a: Claim, b: Claim, values: ValueRelation) -> ValueRelation:
    """One has what the other has not: no red meat goes with meat, but hardly red meat with no meat."""
    if a.kind != "any":
        return "unsure" if values == "unsure" else "apart"
    denied, claimed = (a, b) if a.negated else (b, a)
    return "unsure" if content_words(denied.value) <= content_words(claimed.value) else "apart"


def _of_other_value(new: ParsedSentence, a: Claim, b: Claim) -> ValueRelation:
    """Another value: does it take the place of the one that is known?"""
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
    """What the value of a claim is to that of another one. Who moves from one place to another tells them apart."""
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
    """Whether one says to like what the other one says not to."""
    if folded(a.value) != folded(b.value):
        return False
    stances = {(a.attribute, a.negated), (b.attribute, b.negated)}
    return bool(stances & {(verb, False) for verb in _LIKES}) and bool(stances & _NOT_LIKES)


def _of_one_scope(a: Claim, b: Claim) -> bool:
    """Whether both are about the same budget of somebody who may have several."""
    if a.attribute == "prefer":  # tea, and coffee rather than tea
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
    """Whether two sentences of this subject are about the same one: of two brothers each may live somewhere else."""
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
