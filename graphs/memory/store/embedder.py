"""The embedding side of a store: prepares calls, and fills the vector index afterwards."""

from collections.abc import Iterable, Sequence

import numpy as np
from langgraph.store.base import Op, SearchOp

from graphs.memory.access import Access
from graphs.memory.database.vectors import Model, Vector, to_vector
from graphs.memory.errors import EmbeddingFailed
from graphs.memory.principal import Principal
from graphs.memory.search import embeddings
from graphs.memory.search.embeddings import Index
from graphs.memory.search.indexing import Indexer
from graphs.memory.search.searching import Searching
from graphs.memory.store.batch import Call, embeds, prepare
from graphs.memory.store.items import ExpectingPutOp, ItemWrite


class Embedder:
    """Embeds texts and queries with the store's model, before any transaction begins.

    Args:
        access: the way to the database.
        index: the store's embedding configuration, None for a store that does not embed.
    """

    def __init__(self, access: Access, index: Index | None) -> None:
        self.index = index
        self.how = Searching(None, index.configuration, index.weights) if index else Searching()
        self.indexer = Indexer(access.database, lambda: self.how.model)
        self._access = access

    async def model(self) -> Model | None:
        """Return the model in use, looked up once; None for a store without an index.

        Raises:
            EmbeddingModelMismatch: the database has vectors of another model.
        """
        if self.index and self.how.model is None:
            [model] = await self._access.run(Principal.service(), [embeddings.active_model()])
            self.how.model = embeddings.checked(model, self.index)
        return self.how.model

    async def prepare(
        self, operations: Sequence[Op | ExpectingPutOp], principal: Principal
    ) -> Call:
        """Check operations and embed their texts: no connection is held while a model works.

        Raises:
            InvalidInput: one of them cannot be carried out.
            EmbeddingFailed: the model did not answer; the audit log records it.
        """
        if any(embeds(op) for op in operations):
            await self.model()
        try:
            return await prepare(operations, self.index, principal)
        except EmbeddingFailed as error:
            name = self.index.name if self.index else ""
            self._access.reporter.embedding_failed(principal, name, error)
            raise

    async def embed_query(self, op: SearchOp, principal: Principal) -> Vector | None:
        """Return the vector of a search's query; None without one.

        Where the model does not answer, it is a vector of zeros, which is as near to one memory as
        to any other. So a hybrid ranking goes on by words alone, and a conversation goes on.

        Raises:
            InvalidInput: the search cannot be carried out.
            EmbeddingFailed: the model did not answer, and the ranking has no words.
        """
        try:
            return (await self.prepare([op], principal)).vectors.get(op.query or "")
        except EmbeddingFailed:
            if self.index is None or self.index.weights is None:
                raise
            return to_vector(np.zeros(self.index.dimensions))

    def wrote(self, writes: Iterable[Iterable[ItemWrite]]) -> None:
        """Wake the indexer if any of these writes has vectors."""
        if any(write.vectors for written in writes for write in written):
            self.indexer.wake()
