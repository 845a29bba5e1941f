"""Ids of entities as they are kept: stable, the same however they were spelled, and readable by people.

Pure. A normaliser takes an id as people write it and returns the one that is kept, or says what is wrong with it. The
ones here are in `NORMALISERS` by name; any other function of this shape may stand beside them.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from graphs.memory.errors import InvalidEntityId
from graphs.memory.values.text import problem_with

MAX_BYTES = 500
"""Longest id. It is part of a namespace, of which Postgres indexes about 2,000 bytes together with the key."""


class EntityNormaliser(Protocol):
    """Returns an id as it is kept. What it returns, it returns again when it is given that."""

    def __call__(self, entity_id: str, /) -> str:
        """Normalise.

        Raises:
            ValueError: it is no id of this kind; the message goes on from the field's name, as in "must be an e-mail".
        """


def plain(entity_id: str, /) -> str:
    """Take an id as it is, without the space around it."""
    return entity_id.strip()


def cl_rut(entity_id: str, /) -> str:
    """Normalise a Chilean RUT or RUN: `12.345.678-5` becomes `123456785`, with `k` for the check digit K.

    Dots, dashes and spaces may stand anywhere, and zeros before it. The check digit is 11 minus the sum, modulo 11, of
    the digits from the last to the first, weighted 2, 3, 4, 5, 6, 7, 2, 3, …; 10 is written K and 11 is written 0.
    """
    # Every dash of Unicode counts as one: people copy ids from documents.
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
            f"has the check digit {digit.upper()}, but that of this number is {right.upper()}: mistyped?"
        )
    return number + digit


def check_digit(number: str) -> str:
    """Return the check digit of a RUT's number, `0` to `9` or `k`."""
    total = sum(int(digit) * (2 + n % 6) for n, digit in enumerate(reversed(number)))
    return "0123456789k0"[11 - total % 11]


def uuid(entity_id: str, /) -> str:
    """Normalise a UUID: small letters, with dashes."""
    try:
        return str(UUID(entity_id.strip()))
    except ValueError:
        raise ValueError("must be a UUID.") from None


def email(entity_id: str, /) -> str:
    """Normalise an e-mail address: small letters. Whether it exists is not looked into."""
    address = entity_id.strip().lower()
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", address):
        raise ValueError("must be an e-mail address, such as ann@example.com.")
    return address


def slug(entity_id: str, /) -> str:
    """Normalise a name of letters, digits, dashes and underscores: small letters."""
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
"""The normalisers that a setting can name."""


def normalise(entity_id: str, normaliser: EntityNormaliser, field: str) -> str:
    """Return an id as it is kept.

    Args:
        entity_id: as somebody wrote it.
        normaliser: of this kind of entity.
        field: what the id is called where it was given, for the error.

    Raises:
        InvalidEntityId: it is no such id, or Postgres cannot store it; `path` is the field.
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
