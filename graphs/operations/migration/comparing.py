"""A comparison of search results: the source and the store answer the same questions."""

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from langgraph.store.base import SearchOp
from pydantic import BaseModel, ConfigDict, Field

from graphs.memory.errors import InvalidInput
from graphs.memory.values.namespaces import Namespace, user_scope
from graphs.operations.migration.source import Source

Search = Callable[[Sequence[SearchOp]], Awaitable[Sequence[Any]]]
"""A callable that runs searches: the store's `abatch`."""

_WORDS = 12
"""Words of a memory that make a question about it."""


class Question(BaseModel):
    """A query and its scope."""

    model_config = ConfigDict(frozen=True)

    scope: Namespace
    query: str


class Compared(BaseModel):
    """The results of one question on both sides."""

    model_config = ConfigDict(frozen=True)

    scope: Namespace
    query: str
    theirs: int = Field(description="Number of results in the source.")
    ours: int = Field(description="Number of results in this store.")
    shared: int = Field(description="Number of the source's results that this store found, too.")


class Parity(BaseModel):
    """The similarity of the search results of both sides."""

    model_config = ConfigDict(frozen=True)

    limit: int = Field(description="Results requested per question: the k of overlap@k.")
    overlap: float | None = Field(
        description="Mean share of the source's results that this store found, too: overlap@k."
    )
    questions: list[Compared]


async def compare(
    source: Source, search: Search, questions: Iterable[Question], limit: int
) -> Parity | None:
    """Ask both sides. Return None if the source cannot search or there are no questions."""
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
    """Parse questions: one JSON object per line with `query` and `user_id` or `namespace`.

    Raises:
        InvalidInput: a line is not a question; the message has its number.
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
                f'Line {number} of the questions must be {{"user_id": …, "query": …}}: '
                f"{type(error).__name__}."
            ) from error
    return found
