"""The tool that the offline chat model calls, and the arguments that it finds in the question.

A number goes to the parameter whose description has the words next to the number. Choices
(`enum`), patterns such as a zip code's, and codes are recognised by their form.
"""

import re
from collections.abc import Sequence
from typing import Any

from graphs.offline.words import Number, find_numbers, is_question, stems

_CHANGES = frozenset("save add create apply update set delete remove send book order".split())
"""First words of tools that change something. Questions prefer tools that look something up."""
_MONEY = frozenset("amount budget cost deposit dollar payment price revenu usd".split())
_CODE = re.compile(r"\b(?=[\w-]*\d)[A-Z][A-Za-z]*-?[\w-]*\b")
_CODES = frozenset("code model serial sku".split())
_FOLLOWS = re.compile(r"\s*(and|also|but|or|what about|how about)\b", re.IGNORECASE)


def best_tool(question: str, tools: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the tool that fits a question best, or None if none shares anything with it.

    Shared words, and numbers and patterns that the tool has parameters for, make it fit; missing
    required arguments count against it.
    """
    asked = stems(question)

    def fit(tool: dict[str, Any]) -> float:
        name, (summary, _, more) = (
            stems(tool["name"].replace("_", " ")),
            tool.get("description", "").partition("\n\n"),
        )
        words = (
            2 * len(asked & name)
            + len(asked & stems(summary) - name)
            + len(asked & stems(more) - name) / 2
        )
        arguments, missing = find_arguments(tool, question)
        told = [value for value in arguments.values() if value != question and value != [question]]
        if words + len(told) < 1:
            return 0
        changes = not _CHANGES.isdisjoint(tool["name"].split("_")[:1])
        return float(
            max(words + len(told) - len(missing) - 2 * (is_question(question) and changes), 0.1)
        )

    best = max(tools, key=fit, default=None)
    return best if best and fit(best) > 0 else None


def find_arguments(
    tool: dict[str, Any], question: str, elsewhere: Sequence[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments that a question gives, and descriptions of the required ones it lacks.

    Args:
        tool: its name, description and parameters.
        question: the user's latest message; it becomes the value of a required text parameter.
        elsewhere: earlier messages and recalled memories, the most recent first. Required
            parameters with a pattern are looked for in these, too.
    """
    schema = tool.get("parameters") or {}
    parameters = {
        name: _unwrapped(parameter) for name, parameter in schema.get("properties", {}).items()
    }
    required = [name for name in schema.get("required", []) if name in parameters]
    said = f"{question} {elsewhere[0]}" if elsewhere and _FOLLOWS.match(question) else question
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        texts = [question, *elsewhere] if name in required else [question]
        if (value := _told(name, parameter, said, texts, name in required)) is not None:
            found[name] = value
    unformed = re.sub("|".join(map(re.escape, _texts(found))) or r"(?!)", " ", question)
    found |= _matched(unformed, {n: p for n, p in parameters.items() if _is_number(p)}, required)
    for name in required:
        if (
            name not in found
            and parameters[name].get("type") not in ("integer", "number")
            and not _form(parameters[name])
        ):
            found[name] = _plain(parameters[name], question)
    missing = [_wanted(name, parameters[name]) for name in required if name not in found]
    return found, missing


def _unwrapped(parameter: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter's schema without the alternative `null`."""
    kinds = [kind for kind in parameter.get("anyOf", []) if kind.get("type") != "null"]
    return {**parameter, **kinds[0]} if len(kinds) == 1 else parameter


def _is_number(parameter: dict[str, Any]) -> bool:
    return parameter.get("type") in ("integer", "number") and "enum" not in parameter


def _form(parameter: dict[str, Any]) -> str | None:
    """Return the pattern that a text parameter must match, such as a zip code's."""
    return parameter.get("pattern") if parameter.get("type") == "string" else None


def _told(
    name: str, parameter: dict[str, Any], said: str, texts: Sequence[str], is_required: bool
) -> Any:
    """Return the choice, the pattern's match or the code for a parameter; None without one."""
    if choices := parameter.get("enum"):
        asked = stems(said)
        named = [
            c for c in choices if all(any(_alike(s, word) for word in asked) for s in stems(str(c)))
        ]
        return named[0] if named else choices[0] if is_required else None
    if form := _form(parameter):
        pattern = re.compile(rf"(?<![\w$.,-]){form.strip('^$')}(?![\w-])")
        return next((match[0] for text in texts if (match := pattern.search(text))), None)
    if codes := _CODE.findall(texts[0]) if _CODES & stems(f"{name.replace('_', ' ')}") else []:
        return codes if parameter.get("type") == "array" else codes[0]
    return None


def _alike(stem: str, word: str) -> bool:
    return word == stem or (len(stem) >= 4 and word.startswith(stem[:6]))


def _texts(found: dict[str, Any]) -> list[str]:
    return [
        text
        for value in found.values()
        for text in (value if isinstance(value, list) else [str(value)])
        if text
    ]


def _matched(
    question: str, parameters: dict[str, dict[str, Any]], required: Sequence[str]
) -> dict[str, Any]:
    """Assign the numbers of a question to the parameters whose words are next to them.

    Required parameters that are left get the numbers that are left.
    """
    numbers = find_numbers(question)
    fits = sorted(
        (
            (_fit(number, name, p) + 1.5 * (name in required), -n, name)
            for n, number in enumerate(numbers)
            for name, p in parameters.items()
            if _fit(number, name, p) > 0
        ),
        reverse=True,
    )
    chosen: dict[str, int] = {}
    for _, n, name in fits:
        if name not in chosen and -n not in chosen.values():
            chosen[name] = -n
    for name in (name for name in required if name in parameters and name not in chosen):
        if left := [n for n in range(len(numbers)) if n not in chosen.values()]:
            chosen[name] = left[0]
    return {name: _as_wanted(numbers[n], name, parameters[name]) for name, n in chosen.items()}


def _words_of(name: str, parameter: dict[str, Any]) -> set[str]:
    return stems(f"{name.replace('_', ' ')} {parameter.get('description', '')}")


def _fit(number: Number, name: str, parameter: dict[str, Any]) -> float:
    """Return how well a number fits a parameter: by unit, by words next to it, by being money."""
    words = _words_of(name, parameter)
    in_months = _in_months(number, words)
    money, is_money = bool(_MONEY & words), number.is_money or bool(_MONEY & number.unit)
    if money != is_money and (money or not number.unit & words):
        return 0
    return 2 * (bool(number.unit & words) or in_months) + len(number.beside & words) + money / 2


def _in_months(number: Number, words: set[str]) -> bool:
    """Return True if years were given to a parameter that takes months."""
    return "year" in number.unit and "month" in words and "year" not in words


def _as_wanted(number: Number, name: str, parameter: dict[str, Any]) -> float | int:
    value = number.value * (12 if _in_months(number, _words_of(name, parameter)) else 1)
    return round(value) if parameter.get("type") == "integer" else value


def _plain(parameter: dict[str, Any], question: str) -> Any:
    """Return a default for a required parameter that the question has no value for."""
    match parameter.get("type"):
        case "boolean":
            return True
        case "array":
            return [question]
        case _:
            return question


def _wanted(name: str, parameter: dict[str, Any]) -> str:
    """Return a parameter in words, to ask the user for it."""
    described = str(parameter.get("description", "")).rstrip(".")
    return f"the {name.replace('_', ' ')}" + (
        f" ({described[:1].lower()}{described[1:]})" if described else ""
    )
