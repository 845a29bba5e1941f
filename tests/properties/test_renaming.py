"""Renamed namespaces: nothing gets lost, and a search covers every source of its scope."""

import re

from hypothesis import given
from hypothesis import strategies as st

from graphs.memory.errors import InvalidValue
from graphs.operations.migration.renaming import Renaming, Rule

LABELS = st.sampled_from(["users", "memories", "ada", "a+b", "(x|y)", "%"])
NAMESPACES = st.lists(LABELS, min_size=1, max_size=4).map(tuple)
RULES = [
    "memories.{user}=users.{user}.memories",
    "{user}.{what}=users.{user}.{what}",
    "memories=orgs.all",
    "{any}={any}",
]


@given(st.lists(st.sampled_from(RULES), max_size=3), NAMESPACES, st.integers(1, 3))
def test_a_scope_here_covers_all_that_comes_into_it(
    rules: list[str], namespace: tuple[str, ...], depth: int
) -> None:
    renaming = Renaming(tuple(map(Rule.parse, rules)))
    try:
        renamed = renaming.apply(namespace)
    except InvalidValue:
        return
    assert re.search(renaming.pattern(renamed[:depth]), ".".join(namespace))


@given(st.sampled_from(RULES), NAMESPACES, NAMESPACES)
def test_a_rule_makes_no_two_namespaces_one(
    rule: str, one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    renamed = Rule.parse(rule).apply(one)
    assert (renamed is not None and renamed == Rule.parse(rule).apply(other)) <= (one == other)
