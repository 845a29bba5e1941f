"""Items with realistic texts, their precomputed vectors, questions, and the true answers.

A text is a sentence of 12 to 25 words. Each of a hundred topics has a sentence pattern and thirty
words of its own; the items of one user are about five topics. All words are from the vocabulary of
the offline embedding model, so each has a meaning to it. A seed decides everything: two runs store
and ask the same.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import wordllama
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from benchmarks.progress import Progress
from graphs.offline.embeddings import OfflineEmbeddings

DIMENSIONS = 256
CATEGORIES = ("order", "travel", "health", "family", "finance", "training", "garden", "machine")
TOLERANCE = 1e-4
"""Similarities that differ by less count as equal: half precision cannot tell them apart."""

_TOPICS, _TOPIC_WORDS, _PER_USER = 100, 30, 5
_LONGEST, _SHORTEST = 25, 12
_SMALL_WORDS = (
    "the a an of to in on at for with from by about after before and or but when while that this "
    "these we they she he it I our their her his its was were is are will would can had has said "
    "told asked needs wants likes found made took gave kept went came more very still again also "
    "there here not one two some any every new last next"
).split()

Vectors = NDArray[np.float32]


@lru_cache(maxsize=100_000)
def user_id(owner: int) -> str:
    return str(UUID(int=owner + 1))


@dataclass(frozen=True, slots=True)
class Item:
    """One memory of one user; `n` numbers the items of a corpus."""

    owner: int
    n: int
    text: str
    category: str

    @property
    def key(self) -> str:
        return f"k{self.n}"

    @property
    def namespace(self) -> tuple[str, ...]:
        return namespace(self.owner)

    @property
    def value(self) -> dict[str, Any]:
        return {"text": self.text, "category": self.category, "n": self.n}


def namespace(owner: int) -> tuple[str, ...]:
    return ("users", user_id(owner), "notes")


class Precomputed(Embeddings):
    """The offline model with precomputed vectors, so that embedding costs next to nothing.

    A call is a look-up. A text that was not precomputed is embedded when it is asked for.
    """

    model = "offline:wordllama"

    def __init__(self, texts: Sequence[str]) -> None:
        self._offline = OfflineEmbeddings(DIMENSIONS)
        self._rows = {text: n for n, text in enumerate(dict.fromkeys(texts))}
        distinct = list(self._rows)
        self.matrix = np.zeros((len(distinct), DIMENSIONS), dtype=np.float32)
        with Progress("embedding", len(distinct)) as progress:
            for start in range(0, len(distinct), 10_000):
                part = distinct[start : start + 10_000]
                self.matrix[start : start + len(part)] = self._offline.embed_documents(part)
                progress.advance(len(part))

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts given to the constructor, one in each row."""
        rows: Vectors = self.matrix[[self._rows[text] for text in texts]]
        return rows

    def embed_query(self, text: str) -> list[float]:
        row = self._rows.get(text)
        found: list[float] = (
            self._offline.embed_query(text) if row is None else self.matrix[row].tolist()
        )
        return found

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    async def aembed_query(self, text: str) -> list[float]:
        return self.embed_query(text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embed_documents(texts)


class Writer:
    """A writer of sentences about topics, many at a time."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        words = _vocabulary()
        drawn = self._random.permutation(len(words)) + len(_SMALL_WORDS)
        self._words = np.array([*_SMALL_WORDS, *words], dtype=object)
        own = _TOPICS * _TOPIC_WORDS
        self._own = drawn[:own].reshape(_TOPICS, _TOPIC_WORDS)
        self._common = drawn[own : own + 400]
        small = self._random.integers(0, len(_SMALL_WORDS), (_TOPICS, _LONGEST))
        # -1 stands for a word that is chosen later.
        self._patterns = np.where(self._random.random((_TOPICS, _LONGEST)) < 0.45, small, -1)
        # The first words of a topic are its most common ones.
        self._weights = 1 / np.arange(1, _TOPIC_WORDS + 1)
        self._weights /= self._weights.sum()

    def topics_of_users(self, users: int) -> NDArray[np.int64]:
        return self._random.integers(0, _TOPICS, (users, _PER_USER))

    def pick(self, most: int, count: int) -> NDArray[np.int64]:
        return self._random.integers(0, most, count)

    def sentences(
        self, topics: NDArray[np.int64], shortest: int = _SHORTEST, longest: int = _LONGEST
    ) -> list[str]:
        """Return one sentence for each topic."""
        written: list[str] = []
        for start in range(0, len(topics), 20_000):
            part = topics[start : start + 20_000]
            shape = (len(part), longest)
            pattern = self._patterns[part][:, :longest]
            own = self._own[
                part[:, None], self._random.choice(_TOPIC_WORDS, shape, p=self._weights)
            ]
            common = self._common[self._random.integers(0, len(self._common), shape)]
            chosen = np.where(
                pattern >= 0, pattern, np.where(self._random.random(shape) < 0.25, common, own)
            )
            lengths = self._random.integers(shortest, longest + 1, len(part)).tolist()
            rows = self._words[chosen].tolist()
            written += [" ".join(row[:length]) for row, length in zip(rows, lengths, strict=True)]
        return written


def _vocabulary() -> list[str]:
    """Return the whole words of the embedding model's tokenizer, most common first."""
    (file,) = (Path(wordllama.__file__).parent / "tokenizers").glob("l2_supercat*.json")
    pieces = json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"]
    words = [
        piece[1:]
        for piece in sorted(pieces, key=pieces.__getitem__)
        if re.fullmatch("▁[a-z]{4,12}", piece)
    ]
    return [word for word in words if word not in _SMALL_WORDS][:5000]


class Corpus:
    """Items of several users, questions about them, and texts that are not stored yet.

    Args:
        sizes: The number of items of each user.
        fresh: The number of texts to prepare for puts.
        askers: The user of each question; by default all users in turn, two thousand questions.
        seed: A different seed gives a different corpus.
    """

    def __init__(
        self, sizes: Sequence[int], fresh: int, askers: Sequence[int] | None = None, seed: int = 11
    ) -> None:
        writer = Writer(seed)
        self.sizes = list(sizes)
        self.users = len(sizes)
        own_topics = writer.topics_of_users(self.users)
        owners = np.repeat(np.arange(self.users), sizes)
        texts = writer.sentences(own_topics[owners, writer.pick(_PER_USER, len(owners))])
        categories = [CATEGORIES[c] for c in writer.pick(len(CATEGORIES), len(owners)).tolist()]
        self.owners = owners
        self.items = [
            Item(owner, n, text, category)
            for n, (owner, text, category) in enumerate(
                zip(owners.tolist(), texts, categories, strict=True)
            )
        ]
        self.fresh = writer.sentences(writer.pick(_TOPICS, fresh))
        asking = np.arange(2000) % self.users if askers is None else np.asarray(askers)
        asked = writer.sentences(
            own_topics[asking, writer.pick(_PER_USER, len(asking))], shortest=5, longest=10
        )
        self.questions: list[tuple[int, str]] = list(zip(asking.tolist(), asked, strict=True))
        self.embeddings = Precomputed([*texts, *self.fresh, *asked])

    def items_of(self, owner: int) -> range:
        """Return the numbers of a user's items."""
        start = int(self._starts[owner])
        return range(start, start + self.sizes[owner])

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]])

    @cached_property
    def _categories(self) -> NDArray[np.int64]:
        return np.array([CATEGORIES.index(item.category) for item in self.items])

    @cached_property
    def _unit_vectors(self) -> Vectors:
        vectors = self.embeddings.vectors([item.text for item in self.items])
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors

    def score(
        self,
        question: str,
        found: Sequence[str],
        limit: int,
        owner: int | None = None,
        category: str | None = None,
    ) -> tuple[float, int]:
        """Return the share of the true nearest items that was found, and how many there are."""
        scope = self.items_of(owner) if owner is not None else range(len(self.items))
        query = np.asarray(self.embeddings.embed_query(question), dtype=np.float32)
        nearness = self._unit_vectors[scope.start : scope.stop] @ (query / np.linalg.norm(query))
        if category is not None:
            fits = self._categories[scope.start : scope.stop] == CATEGORIES.index(category)
            nearness = np.where(fits, nearness, -np.inf)
            count = min(limit, int(fits.sum()))
        else:
            count = min(limit, len(scope))
        if not count:
            return float(not found), 0
        least = np.partition(nearness, -count)[-count] - TOLERANCE
        best = sum(
            int(key[1:]) in scope and nearness[int(key[1:]) - scope.start] >= least
            for key in dict.fromkeys(found)
        )
        return min(best, count) / count, count
