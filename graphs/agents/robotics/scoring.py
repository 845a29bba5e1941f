"""Scores of applications for financing: a pure function from inputs to points and reasons.

A score is the sum of four components, each from 0 to its most, in steps of a tenth:

| component     | most | all of it                             | none of it                        |
|---------------|-----:|---------------------------------------|-----------------------------------|
| affordability |   40 | payments are 5 % of revenue or less   | 25 % or more, or revenue unknown  |
| experience    |   20 | 5 years in business or more           | none, or unknown                  |
| own share     |   20 | 20 % of the price is paid down        | nothing is                        |
| collateral    |   20 | 80 % of the list price is financed    | 120 % or more, or no robot named  |

Between these two values a component is linear. A payment is the financed amount divided by the
months of the term, without interest, and is compared with a month of revenue. From 70 points an
application is approved. Below 40 it is declined, unless an input is unknown. All others stay
submitted, for a person to decide. More revenue, more years, a larger down payment, a higher list
price and a smaller amount never lower a score.

The rule is an example in the manner of lenders' scorecards; its numbers are nobody's policy.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

RULE = "robotics-1"
"""Name of this version of the rule, stored with every score."""

AFFORDABILITY, EXPERIENCE, OWN_SHARE, COLLATERAL = 40, 20, 20, 20
APPROVED_FROM, DECLINED_BELOW = 70, 40

ScoringDecision = Literal["approved", "submitted", "declined"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs of a score. Amounts are US dollars; None is not known."""

    amount: float
    """Price of the purchase, more than 0."""
    term_months: int
    down_payment: float = 0
    annual_revenue: float | None = None
    years_in_business: float | None = None
    list_price: float | None = None
    """List price of the robot in the catalogue."""

    @property
    def financed(self) -> float:
        """Return the amount that is paid in monthly rates."""
        return max(self.amount - self.down_payment, 0)

    @property
    def monthly_payment(self) -> float:
        """Return the payment each month, without interest."""
        return self.financed / self.term_months


@dataclass(frozen=True, slots=True)
class Component:
    """A part of a score."""

    component: str
    points: float
    most: int
    because: str


@dataclass(frozen=True, slots=True)
class Score:
    """A score from 0 to 100, its decision, and the components that add up to it."""

    value: float
    decision: ScoringDecision
    components: tuple[Component, ...]
    missing: tuple[str, ...]
    """Names of unknown inputs that matter."""

    @property
    def reasons(self) -> list[dict[str, Any]]:
        """Return the components as JSON."""
        return [asdict(component) for component in self.components]


def score(inputs: Inputs) -> Score:
    """Return the score of an application."""
    components = (
        _affordability(inputs),
        _experience(inputs),
        _own_share(inputs),
        _collateral(inputs),
    )
    needed = {
        "annual revenue": inputs.annual_revenue,
        "years in business": inputs.years_in_business,
    }
    missing = tuple(name for name, value in needed.items() if value is None)
    value = round(sum(component.points for component in components), 1)
    return Score(value, _decide(value, bool(missing)), components, missing)


def _decide(value: float, something_is_missing: bool) -> ScoringDecision:
    if value >= APPROVED_FROM:
        return "approved"
    return "declined" if value < DECLINED_BELOW and not something_is_missing else "submitted"


def _affordability(inputs: Inputs) -> Component:
    if inputs.annual_revenue is None:
        return Component("affordability", 0.0, AFFORDABILITY, "annual revenue is not known")
    if inputs.annual_revenue <= 0:
        return Component("affordability", 0.0, AFFORDABILITY, "there is no revenue to pay from")
    burden = inputs.monthly_payment * 12 / inputs.annual_revenue
    points = _points(burden, none_at=0.25, full_at=0.05, most=AFFORDABILITY)
    because = (
        f"${inputs.monthly_payment:,.0f} a month is {burden:.1%} of revenue (5% or less is best)"
    )
    return Component("affordability", points, AFFORDABILITY, because)


def _experience(inputs: Inputs) -> Component:
    if inputs.years_in_business is None:
        return Component("experience", 0.0, EXPERIENCE, "years in business are not known")
    points = _points(inputs.years_in_business, none_at=0, full_at=5, most=EXPERIENCE)
    return Component(
        "experience",
        points,
        EXPERIENCE,
        f"{inputs.years_in_business:g} years in business (5 or more is best)",
    )


def _own_share(inputs: Inputs) -> Component:
    share = min(inputs.down_payment / inputs.amount, 1)
    points = _points(share, none_at=0, full_at=0.2, most=OWN_SHARE)
    return Component(
        "own share", points, OWN_SHARE, f"{share:.0%} is paid down (20% or more is best)"
    )


def _collateral(inputs: Inputs) -> Component:
    if not inputs.list_price:
        return Component(
            "collateral", 0.0, COLLATERAL, "no robot of the catalogue is named as collateral"
        )
    loan_to_value = inputs.financed / inputs.list_price
    points = _points(loan_to_value, none_at=1.2, full_at=0.8, most=COLLATERAL)
    because = f"{loan_to_value:.0%} of the robot's list price is financed (80% or less is best)"
    return Component("collateral", points, COLLATERAL, because)


def _points(value: float, *, none_at: float, full_at: float, most: int) -> float:
    """Return points between 0 and the most, linear between the two values, rounded to tenths."""
    return round(most * min(max((value - none_at) / (full_at - none_at), 0), 1), 1)
