"""Export: everything that is stored about a user, as lines of JSON."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from graphs.memory.database import statements
from graphs.memory.database.query import Query

_SQL = statements.load("export", __package__)

FORMAT = "graph-native-memory/user"
"""Name of the format, in the first line of an export, next to its version."""

VERSION = 1

_PAGE = 500
"""Rows of a page."""


async def export(
    user_id: str, ask: Callable[[Query[Any]], Awaitable[Any]], exported_at: datetime | None = None
) -> AsyncIterator[str]:
    """Yield everything about a user as lines of JSON.

    The first line names the format, each following line is `{"table", "row"}`, and the last line
    has the number of rows of each table and the SHA-256 of all lines before it, including their
    line ends.

    Args:
        user_id: the user.
        ask: runs a query. No connection is held between two pages.
        exported_at: the time in the first line; None for now.
    """
    digest = hashlib.sha256()
    rows: dict[str, int] = {}

    def line(content: str) -> str:
        digest.update(f"{content}\n".encode())
        return content

    at = (exported_at or datetime.now(UTC)).isoformat()
    yield line(
        json.dumps({"format": FORMAT, "version": VERSION, "user_id": user_id, "exported_at": at})
    )
    for table in await ask(
        Query(_SQL["personal_tables"], {}, lambda found: [row.name for row in found])
    ):
        after: int | None = None
        while page := await ask(_page(user_id, table, after)):
            rows[table] = rows.get(table, 0) + len(page)
            for row in page:
                yield line(f'{{"table": {json.dumps(table)}, "row": {row.content}}}')
            after = page[-1].number
            if after is None:  # a table without row numbers comes as one page
                break
    yield json.dumps({"rows": rows, "sha256": digest.hexdigest()})


def _page(user_id: str, table: str, after: int | None) -> Query[Sequence[Any]]:
    given = {"user_id": user_id, "source": table, "after": after, "most": _PAGE}
    return Query(_SQL["export"], given, lambda rows: rows)
