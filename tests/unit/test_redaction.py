"""Redaction: its quality on the cases of `redaction_cases.txt`, and that nothing bypasses it."""

import copy
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from graphs.memory.errors import ConfigurationError, InvalidValue
from graphs.memory.redaction import credentials, findings, identifiers, phones
from graphs.memory.redaction import redactor as redaction
from graphs.memory.redaction.findings import KINDS
from graphs.memory.redaction.redactor import (
    RedactedJson,
    RedactedText,
    Redaction,
    Redactor,
)
from tests.unit.redaction_scores import cases, measured, report

KEY = b"a key of the tests, 32 bytes long"

# Private to the standard library, which offers no other parser of patterns.
_parser: Any = import_module("re._parser")

redactor = Redactor(KEY)


def test_the_table_has_two_hundred_cases_a_third_of_them_with_nothing_to_redact() -> None:
    every = [case for some in cases().values() for case in some]
    assert len(every) >= 200
    assert sum(not case.values for case in every) > len(every) / 3


def test_precision_and_recall_are_no_less_than_measured(
    record_property: Callable[[str, object], None],
) -> None:
    """Compare with floors a little below the measured scores; the test run prints the table."""
    scores = {name: measured(redactor, some) for name, some in cases().items()}
    record_property("redaction", "\n".join(report(scores)))
    for name, overall, each in (("tuned", 0.985, 0.96), ("held out", 0.955, 0.88)):
        for floor, kinds in ((overall, KINDS), *((each, (kind,)) for kind in KINDS)):
            assert scores[name].precision(*kinds) >= floor, (name, kinds)
            assert scores[name].recall(*kinds) >= floor, (name, kinds)


def test_the_same_value_has_the_same_placeholder_however_it_is_written() -> None:
    text = redactor.redact("Ann@Example.com and bob@example.com, that is ann@example.com").text
    assert text == "<email_1> and <email_2>, that is <email_1>"


def test_placeholders_that_are_there_already_are_not_given_to_another_value() -> None:
    assert (
        redactor.redact("<email_1> wrote to ann@example.com").text == "<email_1> wrote to <email_2>"
    )


def test_a_value_that_was_recognised_once_is_taken_out_everywhere() -> None:
    assert (
        redactor.redact("My password is hunter22. Yes, hunter22!").text
        == "My password is <secret_1>. Yes, <secret_1>!"
    )


def test_of_findings_that_overlap_the_longest_says_what_it_is_and_all_of_them_goes() -> None:
    assert redactor.redact("token: 4111 1111 1111 1111").text == "token: <card_1>"
    assert redactor.redact("IBAN ES91 2100 0418 4502 0005 1332").text == "IBAN <iban_1>"
    assert (
        redactor.redact("postgres://u:pass@example.com/x").text
        == "postgres://u:<secret_1>@example.com/x"
    )


def test_an_auditor_with_the_key_finds_a_value_however_it_is_written() -> None:
    digests = {
        redaction.digest
        for redaction in redactor.redact("RUT 12.345.678-5, fono +56 9 8765 4321").redactions
    }
    assert redactor.digest("national_id", "123456785") in digests
    assert redactor.digest("phone", "\uff19 8765-4321") in digests
    assert redactor.digest("phone", "9 8765 4322") not in digests
    assert (
        Redactor(b"another key, also long enough").digest("national_id", "123456785") not in digests
    )


@pytest.mark.parametrize("made", [RedactedText, RedactedJson])
def test_only_a_redactor_makes_what_may_be_sent(made: Any) -> None:
    with pytest.raises(TypeError, match="made by a Redactor"):
        made("ann@example.com", ())
    with pytest.raises(TypeError, match="made by a Redactor"):
        replace(redactor.redact("nothing"), text="ann@example.com")
    with pytest.raises(AttributeError):
        redactor.redact("nothing").text = "ann@example.com"  # type: ignore[misc]


def test_the_original_cannot_be_reached_from_what_is_sent() -> None:
    redacted = redactor.redact("ann@example.com")
    assert "ann" not in repr(redacted)
    assert {name: getattr(redacted, name) for name in ("text", "redactions")} == {
        "text": "<email_1>",
        "redactions": (Redaction("email", redactor.digest("email", "ann@example.com")),),
    }
    assert not hasattr(redacted, "__dict__")
    for taken in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            taken(redacted)


def test_a_key_that_is_too_short_or_an_unknown_region_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="16 bytes"):
        Redactor(b"short")
    with pytest.raises(ConfigurationError, match="XX"):
        Redactor(KEY, regions=("CL", "XX"))


def test_regions_say_whose_phone_numbers_are_known() -> None:
    text = "Her number: 07911 123456"
    assert redactor.redact(text).text == text
    assert Redactor(KEY, regions=("GB",)).redact(text).text == "Her number: <phone_1>"


def test_json_keeps_its_shape_and_one_value_its_placeholder() -> None:
    redacted = redactor.redact_json(
        {
            "text": "Ann is ann@example.com",
            "tags": ["ann@example.com", "vip", 7],
            "ann@example.com": {"score": 0.5425233430109903, "seen": None, "active": True},
            "empty": [],
            "share": 5.0,
        }
    )
    assert '"share":5.0' in redacted.text
    assert redacted.value == {
        "text": "Ann is <email_1>",
        "tags": ["<email_1>", "vip", 7],
        "<email_1>": {"score": 0.5425233430109903, "seen": None, "active": True},
        "empty": [],
        "share": 5.0,
    }
    assert len(redacted.redactions) == 1


def test_the_key_of_a_json_value_says_what_it_is() -> None:
    value = {
        "password": "correct horse battery staple",
        "apiKey": "abc",
        "dbPassword": 123456,
        "phone_number": 5550142,
        "mobile": ["07911 123456"],
        "rut": 123456785,
        "card": 4111111111111111.0,
        "order_id": 4155552671,
        "token_count": 512,
        "password_reset": True,
        "created_at": 1763748462,
        "id": "550e8400-e29b-41d4-a716-446655440000",
    }
    assert redactor.redact_json(value).value == {
        "password": "<secret_1>",
        "apiKey": "<secret_2>",
        "dbPassword": "<secret_3>",
        "phone_number": "<phone_1>",
        "mobile": ["<phone_2>"],
        "rut": "<national_id_1>",
        "card": "<card_1>",
        **{
            key: value[key]
            for key in ("order_id", "token_count", "password_reset", "created_at", "id")
        },
    }


def test_two_spellings_of_one_value_as_keys_lose_nothing() -> None:
    assert redactor.redact_json({"a@x.com": 1, "A@x.com": 2}).value == {
        "<email_1>": 1,
        "<email_1>'": 2,
    }


def test_what_is_not_json_is_refused_by_its_path() -> None:
    with pytest.raises(InvalidValue, match=r"metadata\.when"):
        redactor.redact_json({"when": object()}, "metadata")


def _patterns(module: ModuleType) -> Iterator[re.Pattern[str]]:
    for value in vars(module).values():
        if isinstance(value, re.Pattern):
            yield value
        elif isinstance(value, tuple):
            yield from (
                part
                for entry in value
                if isinstance(entry, tuple)
                for part in entry
                if isinstance(part, re.Pattern)
            )


def _repeats(tree: Any, depth: int = 0) -> Iterator[tuple[str, int, int]]:
    """Yield each repeat of a parsed pattern: kind, bound, and the number of repeats around it."""
    for node in tree:
        if not isinstance(node, tuple):
            continue
        operation, argument = node
        inner = depth
        if str(operation) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            yield str(operation), int(argument[1]), depth
            inner += str(operation) != "POSSESSIVE_REPEAT" and int(argument[1]) > 1
        yield from _repeats_in(argument, inner)


def _repeats_in(argument: Any, depth: int) -> Iterator[tuple[str, int, int]]:
    if hasattr(argument, "data"):
        yield from _repeats(argument, depth)
    elif isinstance(argument, tuple | list):
        for part in argument:
            yield from _repeats_in(part, depth)


@pytest.mark.parametrize("module", [credentials, findings, identifiers, phones, redaction])
def test_no_pattern_can_go_back_over_more_than_it_is_bounded_to(module: ModuleType) -> None:
    """Ensure linear time: unbounded repeats never backtrack, and all others are bounded."""
    patterns = list(_patterns(module))
    assert patterns
    for pattern in patterns:
        for operation, bound, depth in _repeats(_parser.parse(pattern.pattern, pattern.flags)):
            assert operation == "POSSESSIVE_REPEAT" or bound <= 512, pattern.pattern
            assert operation == "POSSESSIVE_REPEAT" or bound <= 1 or depth <= 1, pattern.pattern


HOSTILE = (
    *(
        "1",
        "1 ",
        "4111 ",
        "1.",
        "1-",
        "@",
        "a@",
        "a@b.",
        "sk-",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "://a:b",
        "(4",
        "+1 ",
    ),
    *(
        "password",
        "password is ",
        'key="',
        "0123456789abcdef",
        "a:",
        "1::",
        "call 1",
        "DNI 1",
        "ES12 ",
        "<email_1>",
        "\uff14\u200b",
    ),
)


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_text_of_four_times_the_length_takes_no_more_than_four_times_the_work(unit: str) -> None:
    """Count function calls, which show the loops around the patterns."""
    once, fourfold = (_calls(partial(redactor.redact, unit * times)) for times in (400, 1600))
    assert fourfold <= 4.4 * once + 100


def _calls(work: Any) -> int:
    count = 0

    def called(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    work()  # fills the caches
    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
