"""The scoring rule of applications."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.agents.robotics.scoring import (
    APPROVED_FROM,
    DECLINED_BELOW,
    Inputs,
    score,
)

SOUND = Inputs(60_000, 48, 12_000, annual_revenue=1_200_000, years_in_business=6, list_price=60_000)

amounts = st.floats(0.01, 1e9)
inputs = st.builds(
    Inputs,
    amount=amounts,
    term_months=st.integers(1, 120),
    down_payment=st.floats(0, 1e9),
    annual_revenue=st.none() | st.floats(0, 1e11),
    years_in_business=st.none() | st.floats(0, 300),
    list_price=st.none() | amounts,
)


def points(of: Inputs) -> dict[str, float]:
    return {component.component: component.points for component in score(of).components}


def test_a_sound_application_gets_everything_and_one_of_which_nothing_is_known_gets_nothing() -> (
    None
):
    assert (score(SOUND).value, score(SOUND).decision) == (100, "approved")
    unknown = score(Inputs(60_000, 48))
    assert (unknown.value, unknown.decision) == (0, "submitted")
    assert unknown.missing == ("annual revenue", "years in business")


@pytest.mark.parametrize(
    ("changed", "component", "expected"),
    [
        ({"annual_revenue": 80_000}, "affordability", 20),  # 1,000 a month is 15 % of revenue
        ({"annual_revenue": 48_000}, "affordability", 0),
        ({"annual_revenue": 0.0}, "affordability", 0),
        ({"years_in_business": 2.5}, "experience", 10),
        ({"down_payment": 6_000}, "own share", 10),
        ({"list_price": 48_000}, "collateral", 10),
        ({"list_price": None}, "collateral", 0),
    ],
)
def test_a_component_has_the_points_that_the_rule_says(
    changed: Any, component: str, expected: float
) -> None:
    assert points(replace(SOUND, **changed))[component] == expected


def test_what_is_known_and_bad_is_declined_and_what_is_between_waits_for_a_person() -> None:
    bad = Inputs(500_000, 12, 0, annual_revenue=200_000, years_in_business=1)
    assert score(bad).decision == "declined"
    assert score(replace(bad, years_in_business=None)).decision == "submitted"
    middling = replace(SOUND, years_in_business=1, down_payment=0, list_price=None)
    assert DECLINED_BELOW <= score(middling).value < APPROVED_FROM
    assert score(middling).decision == "submitted"


@given(inputs)
def test_a_score_is_bounded_and_its_reasons_add_up_to_it(of: Inputs) -> None:
    scored = score(of)
    assert 0 <= scored.value <= 100
    assert scored.value == round(sum(reason["points"] for reason in scored.reasons), 1)
    assert sum(component.most for component in scored.components) == 100
    for component in scored.components:
        assert 0 <= component.points <= component.most
        assert component.because


@pytest.mark.parametrize(
    "field", ["down_payment", "annual_revenue", "years_in_business", "list_price"]
)
@given(of=inputs, more=st.floats(0, 1e9))
def test_more_of_what_helps_never_lowers_a_score(field: str, of: Inputs, more: float) -> None:
    before = getattr(of, field)
    changed: Any = {field: (before or 0.01) + more}
    assert score(replace(of, **changed)).value >= score(of).value


@given(of=inputs, share=st.floats(0.01, 1))
def test_a_smaller_amount_never_lowers_a_score(of: Inputs, share: float) -> None:
    assert score(replace(of, amount=of.amount * share)).value >= score(of).value
