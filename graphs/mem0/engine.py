"""mem0's `AsyncMemory` over our own collaborators. Imported late, by `extractor`, since mem0 is imported with it.

mem0 only adds. What it adds is gathered here; whoever asked stores it, in one transaction with all that belongs to it.
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
    """What lets a thread wait for the store's loop."""

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run work on the loop and wait for it in this thread."""


class FactMemory(AsyncMemory):  # type: ignore[misc]  # mem0 has no types
    """A memory of one conversation's user, which reads our tables and gathers what there is to add.

    Args:
        conversation: what was said, what was said before it, and how to find what is known.
        model: answers mem0's prompts.
        asked: waits for what mem0's threads ask the store.
    """

    def __init__(self, conversation: Conversation, model: Any, asked: Asks) -> None:
        # Not the parent's: it would make clients, tables and a history of its own.
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
        """Refuse; the parent would remove everything."""
        raise NotImplementedError(
            "Nothing resets this memory: `erase_user` removes what is kept about a person."
        )


class Facts(VectorStoreBase):  # type: ignore[misc]
    """mem0's collection of memories: searches go to the store, and what is inserted is gathered in `texts`."""

    def __init__(self, conversation: Conversation, asked: Asks) -> None:
        self._conversation = conversation
        self._asked = asked
        self.texts: list[str] = []

    def search(
        self, query: str, vectors: object, top_k: int = 5, filters: object = None
    ) -> list[SimpleNamespace]:
        """Return what is known of the user that is near to a text."""
        known: Sequence[str] = self._asked.wait(self._conversation.known(query, top_k))
        return [
            SimpleNamespace(id=str(n), score=0.0, payload={"data": text})
            for n, text in enumerate(known)
        ]

    def insert(
        self, vectors: object, payloads: Sequence[dict[str, Any]] = (), ids: object = None
    ) -> None:
        """Gather memories."""
        self.texts += [payload["data"] for payload in payloads]

    def keyword_search(self, query: str, top_k: int = 5, filters: object = None) -> None:
        """Return None, for: not supported. Our search goes by words as well."""

    def _refuse(self, *_: object, **__: object) -> Any:
        raise NotImplementedError("Facts are changed through the store, where they have a history.")

    create_col = delete = update = get = list_cols = delete_col = col_info = list = reset = _refuse


class Mem0History:
    """mem0's database of messages and history. The turns are stored already, and triggers keep the history."""

    def __init__(self, conversation: Conversation) -> None:
        self._before = [
            {"role": turn.role, "content": turn.content} for turn in conversation.before
        ]

    def get_last_messages(self, session_scope: object, limit: int = 10) -> list[dict[str, str]]:
        """Return what was said before the new messages."""
        return self._before[-limit:]

    def save_messages(self, *_: object) -> None:
        """Do nothing."""

    def batch_add_history(self, *_: object) -> None:
        """Do nothing."""

    def add_history(self, *_: object, **__: object) -> None:
        """Do nothing."""


class NoVectors:
    """mem0's embedder. The store embeds what it searches and what it keeps, and once is enough."""

    def embed(self, text: str, memory_action: object = None) -> list[float]:
        """Return nothing that anybody looks at."""
        return []

    def embed_batch(self, texts: Sequence[str], memory_action: object = None) -> list[list[float]]:
        """Return that for each text."""
        return [[] for _ in texts]


class NoEntities:
    """mem0's second collection, of entities: empty, and it stays so."""

    def search_batch(self, queries: Sequence[str], **_: object) -> Sequence[Sequence[Any]]:
        """Return none for each query."""
        return [[] for _ in queries]

    def list(self, **_: object) -> Sequence[Sequence[Any]]:
        """Return no entities."""
        return [[]]

    def insert(self, **_: object) -> None:
        """Keep none."""
