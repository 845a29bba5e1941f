"""Reads that take several rounds: each is one function that asks and goes on with the answers.

A reading is a generator. It yields the queries of a round, receives their answers in the same
order, and returns its result. Readings that are under way at the same time share each round, which
is one transaction and one round trip.
"""

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from graphs.memory.database.database import Database, PrincipalQueries
from graphs.memory.database.query import Query
from graphs.memory.principal import Principal

T = TypeVar("T")

Reading = Generator[Sequence[Query[Any]], Sequence[Any], T]


def asking(query: Query[T]) -> Reading[T]:
    """Ask a single query."""
    [answer] = yield [query]
    found: T = answer
    return found


def side_by_side(readings: Sequence[Reading[Any]]) -> Reading[list[Any]]:
    """Carry readings out together, and return their results in the same order."""
    rounds = _rounds(readings)
    try:
        asked = next(rounds)
        while True:
            answers = iter((yield [query for queries in asked.values() for query in queries]))
            asked = rounds.send({n: [next(answers) for _ in asked[n]] for n in asked})
    except StopIteration as end:
        results: list[Any] = end.value
        return results


async def read(
    database: Database,
    readings: Sequence[tuple[Principal, Reading[Any]]],
    moments: Sequence[datetime | None] = (),
) -> list[Any]:
    """Return the results of readings, each carried out as its principal.

    Not to be cancelled: wrap it in `to_the_end`.

    Args:
        database: carries out the queries.
        readings: the readings, each with its principal.
        moments: the moment as of which each one reads; the present for those that are not given.

    Raises:
        GraphMemoryError: the database could not answer one of them.
    """
    rounds = _rounds([reading for _, reading in readings])
    try:
        asked = next(rounds)
        while True:
            parts = [
                PrincipalQueries(
                    readings[n][0], queries, moment=moments[n] if n < len(moments) else None
                )
                for n, queries in asked.items()
            ]
            asked = rounds.send(dict(zip(asked, await database.run_parts(parts), strict=True)))
    except StopIteration as end:
        results: list[Any] = end.value
        return results


def _rounds(
    readings: Sequence[Reading[Any]],
) -> Generator[dict[int, Sequence[Query[Any]]], dict[int, Sequence[Any]], list[Any]]:
    """Yield the queries of each round by reading, receive their answers, return the results."""
    results: list[Any] = [None] * len(readings)
    answers: dict[int, Any] = dict.fromkeys(range(len(readings)))  # None begins a generator
    while answers:
        asked: dict[int, Sequence[Query[Any]]] = {}
        for n, answer in answers.items():
            try:
                asked[n] = readings[n].send(answer)
            except StopIteration as end:
                results[n] = end.value
        answers = (yield asked) if asked else {}
    return results
