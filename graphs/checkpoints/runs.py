"""The run that a call of the checkpointer is part of, as the server tells it in the config."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig


def may_have_begun_before(run_id: str, when: float) -> bool:
    """Return whether a run may have begun before a time, in seconds since 1970.

    The server's run ids are UUIDs of version 7, which start with the milliseconds of their making.
    """
    try:
        uuid = UUID(run_id)
    except ValueError:
        return bool(run_id)
    return uuid.version != 7 or (uuid.int >> 80) < when * 1000


def run_of(config: RunnableConfig, metadata: Mapping[str, Any] | None = None) -> str:
    """Return the id of the run that a call is part of; empty outside a server."""
    told = {**config["configurable"], **config.get("metadata", {}), **(metadata or {})}
    return str(told.get("run_id") or "")
