"""What a LangGraph server keeps of a person in tables or files of its own."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError

_PORTION = 100

Search = Callable[..., Awaitable[Sequence[Mapping[str, Any]]]]


async def remove_what_is_owned(client: LangGraphClient, user_id: str) -> dict[str, int]:
    """Delete a person's schedules, threads with runs, and assistants; return their numbers.

    The server's own record of a thread repeats the last state, and that of a run its input, beside
    the checkpoints. Sign-in marks each with its owner.

    Args:
        client: a client that may see and delete the person's threads: of the server itself, of the
            service, or of the person.
        user_id: the person.
    """
    mine = {"owner": user_id}
    crons, threads, assistants = client.crons, client.threads, client.assistants
    removed = {
        # First: a schedule would go on making runs.
        "server schedules": await _remove(mine, "cron_id", crons.search, crons.delete),
        "server threads": await _remove(mine, "thread_id", threads.search, threads.delete),
        "server assistants": await _remove(
            mine, "assistant_id", assistants.search, assistants.delete
        ),
    }
    return {name: number for name, number in removed.items() if number}


async def _remove(
    mine: Mapping[str, str], name: str, search: Search, delete: Callable[[str], Awaitable[None]]
) -> int:
    """Delete what a search finds. Each round deletes all of it, so the next one finds others."""
    removed = 0
    while found := await search(metadata=mine, limit=_PORTION):
        for record in found:
            with suppress(NotFoundError):  # deleted by somebody else meanwhile
                await delete(record[name])
        removed += len(found)
    return removed
