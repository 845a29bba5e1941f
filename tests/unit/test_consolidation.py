"""Consolidation by rules alone: the effect of a new fact on known facts."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.memory.facts.consolidation import (
    Decision,
    Fact,
    Known,
    Ruling,
    decide,
    settled,
)
from tests.support.confusion import Confusion
from tests.unit.consolidation_cases import HELD_OUT, NOW, SOON, THEN, TUNED, Case


def decided(case: Case) -> Decision:
    known = [Known(Fact("known", case.known, THEN), case.similarity)]
    known += [
        Known(Fact(f"beside {n}", content, THEN), 0.3) for n, content in enumerate(case.beside)
    ]
    return decide(Fact("new", case.new, THEN + case.after), known)


def outcome(decision: Decision) -> str:
    return "unsure" if decision.verdict == "new" and decision.unsure else decision.verdict


def confusion(cases: list[Case]) -> Confusion:
    return Confusion((case.expected, outcome(decided(case))) for case in cases)


def facts(*contents: str, said_at: datetime = THEN) -> list[Known]:
    return [Known(Fact(content, content, said_at), 0.8) for content in contents]


def new(content: str, said_at: datetime = NOW) -> Fact:
    return Fact("new", content, said_at)


@pytest.mark.parametrize("case", TUNED, ids=lambda case: f"{case.known} → {case.new}")
def test_what_becomes_of_two_facts(case: Case) -> None:
    decision = decided(case)
    assert outcome(decision) == case.expected, decision.reason
    assert not {key for key in (*decision.about, *decision.retires) if key.startswith("beside")}
    assert decision.retires == (("known",) if case.expected == "supersedes" else ())


def test_what_was_held_out_is_decided_nearly_as_well(
    record_property: Callable[[str, object], None],
) -> None:
    tuned, held_out = confusion(TUNED), confusion(HELD_OUT)
    record_property(
        "facts that the rules were made with, and what was decided", "\n".join(tuned.lines())
    )
    record_property("facts that were held out, and what was decided", "\n".join(held_out.lines()))
    assert min(held_out.recall(verdict) for verdict in held_out.verdicts) >= 0.95


@pytest.mark.parametrize("verdict", ["supersedes", "duplicate"])
def test_nothing_is_retired_or_merged_by_mistake(verdict: str) -> None:
    assert confusion(TUNED).precision(verdict) == 1
    assert confusion(HELD_OUT).precision(verdict) == 1


def test_the_oldest_of_several_that_say_the_same_stays() -> None:
    older, newer = Fact("b", "I like tea", THEN), Fact("a", "User likes tea", THEN + SOON)
    decision = decide(new("I like tea."), [Known(newer), Known(older)])
    assert (decision.verdict, decision.about, decision.retires) == ("duplicate", ("b", "a"), ())


def test_what_is_said_again_takes_the_place_of_what_was_said_between() -> None:
    known = [
        Known(Fact("80k", "My budget is 80k", THEN)),
        Known(Fact("120k", "My budget is 120k", THEN + SOON)),
    ]
    decision = decide(new("My budget is 80k"), known)
    assert (decision.verdict, decision.about, decision.retires) == (
        "duplicate",
        ("80k",),
        ("120k",),
    )
    assert decide(new("My budget is 80k", THEN), known).retires == ()


def test_a_fact_that_comes_in_twice_retires_nothing_the_second_time() -> None:
    known = [
        Known(Fact("70k", "My budget is 70k", THEN)),
        Known(Fact("80k", "My budget is 80k", NOW)),
    ]
    assert decide(new("My budget is 80k", NOW), known) == Decision(
        "duplicate", "says the same", ("80k",)
    )


def test_all_values_that_an_attribute_had_are_superseded() -> None:
    decision = decide(
        new("My budget is now 120k"),
        facts("My budget is 80k", "My budget is 90k", "I live in Lyon"),
    )
    assert set(decision.retires) == {"My budget is 80k", "My budget is 90k"}


def test_a_sentence_says_when_a_fact_holds() -> None:
    def day(year: int, month: int = 1, day: int = 1) -> datetime:
        return datetime(year, month, day, tzinfo=UTC)

    spans = {
        "My budget was 50k in 2019": (day(2019), day(2020)),
        "I lived in Rome from 2015 to March 2020": (day(2015), day(2020, 4)),
        "I lived in Rome until 2021": (None, day(2021)),
        "I moved to Berlin in July 2024": (day(2024, 7), None),
        "I have lived in Lyon since 2020": (day(2020), None),
        "I worked at Siemens in 2024": (day(2024), NOW),
        "I used to live in Rome": (None, None),
        "I live in Lyon": (None, None),
    }
    for content, span in spans.items():
        decision = decide(new(content), [])
        assert (decision.held_from, decision.held_until) == span, content


def test_what_arrives_late_held_until_the_newer_fact_was_said() -> None:
    decision = decide(new("My budget is 80k", THEN), facts("My budget is 120k", said_at=NOW))
    assert (decision.verdict, decision.about, decision.held_until) == (
        "past",
        ("My budget is 120k",),
        NOW,
    )


@pytest.mark.parametrize("content", ["My budget is 80k", "I used to live in Rome"])
def test_a_fact_that_is_past_is_not_kept_twice(content: str) -> None:
    past, current = (
        Known(Fact("past", content, THEN), past=True),
        Known(Fact("now", "My budget is 120k", NOW)),
    )
    decision = decide(new(content, THEN), [past, current])
    assert (decision.verdict, decision.about, decision.retires) == ("duplicate", ("past",), ())


def test_what_is_past_may_hold_again() -> None:
    past, current = (
        Known(Fact("past", "I live in Lyon", THEN), past=True),
        Known(Fact("now", "I live in Oslo", THEN + SOON)),
    )
    decision = decide(new("I live in Lyon"), [past, current])
    assert (decision.verdict, decision.retires) == ("supersedes", ("now",))


@pytest.mark.parametrize(
    ("known", "amount", "kept"),
    [
        ("My budget is 80k.", "now it's $120k", "My budget is $120k."),
        ("My budget is $80k per month", "make it 120k", "My budget is $120k per month"),
        ("User's rent is 900 euros", "now 950", "User's rent is 950 euros"),
    ],
)
def test_an_amount_alone_is_kept_with_what_it_is_an_amount_of(
    known: str, amount: str, kept: str
) -> None:
    decision = decide(new(amount, THEN + SOON), facts(known, "I live in Lyon"))
    assert (decision.retires, decision.content) == ((known,), kept)


def test_an_amount_alone_that_arrives_late_leaves_the_newer_one_alone() -> None:
    known = [
        Known(Fact("80k", "My budget is 80k", THEN)),
        Known(Fact("200k", "My budget is 200k", NOW)),
    ]
    decision = decide(new("now 120k", THEN + SOON), known)
    assert (decision.verdict, decision.retires, decision.held_until) == ("past", (), NOW)


def test_an_amount_alone_of_nothing_known_is_new() -> None:
    assert decide(new("now 120k"), facts("I live in Lyon")) == Decision(
        "new", "names an amount without its attribute"
    )


def test_what_looks_alike_is_left_to_a_judge() -> None:
    near, far = (
        Known(Fact("near", "Der Himmel", THEN), 0.9),
        Known(Fact("far", "Die Erde", THEN), 0.2),
    )
    assert decide(new("Das Meer"), [near, far]).unsure == ("near",)


def test_a_newer_fact_is_never_put_to_a_judge() -> None:
    assert (
        decide(new("I live in Kreuzberg", THEN), facts("I live in Berlin", said_at=NOW)).unsure
        == ()
    )


def test_a_text_too_long_to_be_a_fact_is_compared_by_its_words_alone() -> None:
    menu = "meat and " * 50
    assert decide(new(f"I no longer eat {menu}"), facts(f"I eat {menu}")).retires == ()
    assert decide(new(f"I eat {menu}"), facts(f"I eat {menu}")).verdict == "duplicate"


# Verdicts of a judge


def ruled(new_content: str, rulings: Mapping[str, Ruling], *known: str) -> Decision:
    return settled(decide(new(new_content), facts(*known)), rulings)


def test_a_judge_settles_what_was_unsure() -> None:
    assert ruled(
        "I live in Kreuzberg", {"I live in Lyon": "supersedes"}, "I live in Lyon"
    ).retires == ("I live in Lyon",)
    same = ruled("I live in Kreuzberg", {"I live in Berlin": "duplicate"}, "I live in Berlin")
    assert (same.verdict, same.about, same.retires) == ("duplicate", ("I live in Berlin",), ())
    kept = ruled("I live in Kreuzberg", {"I live in Berlin": "compatible"}, "I live in Berlin")
    assert (kept.verdict, kept.retires, kept.unsure) == ("new", (), ())


def test_a_judge_has_no_say_in_what_rules_have_settled() -> None:
    decision = decide(new("I like coffee"), facts("I like tea"))
    assert settled(decision, {"I like tea": "supersedes"}) == decision


def test_what_held_in_the_past_stays_past_when_a_judge_retires_what_it_ended() -> None:
    decision = ruled("I used to live in Lyon", {"I live in Lyon": "supersedes"}, "I live in Lyon")
    assert (decision.verdict, decision.retires) == ("past", ("I live in Lyon",))


def test_without_a_ruling_it_stays_unsure() -> None:
    decision = decide(new("I live in Kreuzberg"), facts("I live in Berlin"))
    assert settled(decision, {}) == decision


# Rules for all facts

SENTENCES = st.one_of(
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["My", "User's", "Anna's", "My brother's", "The company's", "Ben's"]),
        st.sampled_from(
            [
                " budget",
                " work email",
                " birthday",
                " favorite color",
                " car",
                " job title",
                " name",
            ]
        ),
        st.sampled_from([" is ", " is now ", " was ", " is not ", " changed to ", " used to be "]),
        st.sampled_from(
            [
                "80k",
                "120k",
                "$90",
                "a@b.com",
                "May 4",
                "June 1990",
                "blue",
                "a BMW",
                "Anna",
                "in 2019",
            ]
        ),
    ),
    st.builds(
        "{} {} {}{}".format,
        st.sampled_from(["I", "User", "Anna", "My wife", "We", "She"]),
        st.sampled_from(
            [
                "live in",
                "lives in",
                "moved to",
                "no longer like",
                "likes",
                "don't eat",
                "prefer",
                "work at",
            ]
        ),
        st.sampled_from(["Berlin", "Lyon", "tea", "meat", "tea over coffee", "Bosch", "France"]),
        st.sampled_from(["", " now", " in 2019", " since 2020", " any more", "?"]),
    ),
    st.sampled_from([case.known for case in TUNED] + [case.new for case in TUNED]),
    st.text(max_size=40),
)
MOMENTS = st.integers(0, 5).map(lambda n: THEN + n * timedelta(minutes=40))
FACTS = st.lists(st.tuples(SENTENCES, MOMENTS), max_size=5).map(
    lambda said: [Known(Fact(f"k{n}", content, at), 0.8) for n, (content, at) in enumerate(said)]
)


@given(SENTENCES, MOMENTS, FACTS)
def test_a_decision_names_known_facts_only_and_does_not_depend_on_their_order(
    content: str, said_at: datetime, known: list[Known]
) -> None:
    decision = decide(new(content, said_at), known)
    keys = {other.fact.key for other in known}
    newer = {other.fact.key for other in known if other.fact.said_at > said_at}
    assert {*decision.about, *decision.retires, *decision.unsure} <= keys
    assert not {*decision.retires, *decision.unsure} & newer
    assert not {*decision.retires} & {*decision.unsure}
    assert decide(new(content, said_at), known[::-1]) == decision
    assert decide(new(content, said_at), known) == decision


@given(SENTENCES, MOMENTS, MOMENTS, FACTS)
def test_a_fact_that_is_known_is_a_duplicate_whenever_it_is_said(
    content: str, first: datetime, again: datetime, known: list[Known]
) -> None:
    decision = decide(new(content, again), [*known, Known(Fact("same", content, first))])
    assert decision.verdict == "duplicate"
    assert "same" in decision.about


@given(st.data(), MOMENTS, MOMENTS)
def test_facts_about_different_subjects_leave_one_another_alone(
    data: st.DataObject, first: datetime, then: datetime
) -> None:
    subjects = [
        ("My", "I"),
        ("Anna's", "Anna"),
        ("My wife's", "My wife"),
        ("Ben Meier's", "Ben Meier"),
    ]
    (whose, who), (others, other) = data.draw(st.permutations(subjects))[:2]
    what = data.draw(
        st.sampled_from(
            ["{0} budget is {2}k", "{1} moved to {3}", "{1} no longer likes {4}", "{1} likes {4}"]
        )
    )
    pick = [
        data.draw(st.sampled_from(v))
        for v in ((80, 120), ("Lyon", "Berlin"), ("tea", "it"))
        for _ in "ab"
    ]
    known = Known(Fact("known", what.format(whose, who, *pick[::2]), first), 0.95)
    decision = decide(new(what.format(others, other, *pick[1::2]), then), [known])
    assert decision.verdict in ("new", "past")
    assert decision.retires == ()


@given(st.lists(st.tuples(SENTENCES, MOMENTS), max_size=6))
def test_adding_facts_again_changes_nothing(said: list[tuple[str, datetime]]) -> None:
    kept: dict[str, Known] = {}

    def add(fact: Fact) -> Decision:
        decision = decide(fact, list(kept.values()))
        for key in decision.retires:
            kept[key] = replace(kept[key], past=True)
        if decision.verdict != "duplicate":
            stored = replace(fact, content=decision.content or fact.content)
            kept[fact.key] = Known(stored, past=decision.verdict == "past")
        return decision

    for n, (content, said_at) in enumerate(said):
        add(Fact(str(n), content, said_at))
    before = dict(kept)
    for known in before.values():
        assert add(replace(known.fact, key="again")).verdict == "duplicate"
    assert kept == before
