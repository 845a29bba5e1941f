"""The embedding side of a store: prepares calls, and fills the vector index afterwards."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from langgraph.store.base import Op

from graphs.memory.access import Access
from graphs.memory.database.vectors import Model
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

    async def prepare_at_best(
        self, operations: Sequence[Op | ExpectingPutOp], principal: Principal
    ) -> Call:
        """Do as `prepare`, and where the model is unavailable go on without vectors.

        A conversation must not stop with its embedding model. After a failure it is not waited for
        again for some seconds.

        Raises:
            InvalidInput: one of them cannot be carried out.
        """
        if not (self.index and self.index.rests):
            with suppress(EmbeddingFailed):
                return await self.prepare(operations, principal)
        await self.model()
        call = await prepare(operations, None, principal)
        call.unembedded = True
        return call

    def wrote(self, writes: Iterable[Iterable[ItemWrite]]) -> None:
        """Wake the indexer if any of these writes has vectors."""
        if any(write.vectors for written in writes for write in written):
            self.indexer.wake()
