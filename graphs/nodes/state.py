"""State, input and configuration of a graph."""

from typing import Annotated, Any

from langchain_core.messages import AnyMessage
from langgraph.graph.message import add_messages
from pydantic import BaseModel, Field
from typing_extensions import TypedDict


class Input(TypedDict):
    """A caller's input: new messages of the conversation. Only authentication names the user."""

    messages: Annotated[list[AnyMessage], add_messages]


class State(Input, total=False):
    """The conversation, and what is known about the user during a run."""

    memory: dict[str, Any]
    """The snapshot that `load_context` took: session, turns, memories and profile, as JSON."""
    written: dict[str, Any]
    """The last write of `write_memory` as JSON: the exchange's id, addresses of memories, and the
    run. By the run, memory knows where a run goes on that names an earlier checkpoint."""


class Options(BaseModel):
    """Configuration of every agent, for a run or for an assistant in Studio."""

    model: str | None = Field(
        default=None,
        description="The chat model as provider:name, or `offline`. Empty for the deployment's.",
        json_schema_extra={"langgraph_nodes": ["respond", "agent"]},
    )
    memory_limit: int = Field(
        default=8,
        ge=0,
        le=50,
        description="Most memories, and most recent turns, that a run starts with.",
        json_schema_extra={"langgraph_nodes": ["load_context"]},
    )
    memory_tokens: int | None = Field(
        default=None,
        ge=0,
        description="Most tokens of memory in the prompt. Empty for the deployment's most.",
        json_schema_extra={"langgraph_nodes": ["respond", "agent"]},
    )
    message_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Most tokens of messages that the model gets. Empty for the deployment's most.",
        json_schema_extra={"langgraph_nodes": ["respond", "agent"]},
    )


class Context(Options):
    """Configuration of an agent without tools. Users may write its prompt."""

    system_prompt: str = Field(
        default="You are a helpful assistant with a long-term memory. Use what you know about the "
        "user.",
        description="The agent's behaviour. Memories of the user are added to it.",
        json_schema_extra={"langgraph_nodes": ["respond"], "langgraph_type": "prompt"},
    )


class AgentContext(Options):
    """Configuration of an agent with tools, which has a fixed prompt."""

    instructions: str = Field(
        default="",
        description="The agent's behaviour, in addition to its fixed prompt.",
        json_schema_extra={"langgraph_nodes": ["agent"], "langgraph_type": "prompt"},
    )
