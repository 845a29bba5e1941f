"""Saving many memories of the brain at once, each with an outcome of its own."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langgraph.store.base import PutOp
from pydantic import ValidationError

from graphs.memory.access import Access
from graphs.memory.brain.models import (
    BrainMemory,
    BrainOutcome,
    BrainReport,
)
from graphs.memory.brain.owners import Owner, check_slug
from graphs.memory.database.query import Query
from graphs.memory.errors import (
    AccessDenied,
    ConfigurationError,
    EmbeddingFailed,
    GraphMemoryError,
    InvalidInput,
    InvalidValue,
    SetupRequired,
    StoreUnavailable,
)
from graphs.memory.principal import current_provenance
from graphs.memory.search.embeddings import is_passing
from graphs.memory.store import items
from graphs.memory.store.embedder import Embedder
from graphs.memory.store.items import ItemWrite
from graphs.memory.values.namespaces import (
    Namespace,
    to_text,
)
from graphs.memory.values.text import problem_with, to_json

_SHOWN = 200  # characters of a bad slug that a report quotes

# Errors that would be the same for every memory: they end the call, instead of failing one memory.
_OF_ALL = (AccessDenied, ConfigurationError, SetupRequired, StoreUnavailable)

BrainEntries = (
    Mapping[str, str | BrainMemory | Mapping[str, Any]] | Sequence[BrainMemory | Mapping[str, Any]]
)


class Saver:
    """The saving of an owner's memories, in few round trips.

    Args:
        access: runs the queries, as the current principal.
        embedder: the store's embedding model and text search.
    """

    def __init__(self, access: Access, embedder: Embedder) -> None:
        self._access = access
        self._embedder = embedder

    async def save(self, owner: Owner, memories: BrainEntries) -> BrainReport:
        """Save memories of an owner, and return the outcome of each."""
        given = memories if isinstance(memories, Mapping) else dict(_slugged(memories))
        became: dict[Any, BrainOutcome] = {}
        puts: dict[str, PutOp] = {}
        for slug, memory in given.items():
            try:
                puts[slug] = _put(owner.namespace, slug, memory)
            except InvalidInput as error:
                became[slug] = _failed(slug, error)
        known = await self._known(owner, [*puts])
        puts = {slug: _as_kept(put, known.get(slug)) for slug, put in puts.items()}
        same = [
            slug
            for slug, value in known.items()
            if _canonical(value) == _canonical(puts[slug].value)
        ]
        became |= {slug: BrainOutcome(slug=slug, outcome="unchanged") for slug in same}
        writes, failed = await self._embed(
            owner, [put for slug, put in puts.items() if slug not in became]
        )
        became |= failed | await self._store(owner, writes)
        return BrainReport.of([became[slug] for slug in given])

    async def _known(self, owner: Owner, slugs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return the values that are stored under slugs."""
        if not slugs:
            return {}
        rows: Any
        [rows] = await self._run(owner, [owner.ask("get", lambda rows: rows, slugs=slugs)])
        return {row.slug: row.value for row in rows}

    async def _embed(
        self, owner: Owner, puts: Sequence[PutOp]
    ) -> tuple[list[ItemWrite], dict[str, BrainOutcome]]:
        """Return the writes with their vectors, and the outcomes of memories that failed.

        If the model refuses the batch, each memory is tried alone, so that only a bad one fails. If
        the model is unavailable, all of them fail without further calls.
        """
        if not puts:
            return [], {}
        try:
            return [*(await self._embedder.prepare(puts, owner.principal)).writes], {}
        except EmbeddingFailed as error:
            if len(puts) == 1 or is_passing(error):
                return [], {put.key: _failed(put.key, error) for put in puts}
        alone = await asyncio.gather(*(self._embed(owner, [put]) for put in puts))
        failed = {slug: outcome for _, outcomes in alone for slug, outcome in outcomes.items()}
        return [write for writes, _ in alone for write in writes], failed

    async def _store(self, owner: Owner, writes: Sequence[ItemWrite]) -> dict[str, BrainOutcome]:
        """Store memories together; after a refusal store each half, until a bad one is alone."""
        if not writes:
            return {}
        how, slugs = self._embedder.how, [write.key for write in writes]
        link = owner.ask("link", lambda rows: rows, slugs=slugs, namespace=to_text(owner.namespace))
        try:
            *_, linked = await self._run(
                owner, [*items.put(writes, how.model, how.configuration), link]
            )
        except _OF_ALL:
            raise
        except GraphMemoryError as error:
            if len(writes) == 1:
                return {slugs[0]: _failed(slugs[0], error)}
            half = len(writes) // 2
            return await self._store(owner, writes[:half]) | await self._store(owner, writes[half:])
        self._embedder.wrote([writes])
        return {
            row.slug: BrainOutcome(slug=row.slug, outcome="created" if row.created else "updated")
            for row in linked
        }

    async def _run(self, owner: Owner, queries: Sequence[Query[Any]]) -> list[Any]:
        return await self._access.run(owner.principal, queries, current_provenance())


def _slugged(memories: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield memories with their slugs; one without a slug is called by its place, as [0]."""
    for n, memory in enumerate(memories):
        given = memory if isinstance(memory, Mapping) else {}
        slug = memory.slug if isinstance(memory, BrainMemory) else given.get("slug")
        known = isinstance(slug, str)
        yield str(slug) if known else f"[{n}]", memory if known else {"slug": None, **given}


def _validated(slug: Any, memory: Mapping[str, Any]) -> BrainMemory:
    """Return the memory that a mapping describes.

    Raises:
        InvalidValue: it describes none; `path` names the field.
    """
    try:
        found = BrainMemory.model_validate({"slug": slug, **memory})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "memory"
        raise InvalidValue(field, f"is invalid: {first['msg']}.") from error
    if found.slug != slug:
        raise InvalidValue("slug", f"is {found.slug!r}, but the memory is given as {slug!r}.")
    return found


def _put(namespace: Namespace, slug: Any, memory: Any) -> PutOp:
    """Return the checked operation that stores a memory.

    Raises:
        InvalidInput: it cannot be stored.
    """
    if isinstance(memory, Mapping):
        memory = _validated(slug, memory)
    check_slug(slug)
    content = memory.content if isinstance(memory, BrainMemory) else memory
    if not isinstance(content, str) or not content.strip():
        raise InvalidValue("content", "must be a text that is not blank.")
    more = memory if isinstance(memory, BrainMemory) else BrainMemory(slug=slug, content=content)
    # Without an importance, decay leaves it alone: a memory under a slug is valid until replaced.
    value = {
        "slug": slug,
        "content": content,
        "type": "fact",
        "tags": more.tags,
        "metadata": more.metadata,
        **({"category": more.category} if more.category is not None else {}),
    }
    # The slug is embedded as well: it often names the topic of a terse content.
    put = PutOp(namespace, slug, value, index=["slug", "content"])
    items.check_put(put)
    return put


def _as_kept(put: PutOp, known: Mapping[str, Any] | None) -> PutOp:
    """Return the operation, pinned if the memory that it replaces is pinned."""
    if known is None or known.get("pinned") is not True:
        return put
    return put._replace(value={**(put.value or {}), "pinned": True})


def _canonical(value: Any) -> str:
    """Return a value in a canonical form: equal values give the same text."""
    return json.dumps(json.loads(to_json(value, "value")), sort_keys=True)


def _failed(slug: Any, error: GraphMemoryError) -> BrainOutcome:
    shown = slug if isinstance(slug, str) and not problem_with(slug) else repr(slug)
    return BrainOutcome(
        slug=shown[:_SHOWN], outcome="failed", error=type(error).__name__, reason=str(error)
    )
