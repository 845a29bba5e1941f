"""The chat model and the embedding model of a deployment."""

import logging
from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from langchain.chat_models import init_chat_model
from langchain.embeddings import init_embeddings
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langgraph.store.base import IndexConfig

from graphs.deployment.settings import OFFLINE, OPENAI_EMBEDDING_MODEL, Settings
from graphs.mem0.extractor import Mem0Extractor
from graphs.memory.errors import ConfigurationError
from graphs.memory.facts.conversation import Extractor
from graphs.memory.facts.judging import Judge, LLMJudge
from graphs.memory.search.ranking import Weights
from graphs.offline.chat import OfflineChatModel

log = logging.getLogger(__name__)


MAX_CHARACTERS = 8_000
"""How much of a text the offline model reads; what hosted models read is of the same order."""

_PADDED_CHARACTERS = 100_000


class OfflineEmbeddings(Embeddings):
    """Static word vectors whose weights come with their package: no key, no network, about 20 µs a text.

    Args:
        dimensions: 256, or a truncation to 128 or 64.
    """

    def __init__(self, dimensions: int = 256) -> None:
        self.dimensions = dimensions
        self._model = _word_vectors(dimensions)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector for each text; a text without a known word gives the zero vector."""
        vectors: dict[int, list[float]] = {}
        for batch in _alike_in_length([text[:MAX_CHARACTERS] for text in texts]):
            vectors.update(zip(batch, self._model.embed([batch[n] for n in batch]).tolist(), strict=True))
        return [vectors[n] for n in range(len(texts))]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return self.embed_documents([text])[0]


def _alike_in_length(texts: list[str]) -> Iterator[dict[int, str]]:
    """Texts by their place, in batches. A batch is padded to its longest text, so it must not mix long and short."""
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
    """The weights, once for all stores of a process: a server has several, and to load them takes 0.3 s."""
    wordllama = _wordllama()
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True, trunc_dim=dimensions)


def _wordllama() -> Any:
    """The package; what it does to the root logger when it is imported is undone, since that is the application's."""
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    import wordllama

    root.setLevel(level)
    root.handlers[:] = handlers
    return wordllama


def index_config(settings: Settings) -> IndexConfig:
    """Return how the deployment's store embeds. It loads weights: call it from a thread.

    Raises:
        ConfigurationError: the configured model cannot be made.
    """
    if settings.offline_embeddings:
        dimensions = settings.vector_embedding_dimensions or 256
        log.info("Embeddings: the offline model (wordllama, %d dimensions)", dimensions)
        return _index(settings, "offline:wordllama", dimensions, OfflineEmbeddings(dimensions))
    name = _with_provider(settings.vector_embedding_model or OPENAI_EMBEDDING_MODEL)
    dimensions = settings.vector_embedding_dimensions or 1536
    options: dict[str, Any] = {}
    if name.startswith("openai:"):
        options = _openai_options(settings, "VECTOR_EMBEDDING_MODEL", name) | {"dimensions": dimensions}
        if settings.openai_base_url:
            options["check_embedding_ctx_length"] = False  # compatible servers take text, not OpenAI's token ids
    try:
        embed = init_embeddings(name, **options)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(f"VECTOR_EMBEDDING_MODEL={name} cannot be used: {error}") from error
    log.info("Embeddings: %s (%d dimensions)", name, dimensions)
    return _index(settings, name, dimensions, embed)


def _index(settings: Settings, name: str, dimensions: int, embed: Any) -> IndexConfig:
    config: dict[str, Any] = {
        "dims": dimensions,
        "embed": embed,
        "fields": ["$"],
        "model": name,
        "ranking": "hybrid",
        "text_search": settings.memory_text_search,
        "weights": {
            "relevance": settings.memory_weight_relevance,
            "recency": settings.memory_weight_recency,
            "importance": settings.memory_weight_importance,
            "half_life_days": settings.memory_half_life_days,
        },
    }
    return config  # type: ignore[return-value]  # more than LangGraph's keys


def shadow_weights(settings: Settings) -> Weights | None:
    """Return the weights of a ranking that is to be compared with the one in use.

    Raises:
        ConfigurationError: they are none.
    """
    if settings.memory_shadow_weights is None:
        return None
    try:
        return Weights(**settings.memory_shadow_weights)
    except TypeError:
        names = ", ".join(field.name for field in fields(Weights))
        raise ConfigurationError(f"MEMORY_SHADOW_WEIGHTS: may name {names}, and nothing else.") from None


def chat_model(settings: Settings, name: str | None = None) -> BaseChatModel:
    """Return the chat model called `name`, or the deployment's. Building one reads files: call it from a thread.

    Args:
        settings: keys and defaults.
        name: `provider:model` as `init_chat_model` takes it, `offline`, or None for the deployment's.

    Raises:
        ConfigurationError: it cannot be made; the message says what is missing.
    """
    if name == OFFLINE or (name is None and settings.offline_chat):
        return OfflineChatModel()
    return _hosted_chat_model(settings, name or settings.chat_model or _default_chat_model(settings))


def fact_extractor(settings: Settings) -> Extractor | None:
    """Return what makes facts of talk: Mem0 with the deployment's chat model, or with rules where that is offline.

    Raises:
        ConfigurationError: the chat model cannot be made.
    """
    if not settings.memory_extract_facts:
        return None
    return Mem0Extractor(None if settings.offline_chat else chat_model(settings), settings.data_dir)


def fact_judge(settings: Settings) -> Judge | None:
    """Return what says of facts that meet which still holds, where rules cannot; None with the offline model.

    Raises:
        ConfigurationError: the chat model cannot be made.
    """
    if settings.offline_chat or not settings.memory_extract_facts:
        return None
    return LLMJudge(chat_model(settings))


def _default_chat_model(settings: Settings) -> str:
    return (
        "openai:gpt-4.1-mini" if settings.openai_api_key or settings.openai_base_url else "anthropic:claude-sonnet-4-5"
    )


@lru_cache(maxsize=32)
def _hosted_chat_model(settings: Settings, name: str) -> BaseChatModel:
    options: dict[str, Any] = {}
    full_name = _with_provider(name)
    if full_name.startswith("openai:"):
        options = _openai_options(settings, "CHAT_MODEL", full_name)
    elif full_name.startswith("anthropic:") and settings.anthropic_api_key:
        options = {"api_key": settings.anthropic_api_key}
    try:
        model: BaseChatModel = init_chat_model(full_name, **options)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(f"The chat model {full_name} cannot be used: {error}") from error
    return model


def _with_provider(name: str) -> str:
    return name if ":" in name else f"openai:{name}"


def _openai_options(settings: Settings, setting: str, name: str) -> dict[str, Any]:
    if not settings.openai_api_key and not settings.openai_base_url:
        raise ConfigurationError(f"{setting}={name} needs OPENAI_API_KEY, or OPENAI_BASE_URL of a compatible server.")
    options: dict[str, Any] = {"api_key": settings.openai_api_key or "not-needed"}
    if settings.openai_base_url:
        options["base_url"] = settings.openai_base_url
    return options
