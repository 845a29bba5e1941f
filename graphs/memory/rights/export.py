"""A person's rights: to get everything that is kept about them, and to have it removed."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from graphs.memory.database import statements
from graphs.memory.database.query import Query

_SQL = statements.load("export", __package__)

FORMAT = "graph-native-memory/user"
"""What an export says it is, in its first line, beside its version."""

VERSION = 1

_PAGE = 500


async def export(
    user_id: str, ask: Callable[[Query[Any]], Awaitable[Any]], exported_at: datetime | None = None
) -> AsyncIterator[str]:
    """Yield all about a person as lines of JSON: what it is, `{"table", "row"}` for each row, how many there were.

    The last line has the SHA-256 of all lines before it, their line ends included.

    Args:
        user_id: the person.
        ask: answers a query; no connection is held between two pages.
        exported_at: the time to write into the first line; now unless given.
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
            if after is None:  # a table without numbers is one page
                break
    yield json.dumps({"rows": rows, "sha256": digest.hexdigest()})


def _page(user_id: str, table: str, after: int | None) -> Query[Sequence[Any]]:
    given = {"user_id": user_id, "source": table, "after": after, "most": _PAGE}
    return Query(_SQL["export"], given, lambda rows: rows)
