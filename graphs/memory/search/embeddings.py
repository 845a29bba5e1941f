"""Texts of items and queries, and the vectors that stand for them."""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, TypeVar

import numpy as np
from langchain_core.embeddings import Embeddings
from langgraph.store.base import (
    IndexConfig,
    PutOp,
    ensure_embeddings,
    get_text_at_path,
    tokenize_path,
)
from langgraph.store.postgres.base import PostgresIndexConfig

from graphs.memory import telemetry
from graphs.memory.database import statements
from graphs.memory.database.coalescing import Coalescer
from graphs.memory.database.query import Query, Rows
from graphs.memory.database.transaction import Transaction
from graphs.memory.database.vectors import Model, Vector, to_vector
from graphs.memory.errors import (
    ConfigurationError,
    EmbeddingFailed,
    EmbeddingModelMismatch,
    GraphMemoryError,
    SetupRequired,
)
from graphs.memory.retry import retrying
from graphs.memory.search.ranking import Weights
from graphs.memory.values.text import normalised

_SQL = statements.load("setup", "graphs.memory.database")


T = TypeVar("T")

_TOGETHER = 64
"""Calls that share a call of the model; a call with more texts than this runs alone."""

MAX_DOCUMENT = 100_000
"""How many characters of an item the full-text search reads."""

_TIMEOUT = 20.0
_REST_SECONDS = 30.0
"""Seconds after a failure in which conversations do not wait for the model."""

_LABEL = re.compile(r"([^:\n(\[]{1,60}?)\s*(?:[(\[][^)\]\n]{0,60}[)\]])?:\s")


class MemoryIndexConfig(PostgresIndexConfig, total=False):
    """The `index` of a store: LangGraph's `{"dims", "embed", "fields"}`, and these keys."""

    model: str
    """Name of the embedding model. Only vectors of the same name and dimensions are compared."""
    ranking: Literal["similarity", "hybrid"]
    """`similarity`, as LangGraph's store ranks, by default. `hybrid` counts words and time, too."""
    weights: Mapping[str, float]
    """Of a hybrid ranking: the fields of `ranking.Weights`."""
    text_search: str
    """Postgres' configuration for full text; the default is `english`."""
    timeout: float
    """Seconds until a call of the model, with its retries, is given up; 20 by default."""


class Index:
    """The embedding configuration: the model, its dimensions, and the fields to embed.

    Args:
        config: LangGraph's configuration, or one with the keys of `MemoryIndexConfig`.
    """

    def __init__(self, config: IndexConfig) -> None:
        self.dimensions = int(config["dims"])
        self.embeddings: Embeddings = ensure_embeddings(config["embed"])
        self.name = str(config.get("model") or _name_of(config["embed"]))
        self.fields = _tokenized(config.get("fields") or ["$"])
        self.configuration = str(config.get("text_search") or "english")
        self.weights = _weights(config)
        self.timeout = float(config.get("timeout") or _TIMEOUT)  # type: ignore[arg-type]
        self._failed_at = -math.inf
        self._documents: Coalescer[Hashable, Sequence[str], dict[str, Vector]] = Coalescer(
            self._embed_together,
            at_once=8,
            together=lambda _: None,
            most=lambda _: _TOGETHER,
            alike=lambda texts: (
                len(texts) > _TOGETHER
            ),  # nobody waits for somebody else's thousands
            in_turn=lambda _: True,
            hopeless=is_passing,
        )
        if not 1 <= self.dimensions <= 4000:
            raise ConfigurationError(
                f"Embeddings must have 1 to 4000 dimensions to be indexed; got {self.dimensions}."
            )
        distance = config.get("distance_type", "cosine")
        if distance != "cosine":
            raise ConfigurationError(
                f"distance_type {distance!r} is not supported: vectors are compared by cosine."
            )

    @property
    def rests(self) -> bool:
        """True if the model was unavailable a moment ago: it is not worth waiting for."""
        return time.monotonic() - self._failed_at < _REST_SECONDS

    def texts(self, op: PutOp) -> dict[str, str]:
        """Return the texts to embed by field; a list has one entry for each element."""
        if op.value is None or op.index is False:
            return {}
        fields = self.fields if op.index is None else _tokenized(op.index)
        found: dict[str, str] = {}
        for path, tokens in fields:
            texts = get_text_at_path(op.value, tokens)
            names = [path] if len(texts) == 1 else [f"{path}.{n}" for n in range(len(texts))]
            found.update(zip(names, texts, strict=True))
        return found

    def document(self, op: PutOp, texts: Mapping[str, str]) -> tuple[str, str] | None:
        """Return label and text of an item for full-text search; None if nothing is embedded.

        Both are normalised, as queries are.

        The label stands before a first colon, without brackets, as in `Ann (8 May): …`: a speaker,
        or a topic.

        Args:
            op: the put.
            texts: what `texts` gave for it.
        """
        # Of a whole value the text alone, without the names of its fields.
        parts = [
            " ".join(_leaves(op.value)) if name == "$" else text for name, text in texts.items()
        ]
        text = normalised("\n".join(parts)[:MAX_DOCUMENT])[:MAX_DOCUMENT]
        label = _LABEL.match(text)
        return (label[1] if label else "", text) if texts else None

    async def embed(self, texts: Sequence[str], caller: Hashable = None) -> dict[str, Vector]:
        """Return the vectors of documents. Concurrent calls share a call of the model.

        Without texts it returns when the earlier calls of this caller are embedded: so writes
        without vectors, such as deletions, do not overtake those with vectors.

        Passing failures (connection lost, 429, 5xx) are retried, up to four attempts, within the
        timeout. A call that hangs keeps later writes of its caller waiting no longer than that.

        Raises:
            ConfigurationError: vectors have other dimensions than configured, or are not finite.
            EmbeddingFailed: the model did not answer.
        """
        if not texts and not self._documents.has(caller):
            return {}
        return await self._answered(self._documents.submit(caller, texts))

    async def embed_queries(self, queries: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors of some queries, each embedded once; it raises what `embed` raises."""
        texts = list(dict.fromkeys(queries))
        if not texts:
            return {}
        ask = self.embeddings.aembed_query
        vectors = await self._answered(
            self._measured(lambda: asyncio.gather(*(ask(normalised(text)) for text in texts)))
        )
        return dict(zip(texts, map(self._vector, vectors), strict=True))

    async def _answered(self, asking: Awaitable[T]) -> T:
        try:
            return await asking
        except GraphMemoryError:
            raise
        except Exception as error:
            raise EmbeddingFailed(
                f"The embedding model {self.name} failed: {type(error).__name__}: {error}"
            ) from error

    async def _embed_together(
        self, calls: Sequence[tuple[Hashable, Sequence[str]]]
    ) -> list[dict[str, Vector]]:
        texts = list(dict.fromkeys(text for _, asked in calls for text in asked))
        plain = [normalised(text) for text in texts]
        embedded = (
            await self._measured(lambda: self.embeddings.aembed_documents(plain)) if plain else []
        )
        vectors = dict(zip(texts, map(self._vector, embedded), strict=True))
        return [vectors] * len(calls)

    async def _measured(self, ask: Callable[[], Awaitable[list[list[float]]]]) -> list[list[float]]:
        with telemetry.embedding(self.name):
            try:
                async with asyncio.timeout(self.timeout):
                    vectors = await self._ask(ask)
            except Exception as error:
                if is_passing(error):
                    self._failed_at = time.monotonic()
                if isinstance(error, TimeoutError):
                    raise TimeoutError(f"no answer within {self.timeout:g} s") from error
                raise
            self._failed_at = -math.inf
            return vectors

    async def _ask(self, ask: Callable[[], Awaitable[list[list[float]]]]) -> list[list[float]]:
        """Call the model; retry passing failures. The first call skips the policy's cost."""
        try:
            return await ask()
        except Exception as error:
            if not is_passing(error):
                raise
        return await retrying(ask, is_passing, attempts=3)

    def _vector(self, numbers: Sequence[float]) -> Vector:
        """Check a vector and return it as it is stored.

        Raises:
            ConfigurationError: it has other dimensions than configured, or is not finite.
        """
        vector = np.asarray(numbers, dtype=np.float64)
        if vector.shape != (self.dimensions,):
            raise ConfigurationError(
                f"The embedding model {self.name} returns {vector.size} dimensions, but "
                f"{self.dimensions} are configured: set VECTOR_EMBEDDING_DIMENSIONS (or "
                "index['dims']) to the number that the model returns."
            )
        if not np.isfinite(vector).all():
            raise ConfigurationError(
                f"The embedding model {self.name} returned a vector with NaN or infinity in it."
            )
        return to_vector(vector)


def _weights(config: IndexConfig) -> Weights | None:
    """Return the weights of a hybrid ranking; None for ranking by similarity."""
    ranking = config.get("ranking", "similarity")
    if ranking not in ("similarity", "hybrid"):
        raise ConfigurationError(
            f"index['ranking'] must be 'similarity' or 'hybrid'; got {ranking!r}."
        )
    given: Any = config.get("weights") or {}
    try:
        return Weights(**given) if ranking == "hybrid" else None
    except TypeError:
        names = ", ".join(field.name for field in fields(Weights))
        raise ConfigurationError(
            f"index['weights'] must be a mapping of {names} to numbers; got {given!r}."
        ) from None


def fields_of(value: Mapping[str, Any], embedded: Sequence[str]) -> list[str] | None:
    """Return the fields to embed of an item that is stored already; None for the store's choice.

    Args:
        value: the item's value.
        embedded: the fields of its vectors, as `Index.texts` names them; without any, a memory is
            embedded by its text.
    """
    if embedded:
        return sorted({_path_of(value, field) for field in embedded})
    return [field for field in ("slug", "content") if field in value] or None


def _path_of(value: Mapping[str, Any], field: str) -> str:
    """Return the path of a field, which for elements of a list is followed by their number."""
    path, _, n = field.rpartition(".")
    numbered = n.isdigit() and not get_text_at_path(value, tokenize_path(field))
    return path if numbered else field


def _leaves(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in a value, in order."""
    match value:
        case str():
            yield value
        case bool() | None:
            pass
        case int() | float():
            yield str(value)
        case Mapping():
            for part in value.values():
                yield from _leaves(part)
        case list() | tuple():
            for part in value:
                yield from _leaves(part)


def is_passing(error: BaseException) -> bool:
    """Return whether a failed call to a model may succeed when it is made again."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status in (408, 409, 425, 429) or status >= 500
    # Late, as where a lost connection is rare, and a model may speak no HTTP at all.
    from httpx import TransportError

    if isinstance(error, (ConnectionError, TimeoutError, TransportError)):
        return True
    return error.__cause__ is not None and is_passing(error.__cause__)


def _tokenized(paths: Sequence[str]) -> list[tuple[str, Any]]:
    """Paths as LangGraph's helper walks them; `$`, the whole value, stays as it is."""
    return [(path, path if path == "$" else tokenize_path(path)) for path in paths]


def _name_of(embed: Any) -> str:
    """Return the model's own name if it has one; functions are `custom`."""
    if isinstance(embed, str):
        return embed
    return str(getattr(embed, "model", None) or "custom")


def active_model() -> Query[Model | None]:
    """Return the query for the model in use; None before the first."""
    return Query(_SQL["active_model"], {}, lambda rows: Model(*rows[0]) if rows else None)


def checked(model: Model | None, index: Index) -> Model:
    """Return the database's model, which must be the one that the index embeds with.

    Raises:
        EmbeddingModelMismatch: the database holds vectors of another model.
        SetupRequired: no model was registered yet.
    """
    if model is None:
        raise SetupRequired(
            "This database has no embedding model yet: call `await store.setup()` once."
        )
    if not is_of(model, index):
        raise EmbeddingModelMismatch(model.name, model.dimensions, index.name, index.dimensions)
    return model


async def activate_model(transaction: Transaction, index: Index) -> Model:
    """Register the index's model as the one this database uses.

    Raises:
        ConfigurationError: Postgres does not know the text-search configuration.
        EmbeddingModelMismatch: vectors of another model are there already.
    """
    known: Query[bool] = Query(
        _SQL["has_configuration"], {"configuration": index.configuration}, _is_true
    )
    if not (await transaction.run([known]))[0]:
        raise ConfigurationError(
            f"Postgres has no text-search configuration {index.configuration!r}: set "
            "MEMORY_TEXT_SEARCH (or index['text_search']) to one that psql lists with \\dF."
        )
    has_vectors: Query[bool] = Query(_SQL["has_vectors"], {}, _is_true)
    active, held = await transaction.run([active_model(), has_vectors])
    if active and (held or is_of(active, index)):
        return checked(active, index)
    activate: Query[None] = Query(
        _SQL["activate_model"], {"name": index.name, "dimensions": index.dimensions}
    )
    retire: Query[None] = Query(_SQL["retire_model"])
    *_, active = await transaction.run([retire, activate, active_model()])
    return checked(active, index)


def create_vector_index(model: Model) -> Query[None]:
    """Return the query that creates a missing vector index, for the owner of the tables."""
    given = {"model": model.id, "dimensions": model.dimensions}
    return Query(_SQL["create_vector_index"], given, lasting=True)


def rebuild_vector_index(model: Model) -> Query[None]:
    """Ask for all vectors of a model to be indexed at once; only the owner of the tables may."""
    given = {"model": model.id, "dimensions": model.dimensions}
    return Query(_SQL["rebuild_vector_index"], given, lasting=True)


def _is_true(rows: Rows) -> bool:
    return bool(rows[0][0])


def is_of(model: Model, index: Index) -> bool:
    """Return whether a model of the database is the one that an index embeds with."""
    return model.name == index.name and model.dimensions == index.dimensions
