"""The run that a call of the checkpointer is part of, as the server tells it in the config."""

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig


def attempt_of(config: RunnableConfig) -> int:
    """Return the number of the attempt of the run that a call is part of."""
    attempt = config.get("metadata", {}).get("run_attempt")
    return attempt if isinstance(attempt, int) else 1


def run_of(config: RunnableConfig, metadata: Mapping[str, Any] | None = None) -> str:
    """Return the id of the run that a call is part of; empty outside a server."""
    told = {**config["configurable"], **config.get("metadata", {}), **(metadata or {})}
    return str(told.get("run_id") or "")
