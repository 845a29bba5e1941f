"""Filters of searches: checked, bounded, and compiled for Postgres."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graphs.memory.errors import InvalidFilter, InvalidValue
from graphs.memory.values.text import to_json

MOST_CONDITIONS = 256
"""Most values that a filter may compare with: each of them costs time for every item of a scope."""

LONGEST_FILTER = 65_536
"""Most characters of a filter as JSON."""

_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_FIELD_OPERATORS = frozenset(
    {"$eq", "$ne", "$in", "$nin", "$exists", "$contains", "$not", *_COMPARISONS}
)
_LIST_OPERANDS = frozenset({"$in", "$nin"})


def check_filter(condition: Mapping[str, Any]) -> None:
    """Check a filter.

    Raises:
        InvalidFilter: an unknown operator, a malformed operand, a value that no stored one can
            equal, or too many conditions; `operator` names the operator or the field.
    """
    try:
        text = to_json(condition, "filter")
    except InvalidValue as error:
        raise InvalidFilter(error.path, error.problem) from error
    _check_mapping(condition)
    for n, field in enumerate(_compared(condition, "filter")):
        if n == MOST_CONDITIONS:
            raise InvalidFilter(
                field,
                f"is one condition too many: a filter may compare with {MOST_CONDITIONS} values "
                "at most; split the search.",
            )
    if len(text) > LONGEST_FILTER:
        longest = max(condition, key=lambda name: len(to_json(condition[name], "filter")))
        raise InvalidFilter(
            longest, f"is too long: a filter may have {LONGEST_FILTER} characters as JSON."
        )


def conditions_of(condition: Mapping[str, Any]) -> int:
    """Return the number of values that a filter compares with."""
    return sum(1 for _ in _compared(condition, "filter"))


def _compared(condition: Any, field: str) -> Iterator[str]:
    """Yield, for each value that a filter compares with, the field that it is compared with."""
    if isinstance(condition, Mapping) and condition:
        for name, operand in condition.items():
            yield from _compared(operand, field if str(name).startswith("$") else str(name))
    elif isinstance(condition, (list, tuple)) and condition:
        for part in condition:
            yield from _compared(part, field)
    else:
        yield field


def _check_mapping(condition: Any) -> None:
    if not isinstance(condition, Mapping):
        raise InvalidFilter(
            "filter", f"must be a mapping of fields to conditions; got {type(condition).__name__}."
        )
    for name, operand in condition.items():
        if name in ("$and", "$or"):
            _check_list(name, operand)
            for part in operand:
                _check_mapping(part)
        elif name == "$not":
            _check_mapping(operand)
        elif not isinstance(name, str) or (name.startswith("$") and not _has_operators(operand)):
            raise InvalidFilter(
                str(name),
                "is not an operator; at this place use a field's name, $and, $or or $not. A field "
                'whose name begins with $ is compared by an operator, as in {"$eq": …}.',
            )
        else:
            _check_condition(operand)


def _check_condition(condition: Any) -> None:
    if isinstance(condition, (list, tuple)):
        for part in condition:
            _check_condition(part)
    elif isinstance(condition, Mapping):
        if not _has_operators(condition):
            _check_mapping(condition)
            return
        for name, operand in condition.items():
            if name not in _FIELD_OPERATORS:
                raise InvalidFilter(
                    str(name),
                    f"is not supported; use one of {', '.join(sorted(_FIELD_OPERATORS))}.",
                )
            if name in _LIST_OPERANDS:
                _check_list(name, operand)
            elif name == "$exists" and not isinstance(operand, bool):
                raise InvalidFilter(name, f"needs true or false; got {operand!r}.")
            elif name == "$not":
                _check_condition(operand)


def _check_list(name: str, operand: Any) -> None:
    if not isinstance(operand, (list, tuple)):
        raise InvalidFilter(name, f"needs a list; got {type(operand).__name__}.")


def _has_operators(condition: Any) -> bool:
    return isinstance(condition, Mapping) and any(str(name).startswith("$") for name in condition)


# For Postgres -----------------------------------------------------------------------------------


def split_filter(condition: Mapping[str, Any] | None) -> dict[str, Any]:
    """Split a checked filter into exact and fast jsonb containment, and the rest.

    Returns:
        Parameters: `contains`, JSON that a value must contain; `lacks`, JSON texts of which it must
        contain none; `filter`, the other conditions as a jsonpath that must find something, or
        None.
    """
    contains: dict[str, Any] = {}
    lacks: list[str] = []
    rest: list[Mapping[str, Any]] = []
    for name, expected in _conditions(condition or {}):
        match expected:
            case str() | int() | float() if not name.startswith("$") and name not in contains:
                contains[name] = expected
            case {"$ne": str() | int() | float() as other, **more} if (
                not name.startswith("$") and not more
            ):
                lacks.append(to_json({name: other}, "filter"))
            case _:
                rest.append({name: expected})
    found = {"contains": to_json(contains, "filter"), "lacks": lacks}
    return found | {"filter": to_jsonpath({"$and": rest}) if rest else None}


def _conditions(condition: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the conditions of a filter that must all hold."""
    for name, expected in condition.items():
        if name == "$and":
            for part in expected:
                yield from _conditions(part)
        else:
            yield name, expected


def to_jsonpath(condition: Mapping[str, Any]) -> str:
    """Return the jsonpath that finds a value if, and only if, it matches a checked filter.

    Its mode is strict, so that a list is not taken for its elements. A comparison with a missing
    field, or with a value of another type, is then unknown, which counts as false everywhere but
    under a negation: `_none` makes it false there, too.
    """
    plain = json.loads(to_json(condition, "filter"))  # lists and mappings of any kind as JSON's
    return f"strict $ ? ({_matches(plain)})"


def _matches(condition: Mapping[str, Any]) -> str:
    """Return the predicate on `@` for a filter, or for one of a nested object."""
    return _all(_field_or_group(name, operand) for name, operand in condition.items())


def _field_or_group(name: str, operand: Any) -> str:
    match name:
        case "$and":
            return _all(map(_matches, operand))
        case "$or":
            return _any(map(_matches, operand))
        case "$not":
            return _none(_matches(operand))
    return _satisfies(f"@.{_literal(name)}", operand)


def _satisfies(path: str, condition: Any) -> str:
    """Return the predicate that the value at a path satisfies a condition."""
    match condition:
        case list():
            return _is_list(path, [_satisfies(f"@[{n}]", c) for n, c in enumerate(condition)])
        case dict() if _has_operators(condition):
            return _all(_operator(path, name, operand) for name, operand in condition.items())
        case dict():
            return f'exists({path} ? (@.type() == "object" && {_matches(condition)}))'
    return _equals(path, condition)


def _operator(path: str, name: str, operand: Any) -> str:
    match name:
        case "$eq":
            return _equals(path, operand)
        case "$ne":
            return _none(_equals(path, operand))
        case "$in":
            return _any(_equals(path, part) for part in operand)
        case "$nin":
            return _none(_any(_equals(path, part) for part in operand))
        case "$exists":
            return f"exists({path})" if operand else _none(f"exists({path})")
        case "$contains":
            element = f"exists({path}[*] ? ({_is(operand, '@')}))"
            if not isinstance(operand, str):
                return element
            return _any([element, f'{path} like_regex {_literal(operand)} flag "q"'])
        case "$not":
            return _none(_satisfies(path, operand))
    if isinstance(operand, bool) or not isinstance(operand, (int, float, str)):
        return _any([])  # only numbers and texts have an order
    return f"{path} {_COMPARISONS[name]} {_literal(operand)}"


def _equals(path: str, value: Any) -> str:
    """Return the predicate that a field equals a value; a missing field counts as null."""
    return _any([_is(value, path), _none(f"exists({path})")]) if value is None else _is(value, path)


def _is(value: Any, path: str) -> str:
    """Return the predicate that there is a value at a path, and that it is this one."""
    match value:
        case list():
            return _is_list(path, [_is(part, f"@[{n}]") for n, part in enumerate(value)])
        case dict():
            members = [_is(part, f"@.{_literal(name)}") for name, part in value.items()]
            other = _all(f"@.key != {_literal(name)}" for name in value)
            exact = _all([*members, f"!exists(@.keyvalue() ? ({other}))"])
            return f'exists({path} ? (@.type() == "object" && {exact}))'
    return f"{path} == {_literal(value)}"


def _is_list(path: str, elements: list[str]) -> str:
    sized = f'@.type() == "array" && @.size() == {len(elements)}'
    return f"exists({path} ? ({' && '.join([sized, *elements])}))"


def _literal(value: Any) -> str:
    """Return a text, number, boolean or null as it is stored, which jsonpath reads like JSON."""
    return to_json(value, "filter")


def _all(predicates: Iterable[str]) -> str:
    return f"({' && '.join(predicates) or '1 == 1'})"


def _any(predicates: Iterable[str]) -> str:
    return f"({' || '.join(predicates) or '1 == 0'})"


def _none(predicate: str) -> str:
    """Return the negation of a predicate on `@`, where unknown counts as false."""
    return f"!exists(@ ? ({predicate}))"
