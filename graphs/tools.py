"""Tools with which an agent searches and saves memory by itself: any LangGraph agent, such as `create_agent` makes.

Whose memory it is comes from the run, as for the nodes: the store it was compiled with, and its authenticated user.
No tool has an argument for either, so that no model can name another person, whatever it was talked into.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, ParamSpec

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.runtime import Runtime, get_runtime
from pydantic import Field

from graphs.memory.brain.brain import company_scope
from graphs.memory.contract import BrainReport, RecalledMemory
from graphs.memory.errors import (
    AccessDenied,
    EmbeddingFailed,
    GraphMemoryError,
    InvalidInput,
    InvalidValue,
    MemoryNotFound,
    PrincipalRequired,
    StoreUnavailable,
    VersionConflict,
)
from graphs.memory.search.recalled import Found, recalled
from graphs.memory_manager import MemoryManager
from graphs.nodes.runtime import current_user, memory_of

P = ParamSpec("P")

_AWAY = "The memory cannot be reached at the moment. Go on without it."

CompanyOf = Callable[[Runtime[Any]], str]
"""Says which company a run is about."""

QueryText = Annotated[str, Field(min_length=1, description="What to look for, in plain words.")]
MemoryLimit = Annotated[int, Field(ge=1, le=20, description="How many memories at most.")]
SlugArgument = Annotated[
    str,
    Field(
        description="A short, lasting name in snake_case for what the memory is about, such as user_full_name."
    ),
]
CompanySlug = Annotated[
    str,
    Field(
        description="A short, lasting name in snake_case for what the memory is about, such as tax_regime."
    ),
]
MemoryText = Annotated[str, Field(description="What to remember: one or two complete sentences.")]


def memory_tools(company_of: CompanyOf | None = None) -> list[BaseTool]:
    """Return `search_memory`, `save_memory`, `search_company_memory` and `save_company_memory`.

    They are asynchronous: run the agent with `ainvoke` or `astream`, as the LangGraph server does. What a model can put
    right, or has to go on without, it is told in words; what only an operator can put right is raised.

    Args:
        company_of: which company a run is about, for users who may belong to several; without it, the only one that the
            user belongs to. It may rely on what the caller configures: the user must be a member all the same.
    """

    async def company() -> str:
        if company_of:
            return company_of(get_runtime())
        companies = await memory_of_run().brain.companies_of(current_user())
        if len(companies) != 1:
            raise ToolException(
                "The user belongs to several companies, and it is not configured which one is meant."
                if companies
                else "The user belongs to no company, so there is no company memory. Go on without it."
            )
        return companies[0]

    async def search_company_memory(query: QueryText, limit: MemoryLimit = 5) -> str:
        """Search what is remembered about the user's company, which all of its members share.

        Use it before answering or asking about the company: its business, its people, taxes, agreements, decisions.
        Every line of the result is one memory, as `slug: content`.
        """
        scope = company_scope(memory_of_run().brain.company_id(await company()))
        return _listed(
            recalled(Found(await memory_of_run().asearch(scope, query=query, limit=limit)))
        )

    async def save_company_memory(slug: CompanySlug, content: MemoryText) -> str:
        """Remember something lasting about the user's company, for all of its members.

        Saving a slug again replaces what it held: search first, and use the slug that is there for what has changed.
        Never save passwords or keys, nor what only concerns the user.
        """
        return said(
            await memory_of_run().brain.save_company_memories(await company(), {slug: content})
        )

    return [
        as_tool(tool)
        for tool in (search_memory, save_memory, search_company_memory, save_company_memory)
    ]


def as_tool(function: Callable[..., Awaitable[str]]) -> BaseTool:
    """Return an asynchronous function as a tool; a model reads its name, its docstring and its annotated arguments.

    What the model can put right, or has to go on without, it is told in words; what only an operator can is raised.
    """
    return StructuredTool.from_function(coroutine=_telling(function), handle_tool_error=True)


def memory_of_run() -> MemoryManager:
    """Return the memory of the run that a tool is called in.

    Raises:
        ConfigurationError: the graph runs without it.
    """
    return memory_of(get_runtime())


async def search_memory(query: QueryText, limit: MemoryLimit = 5) -> str:
    """Search what is remembered about the user from earlier conversations.

    Use it before answering or asking about the user: who they are, what they like, want, own, decided or said before.
    Every line of the result is one memory; where it has a slug, as `slug: content`.
    """
    return _listed(await memory_of_run().recall_memory(current_user(), query, limit=limit))


async def save_memory(slug: SlugArgument, content: MemoryText) -> str:
    """Remember something lasting about the user, for later conversations.

    Saving a slug again replaces what it held: search first, and use the slug that is there for what has changed.
    Never save passwords or keys, nor what only matters in this conversation.
    """
    return said(await memory_of_run().brain.save_user_memories(current_user(), {slug: content}))


def _telling(function: Callable[P, Awaitable[str]]) -> Callable[P, Awaitable[str]]:
    """The same tool, which tells the model what went wrong."""

    @functools.wraps(function)
    async def told(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return await function(*args, **kwargs)
        except GraphMemoryError as error:
            if (words := in_words(error)) is None:
                raise
            raise ToolException(words) from None

    return told


def in_words(error: GraphMemoryError) -> str | None:
    """Return what a model is told about an error; None about those that only an operator can put right."""
    match error:
        case PrincipalRequired():  # nobody is signed in, which is not for a model to know
            return None
        case InvalidInput():
            return f"That cannot be done: {error}"
        case AccessDenied():
            return "The user may not use this memory. Go on without it."
        case MemoryNotFound():
            return "There is no such memory any more."
        case VersionConflict():
            return "The memory was changed at the same time. Search for it again."
        case EmbeddingFailed() | StoreUnavailable():
            return _AWAY
    return None


def _listed(memories: list[RecalledMemory]) -> str:
    """Memories as a model reads them, each in a line; those of the brain with the slug to save them anew."""
    lines = [f"{m.key}: {m.content}" if m.namespace[-1] == "brain" else m.content for m in memories]
    return (
        "\n".join("- " + " ".join(line.split()) for line in lines)
        or "Nothing is remembered about that."
    )


def said(report: BrainReport) -> str:
    """Return what a model is told of a memory that was to be saved.

    Raises:
        ToolException: it was not.
    """
    [saved] = report.outcomes
    if saved.outcome == "failed":
        raise ToolException(
            f"Not saved: {saved.reason}" if saved.error == InvalidValue.__name__ else _AWAY
        )
    return (
        f"Saved as {saved.slug}."
        if saved.outcome != "unchanged"
        else f"{saved.slug} said so already."
    )
