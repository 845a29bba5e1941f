"""Facts about a run for its nodes: the memory, the user, the session and the agent."""

from typing import Any

from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.runtime import Runtime

from graphs.memory.errors import ConfigurationError, PrincipalRequired
from graphs.memory.principal import acting_agent, acting_user
from graphs.memory.values.text import cleaned, shortened
from graphs.memory_manager import MemoryManager

LONGEST_MESSAGE = 100_000
"""Characters of a message that memory reads; of a longer one, its beginning and its end."""


def memory_of(runtime: Runtime[Any]) -> MemoryManager:
    """Return the deployment's memory.

    Raises:
        ConfigurationError: the graph runs without it.
    """
    if not isinstance(runtime.store, MemoryManager):
        raise ConfigurationError(
            "This graph needs a MemoryManager as its store: name graphs.memory_manager.open_store "
            "in langgraph.json, or compile the graph with `store=`."
        )
    return runtime.store


def current_user() -> str:
    """Return the authenticated user of the run; outside the server, the user of `acting_as`.

    A caller cannot name a user in the input or the configuration.

    Raises:
        PrincipalRequired: nobody is signed in.
    """
    if user_id := acting_user():
        return user_id
    raise PrincipalRequired


def session_of(runtime: Runtime[Any]) -> str:
    """Return the session: the thread, or the run if there is no thread."""
    info = runtime.execution_info
    session_id = info and (info.thread_id or info.run_id or info.task_id)
    return str(session_id) if session_id else "default"


def agent_of(runtime: Runtime[Any]) -> str:
    """Return the name of the acting agent, as in `langgraph.json`.

    Under a supervisor it is the agent that answers, not the supervisor.
    """
    return (
        acting_agent()
        or (runtime.server_info.graph_id if runtime.server_info else "")
        or "assistant"
    )


def last_human(messages: list[AnyMessage]) -> HumanMessage | None:
    """Return the user's latest message."""
    return next(
        (message for message in reversed(messages) if isinstance(message, HumanMessage)), None
    )


def text_of(message: AnyMessage) -> str:
    """Return a message's text, from a string or a list of blocks, at most `LONGEST_MESSAGE`."""
    return cleaned(shortened(str(message.text), LONGEST_MESSAGE)).strip()
