"""Offline embeddings: word vectors whose weights lie in a wheel."""

import logging
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

MAX_CHARACTERS = 8_000
"""Characters of a text that the offline model reads. Hosted models read a similar amount."""

_PADDED_CHARACTERS = 100_000
"""Bound on the padded size of a batch, which bounds the memory that it takes."""


class OfflineEmbeddings(Embeddings):
    """Static word vectors whose weights come with their package: no key, no network.

    Embedding a text takes about 20 µs.

    Args:
        dimensions: 256, or a truncation to 128 or 64.
    """

    def __init__(self, dimensions: int = 256) -> None:
        self.dimensions = dimensions
        self._model = _word_vectors(dimensions)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text. A text without a known word gets the zero vector."""
        vectors: dict[int, list[float]] = {}
        for batch in _alike_in_length([text[:MAX_CHARACTERS] for text in texts]):
            vectors.update(
                zip(batch, self._model.embed([batch[n] for n in batch]).tolist(), strict=True)
            )
        return [vectors[n] for n in range(len(texts))]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return self.embed_documents([text])[0]


def _alike_in_length(texts: list[str]) -> Iterator[dict[int, str]]:
    """Yield the texts by their index, in batches of similar length."""
    # A batch is padded to its longest text: long and short texts in one batch waste time.
    batch: dict[int, str] = {}
    for n in sorted(range(len(texts)), key=lambda n: len(texts[n])):
        if batch and (len(batch) + 1) * len(texts[n]) > _PADDED_CHARACTERS:
            yield batch
            batch = {}
        batch[n] = texts[n]
    if batch:
        yield batch


@lru_cache(maxsize=3)
def _word_vectors(dimensions: int) -> Any:
    """Load the weights, once per process: a server has several stores, and loading takes 0.3 s."""
    wordllama = _wordllama()
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True, trunc_dim=dimensions)


def _wordllama() -> Any:
    """Import the package, and undo what its import does to the root logger.

    The root logger belongs to the application.
    """
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    import wordllama

    root.setLevel(level)
    root.handlers[:] = handlers
    return wordllama
