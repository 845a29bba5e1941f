"""`MemoryRetriever`, a user's memory as a LangChain retriever."""

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field

from graphs.memory.contract import COLLECTIONS, RecalledMemory
from graphs.memory.database.loops import from_another_thread
from graphs.memory.errors import PrincipalRequired
from graphs.memory.knowledge.origins import Origin
from graphs.memory.principal import acting_user
from graphs.memory.values.namespaces import to_text, user_scope
from graphs.memory_manager import MemoryManager


class MemoryRetriever(BaseRetriever):
    """A LangChain retriever that recalls a user's memories.

    Use it in anything that takes a retriever. For example, `MemoryRetriever(memory=store,
    types=["belief", "reflection"])` recalls beliefs about a subject. It acts as the acting
    principal and calls `recall_memory`, so each recall leaves a receipt. `invoke` works only in
    threads other than the memory's own; there, and in asynchronous code, use `ainvoke`.

    A document's content is the memory's content. Its metadata are `namespace`, `key`, `type`,
    `tags`, `score`, `explanation`, `created_at`, `updated_at`, `provenance` (agent, session,
    thread, run, checkpoint and task, if known) and, for a belief, `confidence`. All metadata are
    JSON.

    Raises, when invoked:
        PrincipalRequired: no user is given, and none is acting.
        AccessDenied: the acting principal is neither that user nor the service.
        InvalidInput: a type does not exist.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    memory: MemoryManager = Field(
        exclude=True, repr=False, description="The memory to recall from."
    )
    user_id: str | None = Field(default=None, description="The user; by default the acting user.")
    types: Sequence[str] | None = Field(default=None, description="Only memories of these types.")
    memory_tags: Sequence[str] = Field(
        default=(), description="Only memories with all of these tags."
    )
    agent: str | None = Field(default=None, description="Only memories of this agent.")
    limit: int = Field(default=5, description="Most memories to return.")

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        return await self._recall(query)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return from_another_thread(self.memory.home_loop, lambda: self._recall(query))

    async def _recall(self, query: str) -> list[Document]:
        user_id = self.user_id or acting_user()
        if user_id is None:
            raise PrincipalRequired
        found = await self.memory.recall_memory(
            user_id,
            query,
            self.memory_tags,
            types=self.types,
            agent=self.agent,
            limit=self.limit,
            explain=True,
        )
        scope = user_scope(user_id, COLLECTIONS["belief"])
        beliefs = [memory.key for memory in found if memory.namespace == scope]
        origins, confidences = await asyncio.gather(
            self.memory.origins.of(user_id, [(memory.namespace, memory.key) for memory in found]),
            self.memory.beliefs.confidences(user_id, beliefs),
        )
        return [
            _document(
                memory,
                origins.get((memory.namespace, memory.key), Origin()),
                confidences.get(memory.key) if memory.namespace == scope else None,
            )
            for memory in found
        ]


def _document(memory: RecalledMemory, origin: Origin, confidence: float | None) -> Document:
    metadata: dict[str, Any] = memory.model_dump(mode="json", exclude={"content", "session_id"})
    metadata["provenance"] = origin.model_dump(mode="json", exclude_defaults=True)
    if confidence is not None:
        metadata["confidence"] = confidence
    return Document(
        memory.content, id=f"{to_text(memory.namespace)}{memory.key}", metadata=metadata
    )
