"""Export: everything about a user, as lines of JSON."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from graphs.memory.database import statements
from graphs.memory.database.query import Query

_SQL = statements.load("export", __package__)

FORMAT = "graph-native-memory/user"
"""The name of the format, in the first line of an export."""

VERSION = 1

_PAGE = 500


async def export(
    user_id: str, ask: Callable[[Query[Any]], Awaitable[Any]], exported_at: datetime | None = None
) -> AsyncIterator[str]:
    """Yield everything about a user as lines of JSON: a header, `{"table", "row"}` lines, counts.

    The last line has the SHA-256 of all lines before it, with their line ends.

    Args:
        user_id: the user.
        ask: runs a query; no connection is held between two pages.
        exported_at: the time in the first line; now by default.
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
