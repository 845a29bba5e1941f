"""The undo of what runs wrote to memory, in the transaction that deletes their checkpoints."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from graphs.memory.database import statements
from graphs.memory.database.database import is_transient
from graphs.memory.principal import acting_user

log = logging.getLogger(__name__)

_SQL = statements.load_sources("rollback", __package__)


async def undo_memory(
    cursor: psycopg.AsyncCursor[Any],
    run_ids: Sequence[str],
    thread_id: str | None,
    adapters: Mapping[str, Any],
) -> None:
    """Undo what runs wrote to memory, as if they had never been.

    A rollback never fails because of it: what cannot be undone is logged, and can be undone later.

    Args:
        cursor: a cursor in the transaction that deletes the checkpoints of the runs.
        run_ids: the runs.
        thread_id: the thread in which they are; None for any.
        adapters: the external services that are told.

    Raises:
        psycopg.Error: the whole transaction is to be tried again.
    """
    user_id = acting_user()
    acting = {
        "claims": json.dumps({"sub": user_id} if user_id else {"role": "service_role"}),
        "provenance": json.dumps({"adapters": dict(adapters)} if adapters else {}),
    }
    try:
        async with cursor.connection.transaction():
            await cursor.execute(_SQL["act"], acting)
            await cursor.execute(_SQL["undo"], {"run_ids": run_ids, "thread_id": thread_id})
    except psycopg.Error as error:
        if is_transient(error):
            raise
        log.exception(
            "The checkpoints of %s are deleted, but what it wrote to memory could not be undone. "
            "Undo it with `graph-memory runs undo`.",
            ", ".join(f"run {run_id}" for run_id in run_ids),
        )
