"""The tools for MCP clients: search, save, forget and explain the acting user's memory.

No tool takes a user id, so that no prompt can make a model name another user. Each tool
answers with structured data, and with the same as text.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ParamSpec

from langchain_core.tools import ToolException
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, Field

from graphs.memory.contract import MemoryType, RecalledMemory
from graphs.memory.errors import GraphMemoryError, SchemaPartMissing
from graphs.memory.knowledge.memories import Version
from graphs.memory.timeline.runs import Status
from graphs.memory.values.ids import UnknownId, from_id, to_id
from graphs.memory.values.namespaces import Address, user_scope
from graphs.memory_manager import MemoryManager
from graphs.nodes.runtime import current_user
from graphs.tools import (
    MemoryLimit,
    MemoryText,
    QueryText,
    SlugArgument,
    in_words,
    said,
)

P = ParamSpec("P")

AGENT = "mcp"
"""Agent and session of memories that were saved through MCP."""

_LOOKED_THROUGH = 20
"""Results, or receipts of earlier searches, to look through for the memory to explain."""

RUN_STATUS = (
    "Whether the run that wrote it is `kept`; `left`, since its conversation went on from an "
    "earlier place; or `undone`. Null for no run, or an unknown one."
)
OptionalSlug = Annotated[
    SlugArgument | None,
    Field(
        description="A short, lasting name in snake_case for its subject, such as "
        "user_full_name, if one fits."
    ),
]
MemoryIdArgument = Annotated[
    str,
    Field(min_length=1, description="The memory's id, as search_memory and save_memory return it."),
]


class FoundMemory(BaseModel):
    """A memory that a search found."""

    id: str
    slug: str | None = Field(
        description="Its lasting name, if it has one: saving under it replaces the content."
    )
    content: str
    type: str | None
    tags: list[str]
    score: float | None = Field(description="Relevance, recency and importance, about 0 to 1.")
    session_id: str | None = Field(description="The conversation it was learned in.")
    created_at: datetime
    updated_at: datetime


class FoundMemories(BaseModel):
    """The memories that a search found, best first."""

    memories: list[FoundMemory]


class SavedMemory(BaseModel):
    """A memory that was saved."""

    id: str
    outcome: str = Field(description="created, updated or unchanged; without a slug: saved.")


class ForgottenMemory(BaseModel):
    """A memory that was forgotten."""

    id: str


class Recall(BaseModel):
    """Why a search chose a memory."""

    query: str
    at: datetime | None = Field(
        description="When it was recalled; null for a search made just now."
    )
    score: float | None
    parts: dict[str, float] = Field(description="The addends of the score.")


class SourceTurn(BaseModel):
    """A turn from which a memory was extracted."""

    role: str
    content: str
    session_id: str
    said_at: datetime


class EarlierVersion(BaseModel):
    """An earlier version of a memory, and when it was valid."""

    content: str
    valid_from: datetime
    valid_to: datetime
    run_status: Status | None = Field(description=RUN_STATUS)


_OF_A_TURN, _OF_A_VERSION = {"role", "content", "session_id"}, {"content", "valid_from", "valid_to"}


class ExplainedMemory(BaseModel):
    """Why a memory was recalled, where it comes from, and its earlier versions."""

    id: str
    content: str
    type: str | None
    recall: Recall | None = Field(description="Null if no recent search chose it.")
    agent: str | None = Field(description="The agent that wrote it.")
    session_id: str | None = Field(description="The conversation it was learned in.")
    thread_id: str | None
    run_id: str | None
    run_status: Status | None = Field(description=RUN_STATUS)
    turns: list[SourceTurn] = Field(description="The turns that it was extracted from, if known.")
    history: list[EarlierVersion] = Field(description="Its earlier versions, the latest first.")


def add_tools(server: MCPServer[Any], memory: MemoryManager) -> None:
    """Add the memory's tools to an MCP server."""
    tools = _Tools(memory)
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    saves = ToolAnnotations(
        read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )
    for tool, title, annotations in (
        (tools.search_memory, "Search memory", reads),
        (tools.save_memory, "Save a memory", saves),  # not destructive: the history keeps it
        (
            tools.forget_memory,
            "Forget a memory",
            saves.model_copy(update={"destructive_hint": True}),
        ),
        (tools.explain_memory, "Explain a memory", reads),
    ):
        server.add_tool(_in_words(tool), title=title, annotations=annotations)


class _Tools:
    """The tools. A model reads their names, docstrings and arguments."""

    def __init__(self, memory: MemoryManager) -> None:
        self._memory = memory

    async def search_memory(
        self,
        query: QueryText,
        limit: MemoryLimit = 5,
        types: Annotated[
            list[MemoryType] | None,
            Field(description="Only memories of these types; a `turn` is a message word for word."),
        ] = None,
    ) -> Annotated[CallToolResult, FoundMemories]:
        """Search what is remembered about the user from earlier conversations.

        These are conversations with any of the user's assistants. Use it before answering or asking
        about the user: who they are, what they like, want, own, decided or said before. The best
        match comes first. forget_memory and explain_memory take the id that stands behind each.
        """
        found = await self._memory.recall_memory(current_user(), query, types=types, limit=limit)
        memories = [_found(memory) for memory in found]
        lines = [f"- {_line(memory)} (id: {memory.id})" for memory in memories]
        return _answer(
            FoundMemories(memories=memories), *lines or ["Nothing is remembered about that."]
        )

    async def save_memory(
        self, content: MemoryText, slug: OptionalSlug = None
    ) -> Annotated[CallToolResult, SavedMemory]:
        """Save something lasting about the user, for later conversations with all their assistants.

        With a slug, it replaces what that slug held: search first, and reuse the slug of what has
        changed. Without one, it becomes a separate fact. Never save passwords or keys, nor what
        only matters in this conversation.
        """
        user_id = current_user()
        if slug is not None:
            report = await self._memory.brain.save_user_memories(user_id, {slug: content})
            words = said(report)
            memory_id = to_id(user_scope(user_id, "brain"), slug)
            return _answer(
                SavedMemory(id=memory_id, outcome=report.outcomes[0].outcome),
                f"{words} (id: {memory_id})",
            )
        payload = {
            "identity": user_id,
            "timestamp": datetime.now(UTC),
            "agent": AGENT,
            "session_id": AGENT,
        }
        receipt = await self._memory.write_memory(
            user_id, AGENT, payload | {"type": "fact", "content": content}
        )
        memory_id = to_id(*receipt.memories[0])
        return _answer(SavedMemory(id=memory_id, outcome="saved"), f"Saved. (id: {memory_id})")

    async def forget_memory(
        self,
        id: MemoryIdArgument,  # noqa: A002  clients know the argument by this name
        for_good: Annotated[
            bool,
            Field(
                description="Only if the user asks that nothing of it stays: erases its history as "
                "well, and cannot be undone."
            ),
        ] = False,
    ) -> Annotated[CallToolResult, ForgottenMemory]:
        """Forget a memory about the user, if they ask for it or if it is wrong.

        It is no longer recalled. If something has changed, save the new state instead.
        """
        await self._memory.memories.forget(current_user(), from_id(id), for_good=for_good)
        return _answer(ForgottenMemory(id=id), "Erased for good." if for_good else "Forgotten.")

    async def explain_memory(
        self,
        id: Annotated[str | None, Field(min_length=1, description="The memory's id.")] = None,  # noqa: A002
        query: Annotated[
            str | None,
            Field(
                min_length=1, description="A query that was searched for, or that you want to try."
            ),
        ] = None,
    ) -> Annotated[CallToolResult, ExplainedMemory]:
        """Explain a memory: why a search chose it, where it comes from, and what it held before.

        Give its id to explain the last search that chose it, or a query to explain the best match
        for it, or both. Use it when the user asks how you know something, or doubts it.
        """
        user_id = current_user()
        address, recall = await self._recall(user_id, from_id(id) if id else None, query)
        memory, origins, history = await asyncio.gather(
            self._memory.memories.get(user_id, address),
            self._memory.origins.of(user_id, [address]),
            self._history(user_id, address),
        )
        origin = origins[address]
        runs = [run for run in (origin.run_id, *(each.run_id for each in history)) if run]
        statuses = await self._memory.runs.statuses(user_id, runs) if runs else {}
        turns = (
            await self._memory.sessions.exchanges(user_id, origin.sources) if origin.sources else []
        )
        explained = ExplainedMemory(
            id=to_id(*address),
            content=memory.content,
            type=memory.type,
            recall=recall,
            agent=origin.agent,
            session_id=origin.session_id,
            thread_id=origin.thread_id,
            run_id=origin.run_id,
            run_status=statuses.get(origin.run_id or ""),
            turns=[
                SourceTurn(said_at=turn.created_at, **turn.model_dump(include=_OF_A_TURN))
                for turn in turns
            ],
            history=[
                EarlierVersion(
                    run_status=statuses.get(version.run_id or ""),
                    **version.model_dump(include=_OF_A_VERSION),
                )
                for version in history
            ],
        )
        return _answer(explained, *_explanation(explained))

    async def _history(self, user_id: str, address: Address) -> Sequence[Version]:
        """Return the earlier versions of a memory; none if the database keeps no history."""
        try:
            return (await self._memory.memories.history(user_id, address)).items
        except SchemaPartMissing:
            return ()

    async def _recall(
        self, user_id: str, address: Address | None, query: str | None
    ) -> tuple[Address, Recall | None]:
        """Return the address of the memory to explain, and why a search chose it.

        With a query the search is made now; otherwise the last receipt with the memory counts.
        """
        if query:
            found = await self._memory.recall_memory(
                user_id, query, limit=_LOOKED_THROUGH, explain=True
            )
            match = next((m for m in found if address in (None, (m.namespace, m.key))), None)
            if match:
                parts = match.explanation or {}
                return (match.namespace, match.key), Recall(
                    query=query, at=None, score=match.score, parts=parts
                )
            if address is None:
                raise ToolException("Nothing is remembered about that.")
        if address is None:
            raise ToolException("Give the id of a memory, or a query.")
        for receipt in (
            [] if query else await self._memory.recall_receipts(user_id, limit=_LOOKED_THROUGH)
        ):
            for chosen in receipt.chosen:
                if (tuple(chosen["namespace"]), chosen["key"]) == address:
                    why = Recall(
                        query=receipt.query,
                        at=receipt.at,
                        score=chosen["score"],
                        parts=chosen["parts"],
                    )
                    return address, why
        return address, None


def _in_words(
    tool: Callable[P, Awaitable[CallToolResult]],
) -> Callable[P, Awaitable[CallToolResult]]:
    """Wrap a tool so that its errors become messages for the model."""

    @functools.wraps(tool)
    async def told(*args: P.args, **kwargs: P.kwargs) -> CallToolResult:
        try:
            return await tool(*args, **kwargs)
        except UnknownId:
            words = "This is not a memory's id. Search for the memory and use the id behind it."
        except ToolException as error:
            words = str(error)
        except GraphMemoryError as error:
            if (found := in_words(error)) is None:
                raise
            words = found
        return CallToolResult(content=[TextContent(text=words)], is_error=True)

    return told


def _answer(data: BaseModel, *lines: str) -> CallToolResult:
    """Return a tool's result: data, and the same as text for clients that show text alone."""
    text = TextContent(text="\n".join(lines))
    return CallToolResult(content=[text], structured_content=data.model_dump(mode="json"))


def _found(memory: RecalledMemory) -> FoundMemory:
    slug = memory.key if memory.namespace[-1] == "brain" else None
    told = memory.model_dump(include=FoundMemory.model_fields.keys() - {"id", "slug"})
    return FoundMemory(id=to_id(memory.namespace, memory.key), slug=slug, **told)


def _line(memory: FoundMemory) -> str:
    content = " ".join(memory.content.split())
    return f"{memory.slug}: {content}" if memory.slug else content


def _explanation(memory: ExplainedMemory) -> list[str]:
    lines = [f"“{memory.content}” (id: {memory.id})"]
    if recall := memory.recall:
        parts = ", ".join(f"{name} {part:.2f}" for name, part in recall.parts.items())
        when = f"on {recall.at:%Y-%m-%d %H:%M} " if recall.at else ""
        score = f"{recall.score or 0:.2f}"
        lines.append(
            f"Recalled {when}for “{recall.query}” with a score of {score}: {parts or 'no parts'}."
        )
    else:
        lines.append("Neither that search nor the latest ones chose it.")
    if memory.agent or memory.session_id:
        lines.append(
            f"Written by {memory.agent or 'no agent'} "
            f"in conversation {memory.session_id or 'unknown'}."
        )
    lines += [
        f"Extracted from what the {turn.role} said on {turn.said_at:%Y-%m-%d}: {turn.content}"
        for turn in memory.turns
    ]
    lines += [
        f"Until {before.valid_to:%Y-%m-%d %H:%M} it was: {before.content}"
        + (f" (its run is {before.run_status})" if before.run_status in ("left", "undone") else "")
        for before in memory.history
    ]
    return lines
