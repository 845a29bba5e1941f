"""Ids of entities: every spelling of an entity has the same id."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.memory.brain.entities import (
    NORMALISERS,
    EntityNormaliser,
    check_digit,
    cl_rut,
    normalise,
)
from graphs.memory.errors import InvalidEntityId

numbers = st.integers(1, 99_999_999)
spaces = st.text(" \t\u00a0", max_size=2)


@st.composite
def spellings(draw: Any, number: int, digit: str) -> str:
    """Return a Chilean RUT in a common spelling: with or without dots, any dash, either case."""
    written = f"{number:,}".replace(",", draw(st.sampled_from([".", "", " "])))
    dash = draw(st.sampled_from(["-", "", " ", " - ", "\u2013", "\u2010", "\u2212"]))
    zeros = draw(st.sampled_from(["", "0", "00"]))
    check = draw(st.sampled_from([digit, digit.upper()]))
    return f"{draw(spaces)}{zeros}{written}{dash}{check}{draw(spaces)}"


@given(st.data(), numbers)
def test_every_spelling_of_a_rut_is_the_same_id(data: st.DataObject, number: int) -> None:
    digit = check_digit(str(number))
    assert cl_rut(data.draw(spellings(number, digit))) == f"{number}{digit}"


@given(st.data(), numbers, st.sampled_from("0123456789k"))
def test_a_rut_with_a_wrong_check_digit_is_refused_and_says_so(
    data: st.DataObject, number: int, digit: str
) -> None:
    written = data.draw(spellings(number, digit))
    if digit == check_digit(str(number)):
        assert normalise(written, cl_rut, "rut").endswith(digit)
    else:
        with pytest.raises(InvalidEntityId, match="check digit") as refused:
            normalise(written, cl_rut, "rut")
        assert refused.value.path == "rut"


@given(numbers, st.integers(0, 7), st.integers(1, 9))
def test_one_mistyped_digit_never_goes_unnoticed(number: int, place: int, by: int) -> None:
    written = f"{number:08}"
    mistyped = written[:place] + str((int(written[place]) + by) % 10) + written[place + 1 :]
    with pytest.raises(ValueError, match=r"must be a RUT|check digit"):
        cl_rut(mistyped + check_digit(written))


@pytest.mark.parametrize(
    ("rut", "kept"),
    [
        ("12.345.678-5", "123456785"),
        ("11.111.111-1", "111111111"),
        ("76.192.083-9", "761920839"),
        ("6-K", "6k"),
        ("30.686.957-4", "306869574"),
    ],
)
def test_the_check_digit_is_that_of_known_ruts(rut: str, kept: str) -> None:
    assert cl_rut(rut) == kept


@pytest.mark.parametrize("name", NORMALISERS)
@given(
    given_id=st.text(max_size=40)
    | st.emails()
    | st.uuids().map(str)
    | numbers.map(lambda n: f"{n}-{n % 10}")
)
def test_what_a_normaliser_returns_it_returns_again(name: str, given_id: str) -> None:
    try:
        kept = normalise(given_id, NORMALISERS[name], "id")
    except InvalidEntityId:
        return
    assert normalise(kept, NORMALISERS[name], "id") == kept
    assert normalise(f"  {given_id}\n", NORMALISERS[name], "id") == kept


SAME = {
    "uuid": ("A0000000-0000-4000-8000-00000000000B", "a000000000004000800000000000000b"),
    "email": ("Ann.Lee@Example.COM", " ann.lee@example.com"),
    "slug": ("Acme-Ltd_2", "acme-ltd_2 "),
    "plain": ("Acme Ltd.", " Acme Ltd. "),
}


@pytest.mark.parametrize("name", SAME)
def test_two_spellings_are_one_id(name: str) -> None:
    one, other = (normalise(spelling, NORMALISERS[name], "id") for spelling in SAME[name])
    assert one == other


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("cl_rut", "123.456.789-2"),
        ("cl_rut", "0-0"),
        ("cl_rut", "12.345.678"),
        ("cl_rut", "\u0661-9"),
        ("uuid", "ann"),
        ("email", "ann@example"),
        ("email", "ann@@example.com"),
        ("slug", "acme ltd"),
        ("slug", "-acme"),
        ("plain", "x" * 501),
        *((name, text) for name in NORMALISERS for text in ("", "  ", "a\0b", "\ud800", None, 7)),
    ],
)
def test_what_is_no_such_id_is_refused_by_field(name: str, wrong: Any) -> None:
    with pytest.raises(InvalidEntityId) as refused:
        normalise(wrong, NORMALISERS[name], "company_id")
    assert refused.value.path == "company_id"
    assert str(refused.value).startswith("company_id ")


def test_a_normaliser_of_ones_own_needs_to_know_nothing_of_ours() -> None:
    def even(entity_id: str, /) -> str:
        if int(entity_id) % 2:
            raise ValueError("must be even.")
        return entity_id

    own: EntityNormaliser = even
    assert normalise("4", own, "id") == "4"
    with pytest.raises(InvalidEntityId, match="id must be even"):
        normalise("5", own, "id")
