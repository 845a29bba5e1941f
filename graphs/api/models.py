"""What the routes take and give: the models of the memory, with ids for URLs, and an example of each."""

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
from graphs.memory.brain.brain import company_scope
from graphs.memory.contract import (
    BrainMemory,
    Exchange,
    MemoryContext,
    MemoryType,
    RecalledMemory,
    StoredBrainMemory,
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
"""Longest id of a session or a run, name of an agent, and tag."""


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
    """Return the configuration of a model of which this is an example."""
    return ConfigDict(frozen=True, extra=extra, json_schema_extra={"examples": [example]})


PayloadContent = Annotated[
    Annotated[Text, Field(min_length=1), Tag("text")] | Annotated[Exchange, Tag("exchange")],
    Discriminator(lambda given: "text" if isinstance(given, str) else "exchange"),
]
"""What is said about the one kind of content says nothing of the other."""


class Listed(BaseModel, Generic[T]):
    """All of what was asked for."""

    model_config = ConfigDict(frozen=True)

    items: list[T]


class Me(BaseModel):
    """Who is signed in."""

    model_config = shown(examples.ME)

    user_id: str | None = Field(description="None for the service.")
    service: bool = Field(
        description="Whether it is the service, which may name anybody as `user_id`."
    )


class MemoryRef(BaseModel):
    """Which memory it is."""

    model_config = shown(examples.REF)

    id: str = Field(description="What the memory is called in URLs; opaque.")
    namespace: Namespace
    key: str

    @classmethod
    def at(cls, namespace: Namespace, key: str) -> Self:
        """Return the reference to an address."""
        return cls(id=to_id(namespace, key), namespace=namespace, key=key)


class NewMemory(BaseModel):
    """What is to be remembered. Whose it is the sign-in says."""

    model_config = shown(examples.NEW_MEMORY, extra="forbid")

    session_id: ShortName = Field(description="The conversation it comes from.")
    agent: ShortName = Field(description="Who writes: an agent, or an application.")
    type: MemoryType
    content: PayloadContent = Field(
        description="The text of the memory; for a `turn`, the exchange."
    )
    tags: list[ShortName] = Field(default_factory=list)
    importance: Share = 0.5
    metadata: Metadata = Field(default_factory=dict)
    timestamp: AwareDatetime | None = Field(
        default=None, description="When it was said or learned; now unless given."
    )


class Change(Revision):
    """What is to be changed in a memory. What is not given stays as it is."""

    model_config = shown(examples.REVISION, extra="forbid")

    content: Text | None = Field(default=None, min_length=1, description="What it should say.")
    tags: list[ShortName] | None = None
    importance: Share | None = None
    pinned: bool | None = Field(
        default=None, strict=True, description="True keeps it from decaying and expiring."
    )


class Written(BaseModel):
    """What became of what was to be remembered."""

    model_config = shown(examples.WRITTEN)

    memories: list[MemoryRef]
    replayed: bool = Field(
        description="True if it was stored before, under the same `Idempotency-Key`."
    )

    @classmethod
    def of(cls, receipt: WriteReceipt) -> Self:
        """Return what a receipt tells."""
        return cls(
            memories=[MemoryRef.at(*address) for address in receipt.memories],
            replayed=receipt.replayed,
        )


class MemoryView(Memory):
    """A memory as it stands."""

    model_config = shown(examples.MEMORY)

    id: str = Field(description="What the memory is called in URLs; opaque.")

    @classmethod
    def of(cls, memory: Memory) -> Self:
        """Return a memory with its id."""
        return cls(id=to_id(*memory.address), **dict(memory))


class RecalledView(RecalledMemory):
    """A memory that was found for a query."""

    model_config = shown(examples.RECALLED)

    id: str = Field(description="What the memory is called in URLs; opaque.")

    @classmethod
    def of(cls, memory: RecalledMemory) -> Self:
        """Return a memory with its id."""
        return cls(id=to_id(memory.namespace, memory.key), **dict(memory))


class ContextView(MemoryContext):
    """The snapshot a run starts with."""

    model_config = shown(examples.CONTEXT)

    memories: list[RecalledView]  # type: ignore[assignment]  # each of them is one, with its id

    @classmethod
    def of(cls, context: MemoryContext) -> Self:
        """Return a snapshot with the ids of its memories."""
        return cls(
            **dict(context) | {"memories": [RecalledView.of(memory) for memory in context.memories]}
        )


class TurnView(StoredTurn):
    """One thing said in a session."""

    model_config = shown(examples.TURN)

    id: str = Field(description="Of the memory that holds it.")

    @classmethod
    def of(cls, turn: StoredTurn) -> Self:
        """Return a turn with its id."""
        return cls(id=to_id(turn.namespace, turn.key), **dict(turn))


class OriginView(BaseModel):
    """Where a memory comes from; what is not known is null."""

    model_config = shown(examples.ORIGIN)

    agent: str | None
    session_id: str | None
    thread_id: str | None
    run_id: str | None
    checkpoint_id: str | None
    task_id: str | None
    turns: list[TurnView] = Field(description="What was said that a fact was taken from.")


class RecalledEntry(MemoryRef):
    """A memory that a recall chose, or nearly chose, and why."""

    model_config = shown(examples.RECALLED_ENTRY)

    score: float | None
    parts: dict[str, float] = Field(description="What the score was made of.")
    content: str | None = Field(description="What it says now; null if it is gone.")
    type: str | None = Field(description="What it is now; null if it is gone.")


class ReceiptView(BaseModel):
    """What a recall chose, what it nearly chose, and why."""

    model_config = shown(examples.RECEIPT)

    at: datetime
    actor: str = Field(description="Who asked: a user's id, or the service.")
    query: str
    chosen: list[RecalledEntry] = Field(description="Best first.")
    nearly: list[RecalledEntry] = Field(description="Those that would have come next.")
    session_id: str | None
    thread_id: str | None
    run_id: str | None
    checkpoint_id: str | None


class RunView(BaseModel):
    """What a run did with the memory."""

    model_config = shown(examples.RUN)

    run_id: str
    written: list[MemoryView] = Field(
        description="What it wrote and that stands so, and facts taken from it."
    )
    recalled: list[ReceiptView] = Field(description="What it recalled, the latest first.")


class NewRelationship(BaseModel):
    """An edge from one memory to another; drawn again, it gets its new strength and metadata."""

    model_config = shown(examples.NEW_RELATIONSHIP, extra="forbid")

    source: MemoryId = Field(description="`id` of the memory that it leads from.")
    target: MemoryId = Field(description="`id` of the memory that it leads to.")
    type: TypeName
    strength: Share = 1.0
    metadata: Metadata = Field(default_factory=dict)


class RelationshipView(BaseModel):
    """An edge of the graph of a person's memory."""

    model_config = shown(examples.RELATIONSHIP)

    source: str = Field(description="`id` of the memory that it leads from.")
    target: str = Field(description="`id` of the memory that it leads to.")
    type: str
    strength: float
    metadata: dict[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, edge: Relationship) -> Self:
        """Return an edge between ids."""
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
    depth: int = Field(
        description="How many edges away, on the shortest of the paths that were found."
    )


class Edge(BaseModel):
    """An edge between two nodes, in the direction in which it was drawn."""

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
    """What a slug is to stand for."""

    model_config = shown(examples.NEW_BRAIN_MEMORY, extra="forbid")

    content: Annotated[Text, Field(min_length=1)]
    tags: list[ShortName] = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)

    def named(self, slug: str) -> BrainMemory:
        """Return it under its slug."""
        return BrainMemory(slug=slug, **dict(self))


class OneOfMany(NewBrainMemory):
    """One of many memories to be saved. One that cannot be is refused alone, in the report."""

    content: str
    tags: list[str] = Field(default_factory=list)


class BrainView(StoredBrainMemory):
    """A memory that a slug names."""

    model_config = shown(examples.BRAIN_MEMORY)

    id: str = Field(description="What the memory is called in URLs; opaque.")

    @classmethod
    def of_user(cls, user_id: str, memory: StoredBrainMemory) -> Self:
        """Return a user's memory with its id."""
        return cls(id=to_id((*user_scope(user_id), "brain"), memory.slug), **dict(memory))

    @classmethod
    def of_company(cls, company_id: str, memory: StoredBrainMemory) -> Self:
        """Return a company's memory with its id."""
        return cls(id=to_id((*company_scope(company_id), "brain"), memory.slug), **dict(memory))


class Erasure(BaseModel):
    """Whose memory goes, said once more."""

    model_config = shown(examples.ERASURE, extra="forbid")

    confirm: str = Field(
        description="Your own user id: everything that is kept about it is removed, for good."
    )


def listed(items: Iterable[T]) -> Listed[T]:
    """Return items as an answer."""
    return Listed(items=list(items))
