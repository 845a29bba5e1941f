"""The line of a conversation that a run is on, as the state of its graph tells it.

The state's `written` names the last run that wrote memory. LangGraph restores it with any
checkpoint, copy or fork. So memory learns where a run goes on without looking at checkpoints.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from langgraph.config import get_config

from graphs.memory.principal import current_provenance
from graphs.memory.timeline.runs import RunPlace
from graphs.nodes.state import State

_handed: ContextVar[Mapping[str, Any] | None] = ContextVar("handed_line", default=None)


@contextmanager
def on_the_line_of(state: State) -> Iterator[None]:
    """Let a subgraph that gets the messages alone go on where this state stands."""
    token = _handed.set(state.get("written"))
    try:
        yield
    finally:
        _handed.reset(token)


def place_at_start(state: State) -> RunPlace:
    """Return the place of a run that begins. Outside a server, the run gets an id of its own."""
    run_id = current_provenance().get("run_id") or str(uuid.uuid4())
    written = state.get("written") or _handed.get()
    if written is not None:
        return RunPlace(run_id, written.get("run"), knows="run" in written)
    # Nothing was written here yet. That is a fork of the beginning where a checkpoint was named, or
    # where the thread has earlier steps. A thread without a checkpointer always looks new.
    told = get_config().get("metadata", {})
    knows = bool(told.get("checkpoint_id")) or int(told.get("langgraph_step", 0)) > 1
    return RunPlace(run_id, None, knows=knows)


def place_at_end(state: State) -> RunPlace:
    """Return the place of a run that ends."""
    began = (state.get("memory") or {}).get("run_id")
    run_id = current_provenance().get("run_id") or began or str(uuid.uuid4())
    written = state.get("written") or {}
    return RunPlace(run_id, written.get("run"), knows="run" in written, began=began)
