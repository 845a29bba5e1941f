"""The same questions on both sides: how much of what the source finds is found here, too."""

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from langgraph.store.base import SearchOp
from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.errors import InvalidInput
from graphs.memory.values.namespaces import Namespace, user_scope
from graphs.operations.migration.source import Source

Search = Callable[[Sequence[SearchOp]], Awaitable[Sequence[Any]]]
"""Carries searches out: the store's `abatch`."""

_WORDS = 12
"""A question that is made of a memory is its first words."""


class Question(BaseModel):
    """Something to ask in a scope."""

    model_config = ConfigDict(frozen=True)

    scope: Namespace
    query: str


class Compared(BaseModel):
    """What became of a question."""

    model_config = ConfigDict(frozen=True)

    scope: Namespace
    query: str
    theirs: int = Field(description="How many the source found.")
    ours: int = Field(description="How many were found here.")
    shared: int = Field(description="How many of the source's were found here, too.")


class Parity(BaseModel):
    """How alike the two sides answer."""

    model_config = ConfigDict(frozen=True)

    limit: int = Field(description="How many were asked for: the k of overlap@k.")
    overlap: float | None = Field(
        description="Which part of what the source found was found here, too; its mean."
    )
    questions: list[Compared]


async def compare(
    source: Source, search: Search, questions: Iterable[Question], limit: int
) -> Parity | None:
    """Ask both sides; None where the source cannot search, or there was nothing to ask."""
    compared = []
    for question in questions:
        theirs = await source.ask(question.scope, question.query, limit)
        if theirs is None:
            return None
        [found] = await search(
            [SearchOp(question.scope, query=question.query, limit=limit, refresh_ttl=False)]
        )
        ours = {(item.namespace, item.key) for item in found}
        shared = len(ours.intersection(theirs))
        compared.append(
            Compared(**question.model_dump(), theirs=len(theirs), ours=len(ours), shared=shared)
        )
    parts = [one.shared / one.theirs for one in compared if one.theirs]
    if not compared:
        return None
    return Parity(
        limit=limit, overlap=sum(parts) / len(parts) if parts else None, questions=compared
    )


def question_about(namespace: Namespace, value: dict[str, Any]) -> Question | None:
    """Return a question that a memory answers, in its owner's scope; None if it has no text."""
    content = value.get("content")
    text = (
        content
        if isinstance(content, str)
        else " ".join(part for part in value.values() if isinstance(part, str))
    )
    words = text.split()[:_WORDS]
    return Question(scope=namespace[:2], query=" ".join(words)) if words else None


def read_questions(lines: Iterable[str]) -> list[Question]:
    """Read questions, one JSON object on each line: `{"user_id": …, "query": …}`, or `namespace` for `user_id`.

    Raises:
        InvalidInput: a line is none; its number is told.
    """
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
            scope = tuple(told["namespace"]) if "namespace" in told else user_scope(told["user_id"])
            found.append(Question(scope=scope, query=told["query"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(
                f'line {number} of the questions is not {{"user_id": …, "query": …}}: {type(error).__name__}.'
            ) from error
    return found
