"""Models of requests and responses, with ids for URLs and an example of each."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
)

from graphs.api import examples
from graphs.api.ids import PATTERN
from graphs.memory.brain.models import BrainMemory, StoredBrainMemory
from graphs.memory.brain.owners import company_scope
from graphs.memory.contract import (
    Exchange,
    MemoryContext,
    MemoryType,
    RecalledMemory,
    WriteReceipt,
)
from graphs.memory.conversations.sessions import StoredTurn
from graphs.memory.knowledge.memories import Memory, Revision
from graphs.memory.knowledge.relationships import MAX_TYPE_BYTES, Relationship
from graphs.memory.values.ids import to_id
from graphs.memory.values.namespaces import Namespace, user_scope
from graphs.memory.values.text import problem_with

T = TypeVar("T")

MAX_ID = 200
"""Longest id of a session or run, name of an agent, and tag."""


def _storable(text: str) -> str:
    if problem := problem_with(text):
        raise ValueError(problem)
    return text


Text = Annotated[str, AfterValidator(_storable)]
ShortName = Annotated[Text, Field(min_length=1, max_length=MAX_ID)]
TypeName = Annotated[Text, Field(min_length=1, max_length=MAX_TYPE_BYTES)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
MemoryId = Annotated[str, Field(pattern=PATTERN)]
Metadata = dict[str, JsonValue]


def shown(example: Any, extra: Literal["forbid", "ignore"] = "ignore") -> ConfigDict:
    """Return a model's configuration with an example."""
    return ConfigDict(frozen=True, extra=extra, json_schema_extra={"examples": [example]})


PayloadContent = Annotated[
    Annotated[Text, Field(min_length=1), Tag("text")] | Annotated[Exchange, Tag("exchange")],
    Discriminator(lambda given: "text" if isinstance(given, str) else "exchange"),
]
"""Text, or an exchange. The discriminator keeps errors about one kind free of the other."""


class Listed(BaseModel, Generic[T]):
    """A list of all results, without pages."""

    model_config = ConfigDict(frozen=True)

    items: list[T]


class Me(BaseModel):
    """The principal who is signed in."""

    model_config = shown(examples.ME)

    user_id: str | None = Field(description="None for the service.")
    service: bool = Field(description="True for the service, which may name any user as `user_id`.")


class MemoryRef(BaseModel):
    """A reference to a memory."""

    model_config = shown(examples.REF)

    id: str = Field(description="The memory's id in URLs; opaque.")
    namespace: Namespace
    key: str

    @classmethod
    def at(cls, namespace: Namespace, key: str) -> Self:
        """Return the reference to an address."""
        return cls(id=to_id(namespace, key), namespace=namespace, key=key)


class NewMemory(BaseModel):
    """A memory to write, for the user who is signed in."""

    model_config = shown(examples.NEW_MEMORY, extra="forbid")

    session_id: ShortName = Field(description="The conversation that it comes from.")
    agent: ShortName = Field(description="The writer: an agent or an application.")
    type: MemoryType
    content: PayloadContent = Field(
        description="The text of the memory; for a `turn`, the exchange."
    )
    tags: list[ShortName] = Field(default_factory=list)
    importance: Share = 0.5
    metadata: Metadata = Field(default_factory=dict)
    timestamp: AwareDatetime | None = Field(
        default=None, description="When it was said or learned; by default now."
    )


class Change(Revision):
    """A change of a memory. Fields that are not given stay as they are."""

    model_config = shown(examples.REVISION, extra="forbid")

    content: Text | None = Field(default=None, min_length=1, description="The new text.")
    tags: list[ShortName] | None = None
    importance: Share | None = None
    pinned: bool | None = Field(
        default=None, strict=True, description="True protects it from decay and expiry."
    )


class Written(BaseModel):
    """The result of a write."""

    model_config = shown(examples.WRITTEN)

    memories: list[MemoryRef]
    replayed: bool = Field(
        description="True if an earlier write with this `Idempotency-Key` stored it."
    )

    @classmethod
    def of(cls, receipt: WriteReceipt) -> Self:
        """Return the result that a receipt describes."""
        return cls(
            memories=[MemoryRef.at(*address) for address in receipt.memories],
            replayed=receipt.replayed,
        )


class MemoryView(Memory):
    """A memory in its current version."""

    model_config = shown(examples.MEMORY)

    id: str = Field(description="The memory's id in URLs; opaque.")

    @classmethod
    def of(cls, memory: Memory) -> Self:
        """Return a memory with its id."""
        return cls(id=to_id(*memory.address), **dict(memory))


class RecalledView(RecalledMemory):
    """A memory that was found for a query."""

    model_config = shown(examples.RECALLED)

    id: str = Field(description="The memory's id in URLs; opaque.")

    @classmethod
    def of(cls, memory: RecalledMemory) -> Self:
        """Return a memory with its id."""
        return cls(id=to_id(memory.namespace, memory.key), **dict(memory))


class ContextView(MemoryContext):
    """The snapshot that a run starts with."""

    model_config = shown(examples.CONTEXT)

    memories: list[RecalledView]  # type: ignore[assignment]  # a RecalledView is a RecalledMemory

    @classmethod
    def of(cls, context: MemoryContext) -> Self:
        """Return a snapshot with the ids of its memories."""
        return cls(
            **dict(context) | {"memories": [RecalledView.of(memory) for memory in context.memories]}
        )


class TurnView(StoredTurn):
    """A turn of a session."""

    model_config = shown(examples.TURN)

    id: str = Field(description="The id of the memory that holds it.")

    @classmethod
    def of(cls, turn: StoredTurn) -> Self:
        """Return a turn with its id."""
        return cls(id=to_id(turn.namespace, turn.key), **dict(turn))


class OriginView(BaseModel):
    """The origin of a memory; what is not known is null."""

    model_config = shown(examples.ORIGIN)

    agent: str | None
    session_id: str | None
    thread_id: str | None
    run_id: str | None
    checkpoint_id: str | None
    task_id: str | None
    turns: list[TurnView] = Field(description="The turns that a fact was extracted from.")


class RecalledEntry(MemoryRef):
    """A memory that a recall chose, or nearly chose, and why."""

    model_config = shown(examples.RECALLED_ENTRY)

    score: float | None
    parts: dict[str, float] = Field(description="The addends of the score.")
    content: str | None = Field(description="Its current text; null if it was deleted.")
    type: str | None = Field(description="Its current type; null if it was deleted.")


class ReceiptView(BaseModel):
    """The memories that a recall chose and nearly chose, and why."""

    model_config = shown(examples.RECEIPT)

    at: datetime
    actor: str = Field(description="The principal who asked: a user's id, or the service.")
    query: str
    chosen: list[RecalledEntry] = Field(description="Best first.")
    nearly: list[RecalledEntry] = Field(description="The memories that would have come next.")
    session_id: str | None
    thread_id: str | None
    run_id: str | None
    checkpoint_id: str | None


class NewRelationship(BaseModel):
    """An edge from one memory to another. An existing edge gets the new strength and metadata."""

    model_config = shown(examples.NEW_RELATIONSHIP, extra="forbid")

    source: MemoryId = Field(description="`id` of the memory where it starts.")
    target: MemoryId = Field(description="`id` of the memory where it ends.")
    type: TypeName
    strength: Share = 1.0
    metadata: Metadata = Field(default_factory=dict)


class RelationshipView(BaseModel):
    """An edge of the graph of a user's memory."""

    model_config = shown(examples.RELATIONSHIP)

    source: str = Field(description="`id` of the memory where it starts.")
    target: str = Field(description="`id` of the memory where it ends.")
    type: str
    strength: float
    metadata: dict[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, edge: Relationship) -> Self:
        """Return an edge with the ids of its memories."""
        ends = {"source": to_id(*edge.source), "target": to_id(*edge.target)}
        return cls(**dict(edge) | ends)


class Node(BaseModel):
    """A memory in the neighbourhood of another."""

    model_config = shown(examples.NODE)

    id: str
    type: str | None
    content: str
    importance: float | None
    pinned: bool
    depth: int = Field(description="Number of edges, on the shortest of the paths that were found.")


class Edge(BaseModel):
    """An edge between two nodes, in its stored direction."""

    model_config = shown(examples.EDGE)

    source: str
    target: str
    type: str
    strength: float


class Neighbourhood(BaseModel):
    """The strongest paths from a memory, as a graph."""

    model_config = shown(examples.NEIGHBOURHOOD)

    nodes: list[Node] = Field(description="The memory itself first, at depth 0.")
    edges: list[Edge]


class NewBrainMemory(BaseModel):
    """A memory to save under a slug."""

    model_config = shown(examples.NEW_BRAIN_MEMORY, extra="forbid")

    content: Annotated[Text, Field(min_length=1)]
    category: ShortName | None = None
    tags: list[ShortName] = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)

    def named(self, slug: str) -> BrainMemory:
        """Return it under its slug."""
        return BrainMemory(slug=slug, **dict(self))


class OneOfMany(NewBrainMemory):
    """One of many memories to save. An invalid one is refused alone, in the report."""

    content: str
    category: str | None = None
    tags: list[str] = Field(default_factory=list)


class BrainView(StoredBrainMemory):
    """A memory that a slug names."""

    model_config = shown(examples.BRAIN_MEMORY)

    id: str = Field(description="The memory's id in URLs; opaque.")

    @classmethod
    def of_user(cls, user_id: str, memory: StoredBrainMemory) -> Self:
        """Return a user's memory with its id."""
        return cls(id=to_id((*user_scope(user_id), "brain"), memory.slug), **dict(memory))

    @classmethod
    def of_company(cls, company_id: str, memory: StoredBrainMemory) -> Self:
        """Return a company's memory with its id."""
        return cls(id=to_id((*company_scope(company_id), "brain"), memory.slug), **dict(memory))


class Erasure(BaseModel):
    """The confirmation of an erasure."""

    model_config = shown(examples.ERASURE, extra="forbid")

    confirm: str = Field(
        description="Your own user id: everything stored about you is removed permanently."
    )


def listed(items: Iterable[T]) -> Listed[T]:
    """Return items as a response."""
    return Listed(items=list(items))
