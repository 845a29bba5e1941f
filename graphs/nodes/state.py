"""What flows through a graph: its state, its input, and what may be configured for a run."""

from typing import Annotated, Any

from langchain_core.messages import AnyMessage
from langgraph.graph.message import add_messages
from pydantic import BaseModel, Field
from typing_extensions import TypedDict


class Input(TypedDict):
    """What a caller gives: the new messages of the conversation. Who the user is comes from authentication alone."""

    messages: Annotated[list[AnyMessage], add_messages]


class State(Input, total=False):
    """The conversation, and what is known about the user while a run lasts."""

    memory: dict[str, Any]
    """The snapshot that `load_context` took: session, turns, memories and profile, as JSON."""
    written: dict[str, Any]
    """What `write_memory` stored last: the exchange's id, and namespace and key of each memory, as JSON."""


class Options(BaseModel):
    """What can be configured of every agent for a run, or for an assistant in Studio."""

    model: str | None = Field(
        default=None,
        description="The chat model as provider:name, or `offline`. Empty for the deployment's own.",
        json_schema_extra={"langgraph_nodes": ["respond", "agent"]},
    )
    memory_limit: int = Field(
        default=8,
        ge=0,
        le=50,
        description="How many memories, and how many recent turns, a run starts with at most.",
        json_schema_extra={"langgraph_nodes": ["load_context"]},
    )


class Context(Options):
    """What can be configured of an agent without tools, whose prompt is anybody's to write."""

    system_prompt: str = Field(
        default="You are a helpful assistant with a long-term memory. Use what you know about the user.",
        description="How the agent should behave. What is remembered about the user is added to it.",
        json_schema_extra={"langgraph_nodes": ["respond"], "langgraph_type": "prompt"},
    )


class AgentContext(Options):
    """What can be configured of an agent with tools, which has a prompt of its own."""

    instructions: str = Field(
        default="",
        description="How the agent should behave beside what its own prompt says.",
        json_schema_extra={"langgraph_nodes": ["agent"], "langgraph_type": "prompt"},
    )
