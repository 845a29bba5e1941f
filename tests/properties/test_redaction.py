"""Random contexts and spellings: no value gets through, and nothing else is redacted."""

import re
import unicodedata
from ipaddress import IPv4Address, IPv6Address

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graphs.memory.redaction.redactor import Redactor

redactor = Redactor(b"a key of the tests, 32 bytes long")

unhurried = settings(deadline=None)  # the first number of a country loads its metadata

PLACEHOLDER = re.compile(r"<[a-z_]+_\d+>")


def luhn_digit(digits: str) -> str:
    """Return the digit that makes a card number valid, by trial."""
    for last in "0123456789":
        total = 0
        for place, digit in enumerate(reversed(digits + last)):
            product = int(digit) * (1 + place % 2)
            total += product // 10 + product % 10
        if total % 10 == 0:
            return last
    raise AssertionError


def rut_digit(number: int) -> str:
    """Return the check digit of a Chilean RUT."""
    total = sum(int(digit) * (2 + place % 6) for place, digit in enumerate(reversed(str(number))))
    return "0K987654321"[total % 11]


@st.composite
def cards(draw: st.DrawFn) -> str:
    prefix, length = draw(
        st.sampled_from([("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16)])
    )
    missing = length - len(prefix) - 1
    digits = prefix + draw(st.text("0123456789", min_size=missing, max_size=missing))
    digits += luhn_digit(digits)
    separator = draw(st.sampled_from(["", " ", "-", "."]))
    return separator.join(digits[place : place + 4] for place in range(0, length, 4))


@st.composite
def ibans(draw: st.DrawFn) -> str:
    country, length = draw(
        st.sampled_from([("ES", 24), ("DE", 22), ("GB", 22), ("FR", 27), ("NO", 15), ("MT", 31)])
    )
    account = draw(
        st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=length - 4, max_size=length - 4)
    )
    number = int("".join(str(int(char, 36)) for char in account + country + "00"))
    iban = f"{country}{98 - number % 97:02}{account}"
    written = (
        " ".join(iban[place : place + 4] for place in range(0, length, 4))
        if draw(st.booleans())
        else iban
    )
    return written.lower() if draw(st.booleans()) else written


@st.composite
def ruts(draw: st.DrawFn) -> str:
    number = draw(st.integers(1_000_000, 99_999_999))
    body = f"{number:,}".replace(",", ".") if draw(st.booleans()) else str(number)
    return f"{body}-{rut_digit(number)}"


def hosts(address: IPv4Address | IPv6Address) -> bool:
    """Return whether this can be the address of one host, not a loopback or a network."""
    return not (address.is_loopback or address.is_unspecified) and not re.fullmatch(
        r":?:?\w+:?:?", str(address)
    )


emails = st.emails().filter(
    lambda email: not re.match(r"git@|\W|\w+=", email) and "//" not in email
)
ips = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(hosts).map(str)
phones = st.sampled_from(["+56 9 {} {}", "+34 6{} {}", "+1 41{} {}"]).flatmap(
    lambda form: st.builds(form.format, st.integers(2000, 9999), st.integers(1000, 9999))
)
keys = st.builds(
    "{}{}".format,
    st.sampled_from(["sk-proj-1", "ghp_", "github_pat_", "sk_" + "live_"]),
    st.text(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=40, max_size=60
    ),
)
values = st.one_of(emails, cards(), ibans(), ruts(), ips.map("IP {}".format), phones, keys)
texts = st.text(max_size=40)
cued = st.sampled_from(
    [
        "password: ",
        "RUT ",
        "call ",
        "cvv ",
        '"',
        "order ",
        "://u:",
        "<email_1>",
        "section ",
        "1",
        "@",
        "\n",
    ]
)
mixed = st.lists(st.one_of(texts, values, cued), max_size=6).map("".join)


def written_strangely(value: str, seed: int) -> str:
    """Return the same text with digits, dashes and spaces of other scripts, and invisible signs."""
    strange = []
    for place, char in enumerate(value):
        form = (seed >> place % 60) & 7
        if char.isdigit():
            char = (
                chr(0xFF10 + int(char))
                if form == 1
                else chr(0x0660 + int(char))
                if form == 2
                else char
            )
        elif char in "- ":
            char = {"-": "\u2011\u2013\uff0d-"[form % 4], " ": "\u00a0\u2007\u3000 "[form % 4]}[
                char
            ]
        strange.append(char + ("\u200b" if form == 3 else "\u2060" if form == 4 else ""))
    return "".join(strange)


def seen(text: str) -> str:
    """Return the letters and digits of a text, as a reader sees them."""
    return "".join(
        char
        for char in unicodedata.normalize("NFKC", PLACEHOLDER.sub("|", text))
        if char.isalnum() or char == "|"
    )


@unhurried
@given(texts, values, texts)
def test_a_value_does_not_get_through_whatever_stands_around_it(
    before: str, value: str, after: str
) -> None:
    redacted = redactor.redact(f"{before} {value} {after}")
    assert redacted.redactions
    assert value.removeprefix("IP ") not in redacted.text


@unhurried
@given(st.one_of(cards(), ibans(), ruts(), phones), st.integers(min_value=0))
def test_a_value_does_not_get_through_however_its_characters_are_encoded(
    value: str, seed: int
) -> None:
    strange = written_strangely(value, seed)
    assert re.fullmatch(r"\W*<\w+_1>\W*", redactor.redact(strange).text), strange


@unhurried
@given(mixed)
def test_redacting_what_is_redacted_changes_nothing(text: str) -> None:
    once = redactor.redact(text).text
    twice = redactor.redact(once)
    assert (twice.text, twice.redactions) == (once, ())


@unhurried
@given(mixed)
def test_what_is_not_redacted_stays_as_it_was_and_where_it_was(text: str) -> None:
    assume(not PLACEHOLDER.search(text))
    redacted = redactor.redact(text)
    kept = "(?s:.+?)".join(map(re.escape, PLACEHOLDER.split(redacted.text)))
    assert re.fullmatch(kept, text)
    assert bool(redacted.redactions) == (redacted.text != text)


@unhurried
@given(texts, st.one_of(cards(), ibans(), ruts(), emails), texts)
def test_no_copy_of_a_value_is_left_behind(before: str, value: str, after: str) -> None:
    redacted = redactor.redact(f"{before} {value} {after} {value} {value}")
    assert seen(value) not in seen(redacted.text)


@unhurried
@given(st.text("abcdefghijklmnopqrstuvwxyzáéíóúñ ,.!?\n", max_size=300))
def test_a_text_without_digits_and_signs_is_left_alone(text: str) -> None:
    assert redactor.redact(text).text == text


@unhurried
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.just("ann@example.com"),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text("abcxyz", max_size=8), inner, max_size=4)
        ),
        max_leaves=10,
    )
)
def test_json_keeps_its_shape(value: object) -> None:
    def shape(part: object) -> object:
        match part:
            case dict():
                return {key: shape(inner) for key, inner in part.items()}
            case list():
                return [shape(inner) for inner in part]
        return None

    redacted = redactor.redact_json({"value": value})
    assert "ann@" not in redacted.text
    assert shape(redacted.value) == shape({"value": value})
