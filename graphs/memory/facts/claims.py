"""Claims of sentences: subject, attribute and value, and when they held. Pure; English.

A sentence has a claim only if a rule reads all of it.
Any other sentence has none, and no conclusion is drawn from it.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from graphs.memory.facts.marks import asserted, unmarked
from graphs.memory.facts.spans import Span, over, undated
from graphs.memory.facts.values import (
    AMOUNT,
    MARITAL,
    ValueKind,
    fits,
)
from graphs.memory.facts.wording import canonical, folded

Single = Literal["always", "if changed", "never"]
Tense = Literal["present", "perfect", "past", "change"]

ATTRIBUTES: dict[str, tuple[ValueKind, Single]] = {
    **dict.fromkeys(("budget", "salary", "income", "rent", "age", "weight", "height",
                     "credit score", "net worth"), ("amount", "always")),
    **dict.fromkeys(("birthday", "wedding day"), ("date", "always")),
    "email": ("email", "always"),
    "phone number": ("phone", "always"),
    "address": ("address", "always"),
    "employer": ("name", "always"),
    "job title": ("words", "always"),
    "marital status": ("marital", "always"),
    "time zone": ("name", "if changed"),
    "deadline": ("date", "if changed"),
    **dict.fromkeys(("name", "boss", "manager"), ("name", "if changed")),
    **dict.fromkeys(("car", "phone", "laptop", "computer"), ("thing", "if changed")),
}  # fmt: skip
"""Attributes that have one value at a time: the kind of value, and when another one supersedes it.

`always`: any other value does. `if changed`: only if the sentence says that something changed.
"""


LONGEST = 300
"""Most characters of a text that is read for a claim; a longer one is not a single fact."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A value of an attribute of a subject.

    Subject and attribute are folded; the value keeps its capitals.
    """

    subject: str
    attribute: str
    value: str
    kind: ValueKind = "any"
    single: Single = "never"
    tense: Tense = "present"
    negated: bool = False
    qualifier: frozenset[str] = frozenset()
    """Words that narrow the attribute: `robot` in `budget for the robot`, `work` in `work e-mail`.

    For a preference: both alternatives.
    """
    replaces: str | None = None
    """The previous value, if the sentence names it."""


@dataclass(frozen=True, slots=True)
class ParsedSentence:
    """A sentence, as far as the rules understand it."""

    words: str
    """Folded, without marks such as `now`; sentences of equal words say the same."""
    claim: Claim | None
    asserted: bool
    """False for questions, conditions, plans and hearsay."""
    changed: bool
    """The sentence itself says that something changed: `now`, `actually`, `moved to`."""
    also: bool
    """The sentence says that something else still holds, too: `also`, `as well`."""
    past: bool
    held_from: datetime | None
    held_until: datetime | None
    amount: str | None
    """The new amount, if the sentence does not name its attribute: `make it 120k`."""


def read(text: str, said_at: datetime) -> ParsedSentence:
    """Parse a sentence.

    Args:
        text: the sentence.
        said_at: when it was said; relative times such as `two years ago` count from here.
    """
    spoken = canonical(text)
    clause, marks = unmarked(spoken)
    words = folded(clause)
    clause, time = undated(clause, said_at) if len(clause) <= LONGEST else (clause, None)
    claim = _timely(_claim(clause), time) if len(clause) <= LONGEST else None
    past = claim is not None and (
        claim.tense == "past"
        or (claim.tense == "present" and claim.single != "never" and over(time, said_at))
    )
    since, until = _span(claim, time, past, said_at)
    bare = _BARE.match(clause)
    return ParsedSentence(
        words=words,
        claim=claim,
        asserted=asserted(text, spoken) and not (since and since > said_at),
        changed="changed" in marks or _changes(claim, clause),
        also="also" in marks,
        past=past,
        held_from=since,
        held_until=until,
        amount=bare["amount"]
        if bare and not time and (bare["make"] or "changed" in marks)
        else None,
    )


def _timely(claim: Claim | None, time: Span | None) -> Claim | None:
    """Return a claim if its tense and its time agree, else None.

    `I have lived in Rome` alone does not say whether the user still lives there.
    """
    if claim is None or (claim.tense == "perfect" and not (time and time.since and not time.until)):
        return None
    if claim.tense == "past" and not fits(claim.kind, claim.attribute, claim.value):
        return None
    return None if claim.tense == "change" and time and time.over and not time.since else claim


def _span(
    claim: Claim | None, time: Span | None, past: bool, said_at: datetime
) -> tuple[datetime | None, datetime | None]:
    """Return since when and until when a claim held; None for an unknown bound.

    A change two years ago holds since then. If the value of that time is past, its bounds are
    unknown.
    """
    if time is None:
        return None, None
    if past:
        return None if time.over else time.since, min(time.until, said_at) if time.until else None
    return time.since, None if claim and claim.tense == "change" else time.until


_TURNS = re.compile(
    r"\b(switched|moved|changed|replaced|swapped|sold|left|quit|became|joined|retired|cancell?ed"
    r"|stopped|started|bought|gave up|doubled|tripled|halved|increased|decreased|rose|fell"
    r"|dropped)\b"
)


def _changes(claim: Claim | None, clause: str) -> bool:
    if claim and (claim.tense == "change" or claim.replaces):
        return True
    return (claim is None or claim.attribute not in ATTRIBUTES) and bool(_TURNS.search(clause))


# Patterns of subject, attribute and value

_SUBJECT = (
    r"(?P<who>(?:user|[Ww]e|[A-Z][\w-]*(?: [A-Z][\w-]*){0,2}|[Tt]he [a-z]+)"
    r"(?: 's [a-z][\w-]*(?: [a-z][\w-]*)??){0,2}?)"
)
_MOVE = (
    r"(?:have )?(?:changed|went(?: up| down)?|gone(?: up| down)?|rose|increased|decreased|grew"
    r"|grown|dropped|fell)"
    r"|(?:was|were|have been|got) (?:raised|increased|changed|lowered|cut|reduced|updated|set"
    r"|bumped|corrected)"
)
_COPULA = (
    rf"(?:(?P<change>{_MOVE})(?: from (?P<old>.+?))? to|(?P<past>was|were|used to be|had been)"
    r"|(?:be|(?P<perfect>have been))(?P<not> not| no longer)?)"
)
_BARE = re.compile(
    r"(?:(?P<make>(?:make|set|change|update|raise|lower) it)(?: to)? |(?:it|that) be )?"
    rf"(?P<amount>{AMOUNT.pattern})$",
    re.IGNORECASE,
)

_DENIALS = [
    re.compile(rf"{_SUBJECT} {rest}$")
    for rest in (
        r"(?:do not|no longer|never) (?P<verb>[a-z]+)(?P<rest> .+)?",
        r"(?P<verb>be|can) (?:not|no longer)(?P<rest> .+)",
        r"(?:have )?(?:stopped|quit|gave up|given up) (?P<verb>[a-z]+)ing(?P<rest> .+)?",
        r"(?:have )?(?:quit|left) (?:user 's|his|her|their) (?P<verb>job)(?P<rest> at .+)",
    )
]
_OWNED = [
    re.compile(rf"(?P<who>.+) 's (?P<what>[^']+?) {_COPULA} (?P<value>.+)$"),
    re.compile(rf"{_SUBJECT} have an? (?P<what>[^']+?) of (?P<value>.+)$"),
    re.compile(
        rf"{_SUBJECT} (?P<change>(?:have )?(?:changed|raised|increased|lowered|reduced|updated))"
        r" (?:user 's|his|her|their) (?P<what>[^']+?)(?: from (?P<old>.+?))? to (?P<value>.+)$"
    ),
]
_BY_VERB: list[tuple[str, ValueKind, str]] = [
    ("residence", "place", r"(?:lives?|resides?|be living|be based) in (?P<value>.+)"),
    ("residence", "place", r"(?P<perfect>have lived|have been living) in (?P<value>.+)"),
    (
        "residence",
        "place",
        r"(?P<past>lived|was living|resided|used to live|was based) in (?P<value>.+)",
    ),
    (
        "residence",
        "place",
        r"(?P<change>(?:have )?(?:moved|relocated))(?: from (?P<old>.+))? to (?P<value>.+)",
    ),
    ("employer", "name", r"(?:works?|be working|be employed|job) (?:at|by) (?P<value>.+)"),
    ("employer", "client", r"(?:works?|be working) for (?P<value>.+)"),
    ("employer", "name", r"(?P<perfect>have worked|have been working) (?:at|for) (?P<value>.+)"),
    (
        "employer",
        "name",
        r"(?P<past>worked|was working|was employed|used to work) (?:at|for|by) (?P<value>.+)",
    ),
    (
        "employer",
        "name",
        r"(?P<change>(?:have )?(?:started|begun|began) working) (?:at|for) (?P<value>.+)",
    ),
    ("occupation", "words", r"(?:works?|be working) as (?P<value>.+)"),
    ("age", "amount", r"be (?P<value>\d+) years old"),
    ("age", "amount", r"(?<=^user )be (?P<value>\d+)"),
    ("age", "amount", r"(?P<change>turned) (?P<value>\d+)(?: years old)?"),
    ("age", "amount", r"(?P<past>was) (?P<value>\d+)(?: years old)?"),
    ("birthday", "date", r"was born on (?P<value>.+)"),
    ("weight", "amount", r"weighs? (?P<value>.+)"),
    ("marital status", "marital", rf"be (?P<value>{MARITAL})"),
    ("marital status", "marital", rf"(?P<change>got) (?P<value>{MARITAL})"),
    ("marital status", "marital", rf"(?P<past>was|used to be) (?P<value>{MARITAL})"),
]
_VERBS = [
    (re.compile(rf"{_SUBJECT} {pattern}$"), attribute, kind)
    for attribute, kind, pattern in _BY_VERB
]
_PREFERENCE = re.compile(
    rf"{_SUBJECT} prefers? (?P<value>.+?)(?: (?:over|to|rather than) (?P<other>.+))?$"
)
_PLAIN = re.compile(rf"{_SUBJECT} (?P<past>used to )?(?P<verb>[a-z]+)(?: (?P<value>.+))?$")
_TENSES: tuple[Tense, ...] = ("change", "past", "perfect")
_ENGLISH = re.compile(r"be|have|can|do|was|were|had|\w+(?:s|ed)")
_FORMER = re.compile(r"(?:old|former|previous|last|ex) ")
_PRESENT = re.compile(r"(?:(?P<new>new)|current|present) ")


def _claim(clause: str) -> Claim | None:
    affirmed, negated = _affirmed(clause)
    claim = (
        _owned(affirmed) or _by_verb(affirmed) or _preferred(affirmed) or _plain(affirmed, negated)
    )
    return replace(claim, negated=negated != claim.negated) if claim else None


def _affirmed(clause: str) -> tuple[str, bool]:
    """Return a sentence without its denial, and whether there was one."""
    for pattern in _DENIALS:
        if match := pattern.match(clause):
            rest = (match["rest"] or "").removesuffix(" any more")
            return f"{match['who']} {match['verb']}{rest}", True
    return clause, False


def _owned(clause: str) -> Claim | None:
    """Return the claim of a sentence such as `My budget for the robot is 80k`."""
    for pattern in _OWNED:
        if (match := pattern.match(clause)) and re.fullmatch(_SUBJECT, match["who"]):
            return _attributed(match["what"], _claimed(match, "", "any"))
    return None


def _attributed(what: str, claim: Claim) -> Claim:
    """Return a claim with the attribute that a phrase such as `new marketing budget` names."""
    if former := _FORMER.match(what):
        what, claim = what[former.end() :], replace(claim, tense="past")
    elif present := _PRESENT.match(what):
        what = what[present.end() :]
        claim = (
            replace(claim, tense="change") if present["new"] and claim.tense == "present" else claim
        )
    head, *purpose = re.split(r" (?:for|at) ", what)
    name = folded(head)
    if name.startswith("favorite "):
        return replace(
            claim,
            attribute=name,
            kind="favorite",
            single="never" if name.endswith("s") else "always",
            qualifier=frozenset(map(folded, purpose)),
        )
    for known in sorted(ATTRIBUTES, key=len, reverse=True):
        if name == known or name.endswith(f" {known}"):
            value, _, use = (
                claim.value.partition(" for ")
                if ATTRIBUTES[known][0] == "amount"
                else (claim.value, "", "")
            )
            words = " ".join([name.removesuffix(known), *map(folded, [*purpose, use])])
            kind, single = ATTRIBUTES[known]
            qualifier = frozenset(words.split())
            return replace(
                claim, attribute=known, value=value, kind=kind, single=single, qualifier=qualifier
            )
    return replace(claim, attribute=folded(what), tense="present")


def _by_verb(clause: str) -> Claim | None:
    """Return the claim of a sentence such as `I live in Lyon`."""
    for pattern, attribute, kind in _VERBS:
        if match := pattern.match(clause):
            return replace(
                _claimed(match, attribute, kind),
                single="if changed" if kind == "words" else "always",
            )
    return None


def _claimed(match: re.Match[str], attribute: str, kind: ValueKind) -> Claim:
    """Return the claim in the groups of a match.

    Of `120k instead of 80k` the value is 120k, and it replaces 80k.
    """
    found = match.groupdict()
    value, instead, old = re.match(
        r"(.+?)(?:(,? instead of|,? rather than|,? and not|, not) (.+))?$", match["value"]
    ).groups()  # type: ignore[union-attr]
    return Claim(
        subject=folded(match["who"]),
        attribute=attribute,
        value=value.removesuffix(" any more") if found.get("not") else value,
        kind=kind,
        tense=next((tense for tense in _TENSES if found.get(tense)), "present"),
        negated=bool(found.get("not")),
        replaces=old if instead else found.get("old"),
    )


def _preferred(clause: str) -> Claim | None:
    """Return the claim of a sentence such as `I prefer tea over coffee`."""
    if not (match := _PREFERENCE.match(clause)):
        return None
    value, other = match["value"], match["other"]
    pair = frozenset({folded(value), folded(other)}) if other else frozenset()
    single: Single = "always" if other else "never"
    return Claim(folded(match["who"]), "prefer", value, kind="any", single=single, qualifier=pair)


def _plain(clause: str, negated: bool) -> Claim | None:
    """Return the claim of a sentence such as `I eat meat`.

    With a subject other than the user, the verb must have the form of an English verb: `Ich mag
    Tee` is not read as a claim. A subject that is itself an attribute does not act: `my budget runs
    out` has no claim of this form.
    """
    if not (match := _PLAIN.match(clause)):
        return None
    subject, verb = folded(match["who"]), match["verb"]
    english = subject in ("user", "we") or " 's " in subject or negated or _ENGLISH.fullmatch(verb)
    if not english or subject.rpartition("'s ")[2] in ATTRIBUTES:
        return None
    if match["past"] and re.search(r"[,;]| but ", clause):  # the rest may still hold
        return None
    tense: Tense = "past" if match["past"] else "present"
    return Claim(subject, _stem(verb), match["value"] or "", tense=tense)


def _stem(verb: str) -> str:
    """Return one stem for `eat`, `eats` and `eating`."""
    stem = re.sub(r"(?<!s)s$|ing$", "", verb)
    stem = re.sub(r"e$", "", stem)
    return re.sub(r"y$", "i", re.sub(r"([^aeiou])\1$", r"\1", stem))
