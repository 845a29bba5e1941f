"""Keep facts true: what a new fact means for those that are known. Pure, deterministic, no I/O.

A fact is a short sentence about somebody, as the extraction makes them. Rules decide where they understand both
sentences whole (`claims.py`); what they cannot settle is named as `unsure`, for a judge (`judging.py`), and stays
untouched until one has spoken. To retire what is still true is much worse than to keep what is not: in doubt, keep.

The rules are English. A sentence in another language is a duplicate of the same words, and else new or unsure.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from graphs.memory.facts.claims import Claim, ParsedSentence, read
from graphs.memory.facts.values import ValueRelation, compared, fits
from graphs.memory.facts.wording import folded, with_amount_of

Verdict = Literal["new", "duplicate", "supersedes", "past"]

Ruling = Literal["duplicate", "supersedes", "compatible", "unrelated"]
"""What a judge says of a known fact: the new one says the same, takes its place, holds beside it, has other matter."""

LOOKS_ALIKE = 0.75
"""From which cosine similarity on two facts may concern one another though no rule sees how."""

NEARLY_THE_SAME = 0.9
"""The same for two facts that rules understand, and find nothing in common in."""

SHARED = 0.5
"""The same as a share of the words of the shorter one."""

RECENT = timedelta(hours=1)
"""How long after a fact "now 120k" may still mean it."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence, its key in the store, and when it was said (with a time zone)."""

    key: str
    content: str
    said_at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """A fact that is kept, and how near the new one is to it (cosine; None if it was not measured)."""

    fact: Fact
    similarity: float | None = None
    past: bool = False
    """It holds no longer: it was superseded, or kept as past. Then it only tells what would be kept twice."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a new fact and of known ones. No known fact changes that is not in `retires`."""

    verdict: Verdict
    """`new`: keep it beside the others. `duplicate`: store nothing; the first of `about` says it already, and stays.
    `supersedes`: keep it. `past`: keep it as one that no longer holds."""
    reason: str
    """Why, in a few words, for the audit record."""
    about: tuple[str, ...] = ()
    """Keys of the known facts that decided it, oldest first."""
    retires: tuple[str, ...] = ()
    """Keys of the known facts that go to history: they held until `held_from`, if that is known and after they were
    said, else until the new fact was said."""
    unsure: tuple[str, ...] = ()
    """Keys of known facts that a judge should compare with the new one, oldest first."""
    held_from: datetime | None = None
    """Since when the new fact holds, if the sentence says so."""
    held_until: datetime | None = None
    """Until when it held: as the sentence says, or when the fact that took its place was said."""
    content: str | None = None
    """What to keep instead of a sentence that does not say what it is about: of "now 120k", "My budget is 120k"."""


def decide(new: Fact, known: Sequence[Known]) -> Decision:
    """Return what a new fact means for the known facts of the same person.

    Args:
        new: the fact; its key is not looked at.
        known: in any order, those nearest to it or with words in common. With those that hold no longer (`past`) a fact
            that comes in twice is known again though it was superseded meanwhile; without them it is kept twice.
    """
    statement = read(new.content, new.said_at)
    ordered = sorted(known, key=lambda other: (other.fact.said_at, other.fact.key))
    return (
        _of_amount(statement, new, ordered)
        if statement.amount
        else _decided(statement, new, ordered)
    )


def settled(decision: Decision, rulings: Mapping[str, Ruling]) -> Decision:
    """Return a decision with what a judge ruled on the facts it was unsure of. On others a judge has no say.

    Args:
        decision: from `decide`.
        rulings: by key, from a `Judge`.
    """
    ruled = {key: rulings[key] for key in decision.unsure if key in rulings}
    same = tuple(key for key, ruling in ruled.items() if ruling == "duplicate")
    retired = tuple(key for key, ruling in ruled.items() if ruling == "supersedes")
    left = tuple(key for key in decision.unsure if key not in ruled)
    verdict, reason, about = decision.verdict, decision.reason, decision.about
    if verdict == "new" and same:
        verdict, reason, about = "duplicate", "judged to say the same", same
    elif verdict == "new" and retired:
        verdict, reason = "supersedes", "judged to take the place of what is known"
    if verdict == "supersedes":
        about = (*about, *retired)
    retires = (*decision.retires, *retired)
    return replace(
        decision, verdict=verdict, reason=reason, about=about, retires=retires, unsure=left
    )


def _decided(statement: ParsedSentence, new: Fact, ordered: Sequence[Known]) -> Decision:
    found: dict[ValueRelation, list[Fact]] = {"same": [], "replaced": [], "unsure": [], "apart": []}
    for other in ordered:
        relation = (
            _in_the_past(statement, new, other) if other.past else _relation(statement, new, other)
        )
        at_once = other.fact.said_at == new.said_at and not statement.changed
        # Of what was said in one breath nobody knows the order, unless it speaks of a change itself.
        found["unsure" if relation == "replaced" and at_once else relation].append(other.fact)
    return _decision(statement, new, found)


def _decision(
    statement: ParsedSentence, new: Fact, found: dict[ValueRelation, list[Fact]]
) -> Decision:
    """Put together what the known facts are to the new one."""
    held_from, held_until = statement.held_from, statement.held_until
    newer = [fact for fact in found["replaced"] if fact.said_at > new.said_at]
    retired = _keys([fact for fact in found["replaced"] if fact.said_at <= new.said_at])
    unsure = _keys([fact for fact in found["unsure"] if fact.said_at <= new.said_at])
    if found["same"]:
        said_anew = all(fact.said_at < new.said_at for fact in found["same"]) and not newer
        return Decision(
            "duplicate", "says the same", _keys(found["same"]), retired if said_anew else ()
        )
    if (
        statement.past and statement.claim and not statement.claim.negated
    ):  # that it never was holds to this day
        return Decision(
            "past", "says that it held in the past", (), (), unsure, held_from, held_until
        )
    if newer:
        until = held_until or newer[0].said_at
        return Decision("past", "something newer is known", _keys(newer), (), (), held_from, until)
    if retired:
        return Decision(
            "supersedes", _why(statement.claim), retired, retired, unsure, held_from, held_until
        )
    reason = "may concern what is known" if unsure else "nothing known says the same or otherwise"
    return Decision("new", reason, (), (), unsure, held_from, held_until)


def _keys(facts: Sequence[Fact]) -> tuple[str, ...]:
    return tuple(fact.key for fact in facts)


def _why(claim: Claim | None) -> str:
    if claim is None or claim.single == "never" or claim.negated:
        return "says the opposite"
    return f"another value of {claim.attribute}"


# One new fact, one known


def _in_the_past(new: ParsedSentence, fact: Fact, other: Known) -> ValueRelation:
    """Whether a fact comes in again that is past. Who says the same later says that it holds again."""
    again = new.words == _read(other.fact).words and (
        new.past or fact.said_at == other.fact.said_at
    )
    return "same" if again else "apart"


def _relation(new: ParsedSentence, fact: Fact, other: Known) -> ValueRelation:
    old = _read(other.fact)
    if new.words == old.words:
        return "same"
    if not new.asserted and old.asserted:
        return "apart"  # what is only thought of changes nothing that is so; another thought may be another's end
    a, b = new.claim, old.claim
    if not new.asserted or not old.asserted or a is None or b is None:
        return _by_looks(new, old, other.similarity, LOOKS_ALIKE)
    if a.subject != b.subject:
        return "apart"
    if a.attribute != b.attribute and not _opposed(a, b):
        if a.kind != "any" and b.kind != "any":
            return "apart"
        return _by_looks(
            new, old, other.similarity, LOOKS_ALIKE if new.changed else NEARLY_THE_SAME
        )
    relation = _of_claims(new, a, old, b)
    doubtful = not _is_one(a.subject, new.changed) or (
        a.tense == "change" and _began(new, fact) < other.fact.said_at
    )
    return "unsure" if doubtful and relation in ("same", "replaced") else relation


def _of_claims(new: ParsedSentence, a: Claim, old: ParsedSentence, b: Claim) -> ValueRelation:
    """The relation of two claims of one attribute of one subject."""
    if _opposed(a, b):
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
    return "unsure" if _content(denied.value) <= _content(claimed.value) else "apart"


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


def _opposed(a: Claim, b: Claim) -> bool:
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


def _is_one(subject: str, changed: bool) -> bool:
    """Whether two sentences of this subject are about the same one: of two brothers each may live somewhere else."""
    owner, *relatives = subject.split(" 's ")
    if owner in _NOBODY:
        return False
    return all(name in _UNIQUE or (name in _FEW and changed) for name in relatives)


def _began(new: ParsedSentence, fact: Fact) -> datetime:
    return new.held_from or fact.said_at


_EMPTY = frozenset(
    "user we a an the 's be have do not of in on at to for from by with and or it now".split()
)


def _content(words: str) -> set[str]:
    return set(re.findall(r"[\w@.]*\w", folded(words))) - _EMPTY


def _by_looks(
    new: ParsedSentence, old: ParsedSentence, similarity: float | None, threshold: float
) -> ValueRelation:
    """Whether a judge should look at two sentences of which the rules do not understand one."""
    ours, theirs = _content(new.words), _content(old.words)
    shared = len(ours & theirs) / max(min(len(ours), len(theirs)), 1)
    alike = (similarity or 0) >= threshold or (threshold == LOOKS_ALIKE and shared >= SHARED)
    return "unsure" if alike else "apart"


# A sentence that says how much, but not of what


def _of_amount(statement: ParsedSentence, new: Fact, ordered: Sequence[Known]) -> Decision:
    """Now 120k: it means the one amount that was spoken of just before, if there was only one."""
    before = [
        (other.fact, old)
        for other in ordered
        if not other.past
        and other.fact.said_at <= new.said_at
        and re.search(r"\d", (old := _read(other.fact)).words)
    ]
    again = [
        other.fact
        for other in ordered
        if not other.past and _read(other.fact).words == statement.words
    ]
    if again:
        return Decision("duplicate", "says the same", _keys(again))
    recent = [(fact, old) for fact, old in before if new.said_at - fact.said_at <= RECENT]
    if len(recent) == 1 and (content := _restated(new, *recent[0])):
        decision = _decided(replace(read(content, new.said_at), changed=True), new, ordered)
        if decision.verdict != "new":
            return replace(decision, content=content)
    unsure = _keys([fact for fact, _ in recent or before])
    return Decision("new", "says how much, but not of what", (), (), unsure)


def _restated(new: Fact, fact: Fact, old: ParsedSentence) -> str | None:
    """What the new fact says, in the words of the one it speaks of, if that has an amount that can change."""
    claim = old.claim
    if (
        not claim
        or not old.asserted
        or old.past
        or claim.negated
        or claim.kind != "amount"
        or claim.attribute == "age"
    ):
        return None
    return with_amount_of(fact.content, new.content)


def _read(fact: Fact) -> ParsedSentence:
    return read(fact.content, fact.said_at)
