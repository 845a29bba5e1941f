"""Normalisers of entity ids: every spelling of an id is stored as one stable, readable id.

Pure functions. A normaliser takes an id as people write it, and returns the id to store or raises
`ValueError`. `NORMALISERS` names those of this module; any other function of the same shape works
as well.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from graphs.memory.errors import InvalidEntityId
from graphs.memory.values.text import problem_with

MAX_BYTES = 500
"""Longest id, in bytes.

It is part of a namespace, and Postgres indexes about 2,000 bytes of namespace and key together.
"""


class EntityNormaliser(Protocol):
    """A function from any spelling of an id to the id to store. It is idempotent."""

    def __call__(self, entity_id: str, /) -> str:
        """Return the id to store.

        Raises:
            ValueError: it is not an id of this kind. The message continues the field's name, as
                in "must be an e-mail address".
        """


def plain(entity_id: str, /) -> str:
    """Return an id without the white space around it."""
    return entity_id.strip()


def cl_rut(entity_id: str, /) -> str:
    """Normalise a Chilean RUT or RUN: `12.345.678-5` becomes `123456785`, with `k` for K.

    Dots, dashes and white space are ignored anywhere, and zeros at the beginning. The check digit
    is 11 minus the weighted sum of the digits modulo 11. The weights, from the last digit to the
    first, are 2, 3, 4, 5, 6, 7, 2, 3, …; the result 10 is written K and 11 is written 0.

    Raises:
        ValueError: it is not a RUT, or the check digit is wrong.
    """
    # People copy ids from documents, which contain any dash of Unicode.
    characters = [
        c
        for c in entity_id
        if not (c in ".\u2212" or c.isspace() or unicodedata.category(c) == "Pd")
    ]
    match = re.fullmatch(r"0*([1-9][0-9]{0,7})([0-9k])", "".join(characters).lower())
    if not match:
        raise ValueError(
            "must be a RUT: up to eight digits and the check digit, such as 12.345.678-5."
        )
    number, digit = match.groups()
    if digit != (right := check_digit(number)):
        raise ValueError(
            f"has the check digit {digit.upper()}, but this number needs {right.upper()}: "
            "look for a typing error."
        )
    return number + digit


def check_digit(number: str) -> str:
    """Return the check digit, `0` to `9` or `k`, of a RUT without it."""
    total = sum(int(digit) * (2 + n % 6) for n, digit in enumerate(reversed(number)))
    return "0123456789k0"[11 - total % 11]


def uuid(entity_id: str, /) -> str:
    """Normalise a UUID: lower case, with dashes.

    Raises:
        ValueError: it is not a UUID.
    """
    try:
        return str(UUID(entity_id.strip()))
    except ValueError:
        raise ValueError("must be a UUID.") from None


def email(entity_id: str, /) -> str:
    """Normalise an e-mail address: lower case. Only its form is checked.

    Raises:
        ValueError: it does not look like an e-mail address.
    """
    address = entity_id.strip().lower()
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", address):
        raise ValueError("must be an e-mail address, such as ann@example.com.")
    return address


def slug(entity_id: str, /) -> str:
    """Normalise a name of letters, digits, dashes and underscores: lower case.

    Raises:
        ValueError: it is longer than 128 characters, or has other characters.
    """
    name = entity_id.strip().lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,127}", name):
        raise ValueError(
            "must be a name of at most 128 letters a to z, digits, - and _, such as acme-ltd."
        )
    return name


NORMALISERS: Mapping[str, EntityNormaliser] = {
    "plain": plain,
    "cl_rut": cl_rut,
    "uuid": uuid,
    "email": email,
    "slug": slug,
}
"""The normalisers that a setting can select, by name."""


def normalise(entity_id: str, normaliser: EntityNormaliser, field: str) -> str:
    """Return the id to store.

    Args:
        entity_id: the id in any spelling.
        normaliser: the normaliser of this kind of entity.
        field: the caller's name of the id, for error messages.

    Raises:
        InvalidEntityId: it is not an id of this kind, or Postgres cannot store it; `path` is the
            field.
    """
    if not isinstance(entity_id, str) or not entity_id.strip():
        raise InvalidEntityId(field, "must be a text that is not blank.")
    if problem := problem_with(entity_id):
        raise InvalidEntityId(field, problem)
    try:
        kept = normaliser(entity_id)
    except ValueError as error:
        raise InvalidEntityId(field, str(error)) from None
    if not kept or len(kept.encode()) > MAX_BYTES:
        raise InvalidEntityId(
            field, f"must have 1 to {MAX_BYTES} bytes; it has {len(kept.encode())}."
        )
    return kept
