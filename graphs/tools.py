"""Tools that let a LangGraph agent, such as `create_agent`'s, search and save memory.

The tools take the memory and the user from the run, as the nodes do: the store that the graph was
compiled with, and the authenticated user. No tool has an argument for either, so that no prompt can
make a model name another user.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, ParamSpec

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.runtime import Runtime, get_runtime
from pydantic import Field

from graphs.memory.brain.models import BrainReport
from graphs.memory.brain.owners import company_scope
from graphs.memory.contract import RecalledMemory
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

_AWAY = "The memory is temporarily unavailable. Continue without it."

CompanyOf = Callable[[Runtime[Any]], str]
"""A function that returns the company a run is about."""

QueryText = Annotated[str, Field(min_length=1, description="What to look for, in plain words.")]
MemoryLimit = Annotated[int, Field(ge=1, le=20, description="Most memories to return.")]
SlugArgument = Annotated[
    str,
    Field(
        description="A short, lasting name in snake_case for what the memory is about, such as "
        "user_full_name."
    ),
]
CompanySlug = Annotated[
    str,
    Field(
        description="A short, lasting name in snake_case for what the memory is about, such as "
        "tax_regime."
    ),
]
MemoryText = Annotated[str, Field(description="What to remember: one or two complete sentences.")]


def memory_tools(company_of: CompanyOf | None = None) -> list[BaseTool]:
    """Return `search_memory`, `save_memory`, `search_company_memory` and `save_company_memory`.

    The tools are asynchronous: run the agent with `ainvoke` or `astream`, as the LangGraph server
    does. Errors that a model can correct or ignore become messages to it. Errors that only an
    operator can fix are raised.

    Args:
        company_of: returns the company a run is about, for users who may belong to several.
            Without it, it is the only company of the user. It may trust the caller's
            configuration: the user has to be a member in any case.
    """

    async def company() -> str:
        if company_of:
            return company_of(get_runtime())
        companies = await memory_of_run().brain.companies_of(current_user())
        if len(companies) != 1:
            raise ToolException(
                "The user belongs to several companies, and none is configured. Continue without "
                "company memory."
                if companies
                else "The user belongs to no company, or has not accepted its invitation. Continue "
                "without company memory."
            )
        return companies[0]

    async def search_company_memory(query: QueryText, limit: MemoryLimit = 5) -> str:
        """Search what is remembered about the user's company, which all of its members share.

        Use it before answering or asking about the company: its business, its people, taxes,
        agreements, decisions. Every line of the result is one memory, as `slug: content`.
        """
        scope = company_scope(memory_of_run().brain.company_id(await company()))
        return _listed(
            recalled(Found(await memory_of_run().asearch(scope, query=query, limit=limit)))
        )

    async def save_company_memory(slug: CompanySlug, content: MemoryText) -> str:
        """Remember something lasting about the user's company, for all of its members.

        Saving a slug again replaces what it held: search first, and reuse the slug of what has
        changed. Never save passwords or keys, nor what only concerns the user.
        """
        return said(
            await memory_of_run().brain.save_company_memories(await company(), {slug: content})
        )

    return [
        as_tool(tool)
        for tool in (search_memory, save_memory, search_company_memory, save_company_memory)
    ]


def as_tool(function: Callable[..., Awaitable[str]]) -> BaseTool:
    """Return an asynchronous function as a tool.

    A model reads its name, its docstring and its annotated arguments. Errors that the model can
    correct or ignore become messages to it. Errors that only an operator can fix are raised.
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

    Use it before answering or asking about the user: who they are, what they like, want, own,
    decided or said before. Every line of the result is one memory; with a slug, it is
    `slug: content`.
    """
    return _listed(await memory_of_run().recall_memory(current_user(), query, limit=limit))


async def save_memory(slug: SlugArgument, content: MemoryText) -> str:
    """Remember something lasting about the user, for later conversations.

    Saving a slug again replaces what it held: search first, and reuse the slug of what has
    changed. Never save passwords or keys, nor what only matters in this conversation.
    """
    return said(await memory_of_run().brain.save_user_memories(current_user(), {slug: content}))


def _telling(function: Callable[P, Awaitable[str]]) -> Callable[P, Awaitable[str]]:
    """Wrap a tool so that its errors become messages for the model."""

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
    """Return an error as a message for a model; None if only an operator can fix it."""
    match error:
        case PrincipalRequired():  # a fault of the deployment, which a model cannot fix
            return None
        case InvalidInput():
            return f"That is not possible: {error}"
        case AccessDenied():
            return "The user may not use this memory. Continue without it."
        case MemoryNotFound():
            return "There is no such memory, or it was forgotten."
        case VersionConflict():
            return "The memory was changed at the same time. Search for it again."
        case EmbeddingFailed() | StoreUnavailable():
            return _AWAY
    return None


def _listed(memories: list[RecalledMemory]) -> str:
    """Return memories as lines for a model, with the slugs of the brain's, to save them again."""
    lines = [f"{m.key}: {m.content}" if m.namespace[-1] == "brain" else m.content for m in memories]
    return (
        "\n".join("- " + " ".join(line.split()) for line in lines)
        or "Nothing is remembered about that."
    )


def said(report: BrainReport) -> str:
    """Return the outcome of a saved memory as a message for a model.

    Raises:
        ToolException: it was not saved.
    """
    [saved] = report.outcomes
    if saved.outcome == "failed":
        raise ToolException(
            f"Not saved: {saved.reason}" if saved.error == InvalidValue.__name__ else _AWAY
        )
    return (
        f"Saved as {saved.slug}."
        if saved.outcome != "unchanged"
        else f"{saved.slug} already says so."
    )
