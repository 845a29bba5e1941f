"""Redaction: personal data and secrets are removed from texts before they leave. Pure.

Adapters take `RedactedText` and `RedactedJson`, never a plain text. Only a `Redactor` makes these,
so a text that was not redacted cannot be sent. Each value is replaced by a placeholder that readers
and models can follow: `<email_1>` is the same address everywhere. A keyed digest of each value is
kept for the audit.

The kinds of values that are found are listed in `findings.KINDS`. Names, postal addresses, dates of
birth and other data without a form are not found. `tests/unit/test_redaction.py` measures precision
and recall, and prints them.

A text of 200 characters takes 0.1 to 1 ms, and time grows linearly with length. Numbers that may be
phone numbers cost the most. The first number of a country loads that country's metadata from disk.
Redact in a thread, therefore: `await asyncio.to_thread(redactor.redact_json, value)`. A megabyte of
nothing but phone numbers takes one to two minutes.
"""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import InitVar, dataclass
from ipaddress import ip_address
from typing import Any, NoReturn, final

import orjson

from graphs.memory.errors import ConfigurationError
from graphs.memory.redaction.credentials import (
    can_be_secret,
    find_credentials,
    names_a_secret,
    spoken,
)
from graphs.memory.redaction.findings import (
    KINDS,
    Finding,
    Folded,
    PersonalDataKind,
    folded,
    merged,
    without,
)
from graphs.memory.redaction.identifiers import (
    find_cards,
    find_emails,
    find_ibans,
    find_ips,
    find_national_ids,
)
from graphs.memory.redaction.phones import REGIONS, find_phones, phone_number
from graphs.memory.values.text import to_json

_Leaf = str | int | float
_MADE_HERE = object()
_PLACEHOLDER = re.compile(rf"<({'|'.join(KINDS)})_(\d{{1,9}})>")
_NO_VALUE = re.compile(
    r"""(?<![0-9a-z])(?:
      [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}
    | (?:19|20)\d\d-(?:0\d|1[0-2])-[0-3]\d
      (?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?
    | [0-3]?\d([/.-])[0-3]?\d\1(?:19|20)\d\d
    | (?=[0-9]{0,30}[a-f])[0-9a-f]{32,128}
    )(?![0-9a-z])""",
    re.VERBOSE | re.IGNORECASE,
)
"""UUIDs, dates and times, and digests: many digits, but no personal numbers."""

_NUMBER = re.compile(r"\d|:[0-9a-f]{0,4}:", re.IGNORECASE)
_OBFUSCATED = re.compile(r" ?[\[({<] ?(at|arroba|dot|punto) ?[\])}>] ?", re.IGNORECASE)

_ROUNDS = 8
"""Most passes over a text.

A removed value may reveal another one beside it, so the text is searched again.
"""

_REPEATED_FROM = 6
"""Length from which a found value is also removed where nothing marks it.

A shorter one could be any word.
"""

_WORD = re.compile(
    r"[^\s.,;:!?()\[\]{}\"'`<>=]++(?:[.,;:!?()\[\]{}'=]++[^\s.,;:!?()\[\]{}\"'`<>=]++)*+"
)


@dataclass(frozen=True, slots=True)
class Redaction:
    """The record of a removed value.

    With the key, it can be checked against a given value. Without the key, it reveals only the
    kind.
    """

    kind: PersonalDataKind
    digest: str
    """HMAC-SHA256 of kind and normalised value, in hexadecimal: `Redactor.digest`."""


@dataclass(frozen=True, slots=True)
class _Redacted:
    text: str
    redactions: tuple[Redaction, ...]
    """One for each different value, in order of first appearance."""
    made_by: InitVar[object] = None

    def __post_init__(self, made_by: object) -> None:
        if made_by is not _MADE_HERE:
            raise TypeError(
                f"A {type(self).__name__} is only made by a Redactor: "
                "call its redact() or redact_json()."
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} cannot be pickled, since unpickling could forge one. "
            "Send its text."
        )


@final
@dataclass(frozen=True, slots=True)
class RedactedText(_Redacted):
    """A text that may leave.

    `text` has placeholders in place of personal data; `redactions` records the removed values.
    """


@final
@dataclass(frozen=True, slots=True)
class RedactedJson(_Redacted):
    """A JSON value that may leave; `text` is its serialisation."""

    @property
    def value(self) -> Any:
        """The value, parsed anew each time."""
        return orjson.loads(self.text)


class Redactor:
    """A redactor of texts and JSON values.

    Args:
        key: the deployment's secret for digests, at least 16 bytes. Digests made with different
            keys cannot be compared.
        regions: ISO 3166 codes of the countries whose phone numbers are recognised without a
            country code.

    Raises:
        ConfigurationError: the key is too short, or a region is unknown.
    """

    def __init__(self, key: bytes, regions: Sequence[str] = ("CL", "ES", "US")) -> None:
        if len(key) < 16:
            raise ConfigurationError(
                "The key for digests of redacted values is too short: use at least 16 bytes."
            )
        if unknown := set(regions) - REGIONS:
            raise ConfigurationError(
                f"The phone regions {sorted(unknown)} are unknown: use ISO 3166 codes such as 'CL'."
            )
        self._key = key
        self._regions = tuple(regions)

    def redact(self, text: str) -> RedactedText:
        """Return a text without personal data and secrets.

        To redact a redacted text changes nothing: placeholders in the text are kept, and their
        numbers are not used again.
        """
        (result,), redactions = self._redacted([_Part(text)])
        return RedactedText(result, redactions, _MADE_HERE)

    def redact_json(self, value: Any, path: str = "value") -> RedactedJson:
        """Return a JSON value of the same shape without personal data and secrets.

        Texts, whole numbers and keys are redacted, with the same placeholders throughout. A key
        helps to recognise its value, as in `{"phone": 987654321}`. The value under the key of a
        secret, such as `apiKey`, is removed as a whole.

        Args:
            value: the JSON value.
            path: the name of the value in error messages.

        Raises:
            InvalidValue: a part of it is not JSON; `path` leads to this part.
        """
        to_json(value, path)
        parts: list[_Part] = []

        def collected(leaf: _Leaf, cue: str) -> _Leaf:
            parts.append(_Part(leaf if isinstance(leaf, str) else str(int(leaf)), cue))
            return leaf

        _mapped(value, "", collected)
        texts, redactions = self._redacted(parts)
        redacted = iter(zip(parts, texts, strict=True))

        def replaced(leaf: _Leaf, _: str) -> _Leaf:
            part, text = next(redacted)
            return leaf if text == part.text else text

        return RedactedJson(to_json(_mapped(value, "", replaced), path), redactions, _MADE_HERE)

    def digest(self, kind: PersonalDataKind, value: str) -> str:
        """Return the digest that a value has in `Redaction`, in order to search the audit for it.

        Different spellings of a value have the same digest.
        """
        normal = _normal(kind, folded(value).text, self._regions)
        return hmac.new(
            self._key, f"{kind}\0{normal}".encode("utf-8", "replace"), hashlib.sha256
        ).hexdigest()

    def _redacted(self, parts: Sequence["_Part"]) -> tuple[list[str], tuple[Redaction, ...]]:
        """Redact texts that belong together.

        A value that is found in one text is removed from all, with the same placeholder.
        """
        for part in parts:
            part.find(self._regions)
        values = {value.casefold(): kind for part in parts for (kind, _, _), value in part.found}
        repeated = {value: kind for value, kind in values.items() if len(value) >= _REPEATED_FROM}
        numbers = _Numbers(
            {match[0] for part in parts for match in _PLACEHOLDER.finditer(part.text)}
        )

        def placeholder(kind: PersonalDataKind, value: str) -> str:
            return numbers.placeholder(Redaction(kind, self.digest(kind, value)))

        texts = []
        for part in parts:
            if repeated:
                part.find_again(repeated)
            texts.append(part.replaced(placeholder))
        return texts, tuple(numbers.placeholders)


class _Numbers:
    """The placeholders of redactions, numbered by kind."""

    def __init__(self, taken: set[str]) -> None:
        self.placeholders: dict[Redaction, str] = {}
        self._taken = taken
        self._last: Counter[PersonalDataKind] = Counter()

    def placeholder(self, redaction: Redaction) -> str:
        while redaction not in self.placeholders:
            self._last[redaction.kind] += 1
            name = f"<{redaction.kind}_{self._last[redaction.kind]}>"
            if name not in self._taken:
                self.placeholders[redaction] = name
        return self.placeholders[redaction]


class _Part:
    """A text to redact, and the findings in it.

    Args:
        text: the original text.
        cue: the key of the text in a JSON object.
    """

    def __init__(self, text: str, cue: str = "") -> None:
        self.text = text
        self.found: list[tuple[Finding, str]] = []
        self._folded: Folded = folded(text)
        self._cue = cue
        placeholders = [match.span() for match in _PLACEHOLDER.finditer(self._folded.text)]
        self._rest = without(self._folded.text, placeholders)

    def find(self, regions: Sequence[str]) -> None:
        """Find personal data and secrets; search again after removal, since it may reveal more."""
        if (
            self._cue
            and names_a_secret(self._cue)
            and not self._rest.isspace()
            and can_be_secret(self._rest)
        ):
            self._take([(Finding("secret", 0, len(self._rest)), self._folded.text)])
        cue = f"{spoken(self._cue)}: " if self._cue else ""
        for _ in range(_ROUNDS):
            found = [
                (Finding(kind, max(start - len(cue), 0), end - len(cue)), value)
                for (kind, start, end), value in _found(cue + self._rest, regions)
                if end > len(cue)
            ]
            if not found:
                break
            self._take(found)

    def find_again(self, known: Mapping[str, PersonalDataKind]) -> None:
        """Find words that are known values, even where nothing marks them."""
        words = ((match.span(), match[0]) for match in _WORD.finditer(self._rest))
        self._take(
            [
                (Finding(known[word.casefold()], *span), word)
                for span, word in words
                if word.casefold() in known
            ]
        )

    def replaced(self, placeholder: Callable[[PersonalDataKind, str], str]) -> str:
        """Return the text with placeholders for the findings."""
        pieces, last, origins = [], 0, self._folded.origins
        for (kind, start, end), value in sorted(self.found, key=lambda found: found[0].start):
            pieces += [self.text[last : origins[start]], placeholder(kind, value)]
            last = origins[end - 1] + 1
        return "".join([*pieces, self.text[last:]])

    def _take(self, found: list[tuple[Finding, str]]) -> None:
        self.found += found
        self._rest = without(self._rest, [(start, end) for (_, start, end), _ in found])


def _found(text: str, regions: Sequence[str]) -> list[tuple[Finding, str]]:
    """Return the findings of all kinds in a folded text."""
    found = list(find_credentials(text))
    # The password of a URL and the host after it would look like an address.
    found += find_emails(without(text, _places(text, found)))
    if _NUMBER.search(text):
        numbers = without(text, (match.span() for match in _NO_VALUE.finditer(text)))
        found += [
            *find_ibans(text),
            *find_cards(numbers),
            *find_national_ids(numbers),
            *find_ips(numbers),
        ]
        found += find_phones(without(numbers, _places(text, found)), regions)
    return merged(text, found)


def _places(text: str, found: list[Finding]) -> list[tuple[int, int]]:
    return [(start, end) for (_, start, end), _ in merged(text, found)]


def _mapped(value: Any, cue: str, leaf: Callable[[_Leaf, str], Any]) -> Any:
    """Return a JSON value with `leaf` applied to its texts, whole numbers and keys."""
    match value:
        case Mapping():
            result: dict[str, Any] = {}
            for name, part in value.items():
                new = leaf(name, "")
                while new in result:  # two spellings of one value have one placeholder
                    new += "'"
                result[new] = _mapped(part, name, leaf)
            return result
        case list() | tuple():
            return [_mapped(part, cue, leaf) for part in value]
        case str():
            return leaf(value, cue)
        case int() | float() if not isinstance(value, bool) and value == int(value):
            return leaf(value, cue)
        case _:
            return value


def _normal(kind: PersonalDataKind, value: str, regions: Sequence[str]) -> str:
    """Return the normal form of a value, which is the same for all its spellings."""
    match kind:
        case "secret":
            return value
        case "email":
            return _OBFUSCATED.sub(
                lambda match: "@" if match[1][0] in "aA" else ".", value
            ).casefold()
        case "phone":
            return phone_number(value, regions)
        case "ip":
            with suppress(ValueError):
                return str(ip_address(value))
    return "".join(filter(str.isalnum, value)).casefold()
