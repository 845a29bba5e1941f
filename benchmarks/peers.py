"""The measured systems with one interface: MemoryManager, LangGraph's AsyncPostgresStore, mem0.

mem0 runs on its own pgvector store, with its telemetry off.
"""

import importlib
import logging
import os
import time
import warnings
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import psycopg
from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore, PutOp
from langgraph.store.postgres import AsyncPostgresStore
from psycopg import sql
from psycopg.conninfo import make_conninfo

from benchmarks import loading
from benchmarks.corpus import DIMENSIONS, Item, Precomputed, namespace, user_id
from benchmarks.progress import Progress
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from graphs.offline.chat import OfflineChatModel

POOL = 10
UPSTREAM, USER, SERVICE, HYBRID, MEM0 = (
    "AsyncPostgresStore",
    "MemoryManager, signed in",
    "MemoryManager, service",
    "MemoryManager, hybrid",
    "mem0",
)
STORE_ABILITIES = frozenset(
    {
        "put",
        "get",
        "search",
        "wide",
        "filtered",
        "filtered wide",
        "list prefix",
        "list depth",
        "list user",
    }
)
OWN_ABILITIES = STORE_ABILITIES - {"wide", "filtered wide", "list prefix", "list depth"}
"""Work that a user can do: to search or list all users is not the same work for them."""


class Peer(Protocol):
    """A measured system. `abilities` names the kinds of work that it can do."""

    @property
    def name(self) -> str: ...

    @property
    def abilities(self) -> frozenset[str]: ...

    async def put(self, item: Item) -> None: ...

    async def put_many(self, items: Sequence[Item]) -> None:
        """Put items of one user in one call."""

    async def get(self, item: Item) -> bool:
        """Get an item and return whether it exists."""

    async def search(
        self, query: str, owner: int | None, category: str | None = None, limit: int = 10
    ) -> list[str]:
        """Return the keys found, best first; an `owner` of None searches all users."""

    async def namespaces(self, kind: str, owner: int) -> int:
        """List namespaces and return their number."""

    async def settle(self) -> None:
        """Wait until the work that earlier puts left for later is done."""

    async def load(self, items: Sequence[Item]) -> float:
        """Store many items; return the seconds of the index build that follows."""


@lru_cache(maxsize=100_000)
def _principal(owner: int) -> Principal:
    return Principal.user(user_id(owner))


class StorePeer:
    """A LangGraph store.

    Args:
        name: Its name in the tables.
        store: The store; several peers may share one.
        abilities: The kinds of work that it does.
        signed_in: Whether each call is made as the user who owns the data.
        copy_url: A database of AsyncPostgresStore to load by COPY, instead of by puts.
    """

    def __init__(
        self,
        name: str,
        store: BaseStore,
        abilities: frozenset[str] = STORE_ABILITIES,
        *,
        signed_in: bool = False,
        copy_url: str | None = None,
    ) -> None:
        self.name = name
        self.abilities = abilities
        self.store = store
        self._signed_in = signed_in
        self._copy_url = copy_url
        # Peers that share a store put different keys.
        self._prefix = "s" if signed_in else ""

    def _acting(self, owner: int | None) -> AbstractContextManager[Any]:
        return (
            acting_as(_principal(owner)) if self._signed_in and owner is not None else nullcontext()
        )

    async def put(self, item: Item) -> None:
        with self._acting(item.owner):
            await self.store.aput(item.namespace, self._prefix + item.key, item.value)

    async def put_many(self, items: Sequence[Item]) -> None:
        with self._acting(items[0].owner):
            await self.store.abatch(
                [PutOp(item.namespace, self._prefix + item.key, item.value) for item in items]
            )

    async def get(self, item: Item) -> bool:
        with self._acting(item.owner):
            return await self.store.aget(item.namespace, item.key) is not None

    async def search(
        self, query: str, owner: int | None, category: str | None = None, limit: int = 10
    ) -> list[str]:
        scope = ("users",) if owner is None else namespace(owner)
        condition = {"category": category} if category else None
        with self._acting(owner):
            found = await self.store.asearch(scope, query=query, filter=condition, limit=limit)
        return [item.key for item in found]

    async def namespaces(self, kind: str, owner: int) -> int:
        with self._acting(owner):
            if kind == "list prefix":
                return len(await self.store.alist_namespaces(prefix=("users",), limit=100))
            if kind == "list depth":
                return len(await self.store.alist_namespaces(max_depth=1))
            return len(await self.store.alist_namespaces(prefix=("users", user_id(owner))))

    async def settle(self) -> None:
        wait = getattr(self.store, "wait_until_indexed", None)
        if wait:
            await wait()

    @property
    def indexes_later(self) -> bool:
        return hasattr(self.store, "wait_until_indexed")

    async def load(self, items: Sequence[Item]) -> float:
        if self._copy_url:
            embeddings: Any = self.store.embeddings  # type: ignore[attr-defined]
            return await loading.copy_upstream(self._copy_url, items, embeddings)
        with Progress(f"{self.name}: loading", len(items)) as progress:
            for start in range(0, len(items), 1000):
                part = items[start : start + 1000]
                await self.store.abatch(
                    [PutOp(item.namespace, item.key, item.value) for item in part]
                )
                progress.advance(len(part))
        began = time.perf_counter()
        if isinstance(self.store, MemoryManager):
            await self.store.rebuild_index()
        return time.perf_counter() - began


class Mem0Peer:
    """mem0 on pgvector, which stores texts as they are (`infer=False`, no language model).

    Every text belongs to one agent besides its user: mem0 searches no wider than an id, so a search
    of all users is a search by the agent's id.
    """

    name = MEM0
    abilities = frozenset({"put", "get", "search", "wide", "filtered", "filtered wide"})

    def __init__(self, memory: Any, url: str, embeddings: Precomputed) -> None:
        self.memory = memory
        self._url = url
        self._embeddings = embeddings

    async def put(self, item: Item) -> None:
        await self.put_many([item])

    async def put_many(self, items: Sequence[Item]) -> None:
        await self.add(
            user_id(items[0].owner), [item.text for item in items], {"category": items[0].category}
        )

    async def add(
        self, user: str, texts: Iterable[str], metadata: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Add texts of one user and return their ids."""
        added = await self.memory.add(
            [{"role": "user", "content": text} for text in texts],
            user_id=user,
            agent_id="everybody",
            metadata=dict(metadata or {}),
            infer=False,
        )
        return [str(result["id"]) for result in added["results"]]

    async def get(self, item: Item) -> bool:
        return await self.memory.get(str(UUID(int=item.n + 1))) is not None

    async def search(
        self, query: str, owner: int | None, category: str | None = None, limit: int = 10
    ) -> list[str]:
        scope = {"agent_id": "everybody"} if owner is None else {"user_id": user_id(owner)}
        if category:
            scope["category"] = category
        return [f"k{UUID(found).int - 1}" for found in await self.ids(query, scope, limit)]

    async def ids(self, query: str, scope: Mapping[str, str], limit: int) -> list[str]:
        """Return the ids found, also of low scores, which mem0 drops by default."""
        found = await self.memory.search(query, top_k=limit, filters=dict(scope), threshold=0.0)
        return [str(result["id"]) for result in found["results"]]

    async def namespaces(self, kind: str, owner: int) -> int:
        raise NotImplementedError

    async def settle(self) -> None:
        """Do nothing: puts leave no work for later."""

    async def load(self, items: Sequence[Item]) -> float:
        return await loading.copy_mem0(self._url, items, self._embeddings)


def make_database(url: str, name: str) -> str:
    """Create an empty database and return its connection string."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return make_conninfo(url, dbname=name)


@asynccontextmanager
async def upstream_store(url: str, embeddings: Embeddings) -> AsyncIterator[AsyncPostgresStore]:
    """Yield LangGraph's store with defaults (HNSW for all vectors) and a pool on a new database."""
    index: Any = {"dims": DIMENSIONS, "embed": embeddings, "fields": ["text"]}
    async with AsyncPostgresStore.from_conn_string(
        url, index=index, pool_config={"min_size": POOL, "max_size": POOL}
    ) as store:
        await store.setup()
        yield store


@asynccontextmanager
async def memory_store(
    url: str, embeddings: Embeddings, *, hybrid: bool = False
) -> AsyncIterator[MemoryManager]:
    """Yield a MemoryManager with a pool of the same size; it acts as the service by default."""
    index: Any = {"dims": DIMENSIONS, "embed": embeddings, "fields": ["text"]}
    if hybrid:
        index["ranking"] = "hybrid"
    async with MemoryManager.from_conn_string(
        url, index=index, pool_config={"min_size": POOL, "max_size": POOL}
    ) as store:
        await store.setup()
        yield store


@asynccontextmanager
async def mem0_peer(
    url: str, embeddings: Precomputed, folder: Path
) -> AsyncIterator[Mem0Peer | None]:
    """Yield mem0 with defaults, a pool of the same size, and files in `folder`; None if missing."""
    os.environ["MEM0_TELEMETRY"] = "False"  # mem0 reads it at import
    os.environ["MEM0_DIR"] = str(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mem0 = importlib.import_module("mem0")
    except ImportError:
        yield None
        return
    for logger in ("mem0", "httpx"):
        # mem0 logs every row that it inserts, which takes time.
        logging.getLogger(logger).setLevel(logging.WARNING)
    memory = mem0.AsyncMemory.from_config(
        {
            "llm": {"provider": "langchain", "config": {"model": OfflineChatModel()}},
            "embedder": {
                "provider": "langchain",
                "config": {"model": embeddings, "embedding_dims": DIMENSIONS},
            },
            "vector_store": {
                "provider": "pgvector",
                "config": {
                    "connection_string": url,
                    "collection_name": "mem0",
                    "embedding_model_dims": DIMENSIONS,
                    "minconn": POOL,
                    "maxconn": POOL,
                },
            },
            "history_db_path": str(folder / "history.db"),
        }
    )
    # Creates the table: concurrent first calls would collide.
    await memory.get(str(UUID(int=0)))
    try:
        yield Mem0Peer(memory, url, embeddings)
    finally:
        memory.vector_store.connection_pool.close()
        memory.close()
