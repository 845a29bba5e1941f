"""The writes of LangGraph's checkpointer as queries, which coalesce into few round trips."""

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from graphs.memory.database.query import Query
from graphs.memory.database.statements import Statement

writing_run: ContextVar[str] = ContextVar("writing_run", default="")
"""The run that writes; empty outside a server, where runs have no ids."""


class Written:
    """Stand-in for a cursor that only writes: it collects statements, to be sent together."""

    def __init__(self) -> None:
        self.queries: list[Query[None]] = []
        self.run_id = writing_run.get()
        self.thread_id = ""
        """Thread of the state: the first parameter of every write of the parent."""

    async def execute(self, statement: LiteralString, parameters: Sequence[Any]) -> None:
        """Collect a statement."""
        self.thread_id = str(parameters[0])
        self.queries.append(_query(statement, parameters))

    async def executemany(
        self, statement: LiteralString, parameters: Iterable[Sequence[Any]]
    ) -> None:
        """Collect a statement once per row of parameters."""
        for row in parameters:
            await self.execute(statement, row)


def _query(statement: LiteralString, parameters: Sequence[Any]) -> Query[None]:
    named = _named(statement)
    plain = (json.dumps(value.obj) if isinstance(value, Jsonb) else value for value in parameters)
    return Query(
        named, {name: value for (name, _), value in zip(named.parameters, plain, strict=True)}
    )


@lru_cache(64)
def _named(statement: LiteralString) -> Statement:
    """Return a statement of the parent with names for its positional parameters."""
    numbers = itertools.count()
    source: Any = re.sub("%s", lambda _: f"%(p{next(numbers)})s", statement)
    return Statement("checkpoint", source)
