"""The run and the user that a call of the checkpointer is part of."""

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointMetadata

from graphs.memory.principal import acting_user


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


def with_user(config: RunnableConfig, metadata: CheckpointMetadata) -> CheckpointMetadata:
    """Return metadata that name the user who runs the thread: by that an erasure knows whose it is.

    The server names its authenticated user in the config, where no client can put another one.
    Outside a server it is the user of `acting_as`. What a client says in metadata does not count.
    """
    user_id = config["configurable"].get("langgraph_auth_user_id") or acting_user()
    named = {**metadata, "langgraph_auth_user_id": user_id} if user_id else metadata
    return cast("CheckpointMetadata", named)
