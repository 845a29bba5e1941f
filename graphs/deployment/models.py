"""The deployment's chat model and embedding model."""

import logging
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from langchain_core.language_models import BaseChatModel

from graphs.deployment.settings import OFFLINE, OPENAI_EMBEDDING_MODEL, Settings
from graphs.memory.errors import ConfigurationError, InvalidValue, error_sentence
from graphs.memory.extras import extra
from graphs.memory.search.embeddings import MemoryIndexConfig
from graphs.offline.chat import OfflineChatModel
from graphs.offline.embeddings import OfflineEmbeddings

with extra("server"):
    from langchain.chat_models import init_chat_model
    from langchain.embeddings import init_embeddings

log = logging.getLogger(__name__)


def index_config(settings: Settings) -> MemoryIndexConfig:
    """Return the embedding and ranking configuration of the deployment's store.

    It loads weights: call it in a thread.

    Raises:
        ConfigurationError: the configured model cannot be created; the message says why.
    """
    if settings.offline_embeddings:
        dimensions = settings.vector_embedding_dimensions or 256
        log.info("Embeddings: the offline model (wordllama, %d dimensions)", dimensions)
        return _index(settings, "offline:wordllama", dimensions, OfflineEmbeddings(dimensions))
    name = _with_provider(settings.vector_embedding_model or OPENAI_EMBEDDING_MODEL)
    dimensions = settings.vector_embedding_dimensions or 1536
    options: dict[str, Any] = {}
    if name.startswith("openai:"):
        options = _openai_options(settings, "VECTOR_EMBEDDING_MODEL", name) | {
            "dimensions": dimensions
        }
        if settings.openai_base_url:
            # Compatible servers take text, not the token ids that this check makes of it.
            options["check_embedding_ctx_length"] = False
    try:
        embed = init_embeddings(name, **options)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(
            f"VECTOR_EMBEDDING_MODEL={name} cannot be used: {error}"
        ) from error
    log.info("Embeddings: %s (%d dimensions)", name, dimensions)
    return _index(settings, name, dimensions, embed)


def _index(settings: Settings, name: str, dimensions: int, embed: Any) -> MemoryIndexConfig:
    return {
        "dims": dimensions,
        "embed": embed,
        "fields": ["$"],
        "model": name,
        "ranking": "hybrid",
        "text_search": settings.memory_text_search,
        "timeout": settings.vector_embedding_timeout,
        "weights": {
            "relevance": settings.memory_weight_relevance,
            "recency": settings.memory_weight_recency,
            "importance": settings.memory_weight_importance,
            "half_life_days": settings.memory_half_life_days,
        },
    }


def chat_model(settings: Settings, name: str | None = None) -> BaseChatModel:
    """Return the chat model called `name`, or the deployment's.

    Creating one reads files: call it in a thread. Hosted models are cached per name.

    Args:
        settings: keys and defaults.
        name: `provider:model` as `init_chat_model` takes it, `offline`, or None for the
            deployment's.

    Raises:
        ConfigurationError: it cannot be created; the message says what is missing.
    """
    if name == OFFLINE or (name is None and settings.offline_chat):
        return OfflineChatModel()
    return _hosted_chat_model(
        settings, name or settings.chat_model or _default_chat_model(settings)
    )


def check_chosen_model(settings: Settings, name: str) -> None:
    """Check that a caller may choose a chat model: they all use the deployment's keys.

    The deployment's own and the offline one may always be chosen.

    Raises:
        InvalidValue: CHAT_MODELS_ALLOWED does not allow it.
    """
    own = settings.chat_model or (
        OFFLINE if settings.offline_chat else _default_chat_model(settings)
    )
    named = [part.strip() for part in (settings.chat_models_allowed or "").split(",")]
    allowed = [_with_provider(part) for part in (OFFLINE, own, *named) if part and part != "*"]
    if "*" not in named and not any(fnmatchcase(_with_provider(name), part) for part in allowed):
        raise InvalidValue(
            "model",
            f"is {name[:100]!r}, which this deployment does not allow. Leave it empty, or have the "
            "operator add it to CHAT_MODELS_ALLOWED.",
        )


def _default_chat_model(settings: Settings) -> str:
    return (
        "openai:gpt-4.1-mini"
        if settings.openai_api_key or settings.openai_base_url
        else "anthropic:claude-sonnet-4-5"
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
    except Exception as error:  # providers raise errors of their own where a key is missing
        raise ConfigurationError(
            f"The chat model {full_name} cannot be used: {error_sentence(error)}"
        ) from error
    return model


def _with_provider(name: str) -> str:
    return name if ":" in name else f"openai:{name}"


def _openai_options(settings: Settings, setting: str, name: str) -> dict[str, Any]:
    if not settings.openai_api_key and not settings.openai_base_url:
        raise ConfigurationError(
            f"{setting}={name} needs OPENAI_API_KEY, or OPENAI_BASE_URL of a compatible server."
        )
    options: dict[str, Any] = {"api_key": settings.openai_api_key or "not-needed"}
    if settings.openai_base_url:
        options["base_url"] = settings.openai_base_url
    return options
