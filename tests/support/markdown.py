"""The parts of a page: fenced blocks, headings, links."""

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, and the line number at which its text begins."""

    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page, in their order."""
    return [
        Block(found[1], found[2], page.count("\n", 0, found.start(2)) + 1)
        for found in _FENCE.finditer(page)
    ]


def prose(page: str) -> str:
    """Return a page without its blocks."""
    return _FENCE.sub("", page)


def links(page: str) -> list[str]:
    """Return the targets of a page's links inside this repository."""
    return [found for found in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in found]


def headings(page: str) -> set[str]:
    """Return the headings of a page, as the anchors that links use."""
    found = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}
