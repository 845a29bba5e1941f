"""Every store that the contract is asked of."""

from collections.abc import AsyncIterator, Sequence

import pytest
from langgraph.store.base import BaseStore, IndexConfig
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import AsyncPostgresStore

from graphs.memory_manager import MemoryManager

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Count letters: as simple as vectors get, and alike for like texts."""
    return [[text.casefold().count(letter) + 0.01 for letter in LETTERS] for text in texts]


INDEX: IndexConfig = {"dims": len(LETTERS), "embed": embed, "fields": ["$"]}


@pytest.fixture(params=["InMemoryStore", "AsyncPostgresStore", "MemoryManager"])
async def any_store(request: pytest.FixtureRequest, empty_database: str) -> AsyncIterator[BaseStore]:
    if request.param == "InMemoryStore":
        yield InMemoryStore(index=INDEX)
    elif request.param == "AsyncPostgresStore":
        async with AsyncPostgresStore.from_conn_string(empty_database, index=INDEX) as peer:  # type: ignore[arg-type]
            await peer.setup()
            yield peer
    else:
        async with MemoryManager.from_conn_string(empty_database, index=INDEX) as ours:
            await ours.setup()
            yield ours
