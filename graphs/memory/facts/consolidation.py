"""Consolidation: decide on new facts by comparing them with known ones. Deterministic, no I/O.

A fact is a short sentence about somebody, as extraction returns it. The rules decide only if they
understand both sentences completely (`claims.py`). A known fact that they cannot settle is
`unsure`: a judge (`judging.py`) may rule on it, and until then it stays. To retire a true fact is
much worse than to keep an outdated one: in doubt, facts are kept.

The rules are English. In another language, a sentence is a duplicate of one with the same words.
Otherwise it is new or unsure.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from graphs.memory.facts.claims import Claim, ParsedSentence, read
from graphs.memory.facts.relations import content_words, is_one, of_claims, opposed
from graphs.memory.facts.values import ValueRelation
from graphs.memory.facts.wording import with_amount_of

Verdict = Literal["new", "duplicate", "supersedes", "past"]

Ruling = Literal["duplicate", "supersedes", "compatible", "unrelated"]
"""A judge's ruling on a known fact.

`duplicate`: the new fact says the same. `supersedes`: the new fact takes its place.
`compatible`: both hold. `unrelated`: they are about different things.
"""

LOOKS_ALIKE = 0.75
"""Cosine similarity from which two facts may concern each other although no rule sees how."""

NEARLY_THE_SAME = 0.9
"""Cosine similarity to ask a judge about two facts that the rules understand but cannot relate."""

SHARED = 0.5
"""Share of the shorter fact's words from which two facts may concern each other."""

RECENT = timedelta(hours=1)
"""Age up to which a fact may be the one that `now 120k` refers to."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence, its key in the store, and when it was said (with a time zone)."""

    key: str
    content: str
    said_at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """A stored fact and its cosine similarity to the new one (None if it was not measured)."""

    fact: Fact
    similarity: float | None = None
    past: bool = False
    """The fact no longer holds: it was superseded, or stored as past.

    It then only serves to recognise a fact that comes in twice.
    """


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on a new fact. Of the known facts, only those in `retires` change."""

    verdict: Verdict
    """The action for the new fact.

    `new`: keep it beside the others.
    `duplicate`: store nothing; the first fact of `about` says it already, and stays.
    `supersedes`: keep it. `past`: keep it as a fact that no longer holds.
    """
    reason: str
    """The reason in a few words, for the audit record."""
    about: tuple[str, ...] = ()
    """Keys of the known facts that led to the verdict, oldest first."""
    retires: tuple[str, ...] = ()
    """Keys of the known facts that move to history.

    They held until `held_from`, if that is known and later than they were said.
    Otherwise they held until the new fact was said.
    """
    unsure: tuple[str, ...] = ()
    """Keys of the known facts that a judge should compare with the new one, oldest first."""
    held_from: datetime | None = None
    """Time since which the new fact holds, if the sentence names it."""
    held_until: datetime | None = None
    """Time until which the new fact held.

    It is the one that the sentence names, or when the fact that superseded it was said.
    """
    content: str | None = None
    """The text to store if the sentence names no attribute.

    For `now 120k` it is `My budget is 120k`.
    """


def decide(new: Fact, known: Sequence[Known]) -> Decision:
    """Return the decision on a new fact, given known facts of the same user.

    Args:
        new: the fact; its key is not used.
        known: candidates in any order: the nearest facts, and those with words in common. With
            facts that no longer hold (`past`), a fact that comes in twice is recognised although it
            was superseded meanwhile; without them it is stored twice.
    """
    statement = read(new.content, new.said_at)
    # Oldest first; the key breaks ties, so that equal input gives equal decisions.
    ordered = sorted(known, key=lambda other: (other.fact.said_at, other.fact.key))
    return (
        _of_amount(statement, new, ordered)
        if statement.amount
        else _decided(statement, new, ordered)
    )


def settled(decision: Decision, rulings: Mapping[str, Ruling]) -> Decision:
    """Return a decision completed with a judge's rulings on its unsure facts.

    Rulings on other facts are ignored.

    Args:
        decision: a decision made by `decide`.
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
        verdict, reason = "supersedes", "judged to supersede a known fact"
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
        # Facts said at the same time have no order, unless the new one says that something changed.
        found["unsure" if relation == "replaced" and at_once else relation].append(other.fact)
    return _decision(statement, new, found)


def _decision(
    statement: ParsedSentence, new: Fact, found: dict[ValueRelation, list[Fact]]
) -> Decision:
    """Return the decision that follows from the relation of each known fact to the new one."""
    held_from, held_until = statement.held_from, statement.held_until
    newer = [fact for fact in found["replaced"] if fact.said_at > new.said_at]
    retired = _keys([fact for fact in found["replaced"] if fact.said_at <= new.said_at])
    unsure = _keys([fact for fact in found["unsure"] if fact.said_at <= new.said_at])
    if found["same"]:
        said_anew = all(fact.said_at < new.said_at for fact in found["same"]) and not newer
        return Decision(
            "duplicate", "says the same", _keys(found["same"]), retired if said_anew else ()
        )
    # A past denial is no past fact: that something never was so still holds.
    if statement.past and statement.claim and not statement.claim.negated:
        return Decision(
            "past", "says that it held in the past", (), (), unsure, held_from, held_until
        )
    if newer:
        until = held_until or newer[0].said_at
        return Decision("past", "a newer fact is known", _keys(newer), (), (), held_from, until)
    if retired:
        return Decision(
            "supersedes", _why(statement.claim), retired, retired, unsure, held_from, held_until
        )
    reason = "may concern a known fact" if unsure else "no known fact repeats or contradicts it"
    return Decision("new", reason, (), (), unsure, held_from, held_until)


def _keys(facts: Sequence[Fact]) -> tuple[str, ...]:
    return tuple(fact.key for fact in facts)


def _why(claim: Claim | None) -> str:
    if claim is None or claim.single == "never" or claim.negated:
        return "says the opposite"
    return f"another value of {claim.attribute}"


# The relation of a new fact to one known fact


def _in_the_past(new: ParsedSentence, fact: Fact, other: Known) -> ValueRelation:
    """Return `same` if a fact that no longer holds comes in again, else `apart`.

    The same words said later mean that the fact holds again.
    """
    again = new.words == _read(other.fact).words and (
        new.past or fact.said_at == other.fact.said_at
    )
    return "same" if again else "apart"


def _relation(new: ParsedSentence, fact: Fact, other: Known) -> ValueRelation:
    old = _read(other.fact)
    if new.words == old.words:
        return "same"
    if not new.asserted and old.asserted:
        # A plan or a question changes no fact; it may only end another plan.
        return "apart"
    a, b = new.claim, old.claim
    if not new.asserted or not old.asserted or a is None or b is None:
        return _by_looks(new, old, other.similarity, LOOKS_ALIKE)
    if a.subject != b.subject:
        return "apart"
    if a.attribute != b.attribute and not opposed(a, b):
        if a.kind != "any" and b.kind != "any":
            return "apart"
        return _by_looks(
            new, old, other.similarity, LOOKS_ALIKE if new.changed else NEARLY_THE_SAME
        )
    relation = of_claims(new, a, old, b)
    doubtful = not is_one(a.subject, new.changed) or (
        a.tense == "change" and _began(new, fact) < other.fact.said_at
    )
    return "unsure" if doubtful and relation in ("same", "replaced") else relation


def _began(new: ParsedSentence, fact: Fact) -> datetime:
    return new.held_from or fact.said_at


def _by_looks(
    new: ParsedSentence, old: ParsedSentence, similarity: float | None, threshold: float
) -> ValueRelation:
    """Return `unsure` if two sentences are similar enough to ask a judge, else `apart`.

    For pairs in which the rules find no common claim.
    """
    ours, theirs = content_words(new.words), content_words(old.words)
    shared = len(ours & theirs) / max(min(len(ours), len(theirs)), 1)
    alike = (similarity or 0) >= threshold or (threshold == LOOKS_ALIKE and shared >= SHARED)
    return "unsure" if alike else "apart"


# Amounts without an attribute


def _of_amount(statement: ParsedSentence, new: Fact, ordered: Sequence[Known]) -> Decision:
    """Return the decision on an amount without an attribute, such as `now 120k`.

    It refers to the amount that was mentioned just before, if there was exactly one.
    """
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
    return Decision("new", "names an amount without its attribute", (), (), unsure)


def _restated(new: Fact, fact: Fact, old: ParsedSentence) -> str | None:
    """Return the new amount in the words of the fact that it refers to.

    None if that fact has no amount that can change.
    """
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
