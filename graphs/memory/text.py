"""What Postgres can store as text."""

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def problem_with(text: str) -> str | None:
    """Return why Postgres cannot store a text, or None if it can."""
    if "\0" in text:
        return "contains a NUL character, which Postgres cannot store."
    if not text.isascii() and _SURROGATE.search(text):
        return "contains a lone surrogate, which is not valid Unicode text."
    return None
