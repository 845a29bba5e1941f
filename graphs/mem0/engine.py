"""mem0's `AsyncMemory` over our own collaborators.

`extractor` imports this module late, since mem0 is imported with it. mem0 only adds facts. They are
collected here, and the caller stores them in one transaction with all that belongs to them.
"""

from collections.abc import Coroutine, Sequence
from types import SimpleNamespace
from typing import Any, Protocol

from mem0 import AsyncMemory
from mem0.exceptions import LLMError
from mem0.vector_stores.base import VectorStoreBase

from graphs.memory.facts.conversation import Conversation

__all__ = ["FactMemory", "LLMError"]


class Asks(Protocol):
    """A way for a thread to wait for the store's event loop."""

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop and wait for its result in this thread."""


class FactMemory(AsyncMemory):  # type: ignore[misc]  # mem0 has no types
    """A memory of one conversation's user that reads our tables and collects new facts.

    Args:
        conversation: the turns, the turns before them, and a search of known facts.
        model: answers mem0's prompts.
        asked: waits for the store when mem0's threads need it.
    """

    def __init__(self, conversation: Conversation, model: Any, asked: Asks) -> None:
        # The parent's constructor is not called: it would create clients, tables and a history.
        self.config = SimpleNamespace(
            llm=SimpleNamespace(config={}),
            vector_store=SimpleNamespace(provider="graph-native-memory"),
        )
        self.vector_store = Facts(conversation, asked)
        self.db = Mem0History(conversation)
        self.llm = model
        self.embedding_model = NoVectors()
        self._entity_store = NoEntities()
        self.collection_name = "facts"
        self.api_version = "v1.1"
        self.custom_instructions = None
        self.reranker = None

    async def reset(self) -> None:
        """Refuse, since the parent's method would delete everything."""
        raise NotImplementedError(
            "This memory cannot be reset: call `erase_user` to delete a user's data."
        )


class Facts(VectorStoreBase):  # type: ignore[misc]
    """mem0's collection of memories: it searches the store, and collects inserted texts."""

    def __init__(self, conversation: Conversation, asked: Asks) -> None:
        self._conversation = conversation
        self._asked = asked
        self.texts: list[str] = []

    def search(
        self, query: str, vectors: object, top_k: int = 5, filters: object = None
    ) -> list[SimpleNamespace]:
        """Return the user's known facts that are nearest to a text."""
        known: Sequence[str] = self._asked.wait(self._conversation.known(query, top_k))
        return [
            SimpleNamespace(id=str(n), score=0.0, payload={"data": text})
            for n, text in enumerate(known)
        ]

    def insert(
        self, vectors: object, payloads: Sequence[dict[str, Any]] = (), ids: object = None
    ) -> None:
        """Collect new memories in `texts`."""
        self.texts += [payload["data"] for payload in payloads]

    def keyword_search(self, query: str, top_k: int = 5, filters: object = None) -> None:
        """Return None, which means that this is not supported.

        The store's search already goes by words as well.
        """

    def _refuse(self, *_: object, **__: object) -> Any:
        raise NotImplementedError("Change facts through the store, which keeps their history.")

    create_col = delete = update = get = list_cols = delete_col = col_info = list = reset = _refuse


class Mem0History:
    """mem0's database of messages and history.

    It stores nothing: the turns are stored already, and triggers keep the history.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._before = [
            {"role": turn.role, "content": turn.content} for turn in conversation.before
        ]

    def get_last_messages(self, session_scope: object, limit: int = 10) -> list[dict[str, str]]:
        """Return the last messages before the new ones."""
        return self._before[-limit:]

    def save_messages(self, *_: object) -> None:
        """Do nothing."""

    def batch_add_history(self, *_: object) -> None:
        """Do nothing."""

    def add_history(self, *_: object, **__: object) -> None:
        """Do nothing."""


class NoVectors:
    """mem0's embedder, without vectors.

    The store embeds what it searches and stores, so a second embedding is not needed.
    """

    def embed(self, text: str, memory_action: object = None) -> list[float]:
        """Return an empty vector, which nothing reads."""
        return []

    def embed_batch(self, texts: Sequence[str], memory_action: object = None) -> list[list[float]]:
        """Return an empty vector for each text."""
        return [[] for _ in texts]


class NoEntities:
    """mem0's second collection, of entities, which stays empty."""

    def search_batch(self, queries: Sequence[str], **_: object) -> Sequence[Sequence[Any]]:
        """Return an empty result for each query."""
        return [[] for _ in queries]

    def list(self, **_: object) -> Sequence[Sequence[Any]]:
        """Return no entities."""
        return [[]]

    def insert(self, **_: object) -> None:
        """Do nothing."""
