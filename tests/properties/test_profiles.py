"""Import of profiles: every entry becomes a memory, is known already, or is reported."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.memory.brain.owners import Entity
from graphs.memory.brain.profiles import (
    MARK,
    Profile,
    memories_of,
    slug_of,
)

SLUG = re.compile(r"[a-z][a-z0-9_]{0,127}")
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
entities = st.sampled_from(["user", "company"])


def contents(entity: Entity, entries: dict[str, Any], name: str | None = None) -> dict[str, str]:
    memories, problems = memories_of(entity, Profile("x", name, entries))
    assert problems == []
    return {memory.slug: memory.content for memory in memories}


@given(
    entities,
    st.dictionaries(st.text(max_size=150), values, max_size=6),
    st.none() | st.text(max_size=8),
)
def test_no_entry_is_lost_without_a_word(
    entity: Entity, entries: dict[str, Any], name: str | None
) -> None:
    memories, problems = memories_of(entity, Profile("x", name, entries))
    slugs = [memory.slug for memory in memories]
    assert len(set(slugs)) == len(slugs)
    assert all(SLUG.fullmatch(slug) and slug.startswith(f"{entity}_") for slug in slugs)
    assert all(memory.content.strip() and memory.metadata == MARK for memory in memories)
    told = [memories_of(entity, Profile("x", None, {"k": value})) for value in entries.values()]
    said = [
        alone for alone in (*told, memories_of(entity, Profile("x", name))) if alone != ([], [])
    ]
    assert len(memories) + len(problems) == len(said)


@given(
    entities,
    st.from_regex(r"[a-z0-9]+(_[a-z0-9]+){0,5}", fullmatch=True).filter(
        lambda key: len(key) <= 100
    ),
)
def test_a_key_in_slug_form_stays_as_it_is(entity: Entity, key: str) -> None:
    assert slug_of(entity, key) == f"{entity}_{key}"


@pytest.mark.parametrize(
    "key", ["taxRegime", "Tax régime", "tax-regime", "TAX REGIME", " tax.regime? ", "tax__regime"]
)
def test_spellings_of_a_key_are_one_slug(key: str) -> None:
    assert slug_of("company", key) == "company_tax_regime"


@pytest.mark.parametrize("key", ["", "???", "日本", "ωmega", "x" * 200, "a\0b\ud800 " + "x" * 200])
def test_a_key_that_makes_no_slug_is_told_without_what_it_holds(key: str) -> None:
    memories, [problem] = memories_of("user", Profile("x", None, {key: "My secret.", "dog": "Rex"}))
    assert [memory.slug for memory in memories] == ["user_dog"]
    assert "makes no slug" in problem.reason
    assert "secret" not in str(problem)
    assert len(problem.slug) <= 200
    problem.slug.encode()


def test_values_are_written_out_as_people_read_them() -> None:
    entries = {
        "vip": True,
        "age": 41,
        "likes": ["tea", "robots"],
        "address": {"street": "Main 1", "zip_code": "123", "floor": None},
        "dogs": [{"name": "Rex", "age": 3}, {"name": "Fido"}],
    }
    assert contents("user", entries, " Ann Lee ") == {
        "user_full_name": "Ann Lee",
        "user_vip": "yes",
        "user_age": "41",
        "user_likes": "tea, robots",
        "user_address": "street: Main 1, zip code: 123",
        "user_dogs": "(name: Rex, age: 3), (name: Fido)",
    }
    assert contents("company", {}, "Acme") == {"company_name": "Acme"}


@pytest.mark.parametrize("empty", [None, "", " \n", [], {}, [None, ""], {"a": {"b": []}}])
def test_what_is_empty_is_nothing_known_and_no_problem(empty: Any) -> None:
    assert contents("user", {"dog": empty}) == {}


def test_of_two_entries_with_one_slug_the_first_counts_and_the_other_is_told() -> None:
    memories, problems = memories_of(
        "user", Profile("x", "Ann Lee", {"full_name": "Ann Bee", "A b": "1", "a_b": "2"})
    )
    assert {memory.slug: memory.content for memory in memories} == {
        "user_full_name": "Ann Lee",
        "user_a_b": "1",
    }
    assert [problem.slug for problem in problems] == ["user_full_name", "user_a_b"]


def test_what_cannot_be_stored_or_is_nested_too_deep_is_told() -> None:
    deep = json.loads("[" * 30 + "1" + "]" * 30)
    memories, problems = memories_of(
        "user", Profile("x", "Ann\0", {"deep": deep, "half": "\ud800", "dog": "Rex"})
    )
    assert [memory.slug for memory in memories] == ["user_dog"]
    assert [problem.slug for problem in problems] == ["user_full_name", "user_deep", "user_half"]
