"""Times in sentences: `in 2019`, `since March 2024`, `from 2015 to 2020`. Pure; English."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time. If `over`, it lies in the past, though its end is not known."""

    since: datetime | None
    until: datetime | None
    over: bool = False


_PERIOD = r"(?:19|20)\d\d(?:-\d\d){0,2}"
_TIMES = [
    (re.compile(pattern), how)
    for pattern, how in [
        (rf"(?<!born )(?:back )?(?:in|on) (?P<a>{_PERIOD})", "in"),
        (
            rf"(?:ever )?since (?P<a>{_PERIOD})|(?:as of|starting|effective) (?P<b>{_PERIOD})",
            "since",
        ),
        (rf"(?:until|till|up to) (?P<a>{_PERIOD})", "until"),
        (rf"(?:from|between) (?P<a>{_PERIOD}) (?:to|and|until|till) (?P<b>{_PERIOD})", "span"),
        (
            r"(?P<n>\d+) (?P<unit>year|month|week|day)s? ago|(?:last (?P<last>year|month|week))"
            r"|yesterday",
            "ago",
        ),
        (r"in the past|back then", "over"),
        (r"(?:when|while) user was [\w ]+|as a (?:child|kid|student|teenager)", "over"),
    ]
]


def undated(clause: str, said_at: datetime) -> tuple[str, Span | None]:
    """Return a canonical sentence without the time at its start or end, and that time or None."""
    clause = re.sub(rf"^(.+) in ({_PERIOD}) (was|were) (.+)$", r"\1 \3 \4 in \2", clause)
    for pattern, how in _TIMES:
        first = re.match(rf"(?:{pattern.pattern}),? (?P<rest>.+)$", clause, re.IGNORECASE)
        if match := first or re.match(rf"(?P<rest>.+?),? (?:{pattern.pattern})$", clause):
            return match["rest"], _span(how, match.groupdict(), said_at)
    return clause, None


def _span(how: str, found: dict[str, str | None], said_at: datetime) -> Span:
    first, last = (_bounds(found.get(name), said_at) for name in ("a", "b"))
    begin, end = first or last, last or first
    match how:
        case "in" | "span":
            return Span(begin and begin[0], end and end[1])
        case "since":
            return Span(begin and begin[0], None)
        case "until":
            return Span(None, begin and begin[0])
        case "ago":
            # At most 100 units, so that any number gives a date that exists.
            days = _DAYS[found.get("unit") or found.get("last") or "day"]
            return Span(
                said_at - min(int(found.get("n") or 1), 100) * timedelta(days=days), None, over=True
            )
    return Span(None, None, over=True)


_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}


def _bounds(period: str | None, said_at: datetime) -> tuple[datetime, datetime] | None:
    """Return the begin and end of a year, a month or a day; None if there is no such day."""
    if not period:
        return None
    zone = said_at.tzinfo or UTC
    year, month, day = (*map(int, period.split("-")), 0, 0)[:3]
    try:
        begin = datetime(year, month or 1, day or 1, tzinfo=zone)
    except ValueError:
        return None
    if day:
        return begin, begin + timedelta(days=1)
    months = year * 12 + (month or 12)
    return begin, datetime(months // 12, months % 12 + 1, 1, tzinfo=zone)


def over(time: Span | None, said_at: datetime) -> bool:
    """Return whether a span of time was over when the sentence was said."""
    return time is not None and (time.over or (time.until is not None and time.until <= said_at))
