"""Settings: one frozen object, read from the environment and `.env`, and passed down.

Every field is documented in `.env.example` under its name in capitals; a test keeps them equal.
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from graphs.deployment.connection_strings import is_postgres
from graphs.memory.errors import ConfigurationError
from graphs.memory.extras import extra

with extra("server"):
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream
    from pydantic_settings import BaseSettings, SettingsConfigDict

OPENAI_EMBEDDING_MODEL = "text-embedding-3-large"
OFFLINE = "offline"
"""Name of the models that need no key, in CHAT_MODEL and VECTOR_EMBEDDING_MODEL."""


OTHER_NAMES = {
    "DATABASE_URL": "SUPABASE_DB_URL",
    "SUPABASE_ANON_KEY": "SUPABASE_PUBLISHABLE_KEY",
    "SUPABASE_SERVICE_ROLE_KEY": "SUPABASE_SERVICE_KEY SUPABASE_SECRET_KEY",
    "OPENAI_BASE_URL": "OPENAI_API_BASE",
    "VECTOR_EMBEDDING_MODEL": "MEM0_EMBEDDING_MODEL",
    "VECTOR_EMBEDDING_DIMENSIONS": "MEM0_VECTOR_DIMENSION",
}
"""Other names of settings, as Supabase, OpenAI and Mem0 have used them."""


def _named(setting: str) -> AliasChoices:
    """Return a setting's own name and its other ones."""
    return AliasChoices(setting.lower(), setting, *OTHER_NAMES[setting].split())


class Settings(BaseSettings):
    """Settings of a deployment. An empty value counts as not set."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    # The database
    database_url: SecretStr | None = Field(
        None,
        validation_alias=_named("DATABASE_URL"),
        description="Connection string of Postgres; an embedded one is started without.",
    )
    database_pool_size: int = Field(
        10, ge=1, le=500, description="Most connections per event loop."
    )
    database_answer_seconds: float = Field(
        60, gt=0, description="Seconds without an answer, after which a connection is given up."
    )
    data_dir: Path = Field(Path(".data"), description="Folder of the embedded Postgres.")

    # Supabase
    supabase_url: str | None = Field(
        None, description="The project's URL; turns on sign-in with its Auth."
    )
    supabase_anon_key: SecretStr | None = Field(None, validation_alias=_named("SUPABASE_ANON_KEY"))
    supabase_service_role_key: SecretStr | None = Field(
        None, validation_alias=_named("SUPABASE_SERVICE_ROLE_KEY")
    )
    supabase_jwt_secret: SecretStr | None = Field(
        None, description="Legacy HS256 secret, for old projects only."
    )

    # Models
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = Field(
        None,
        validation_alias=_named("OPENAI_BASE_URL"),
        description="Any OpenAI-compatible endpoint.",
    )
    anthropic_api_key: SecretStr | None = None
    chat_model: str | None = Field(None, description="A name for init_chat_model, or `offline`.")
    chat_models_allowed: str | None = Field(
        None, description="Names that a run may choose instead of CHAT_MODEL, with commas and `*`."
    )
    chat_message_tokens: int = Field(
        32_000, ge=1, description="Most tokens of messages that a chat model gets."
    )
    vector_embedding_model: str | None = Field(
        None,
        validation_alias=_named("VECTOR_EMBEDDING_MODEL"),
        description="A name for init_embeddings, or `offline`.",
    )
    vector_embedding_timeout: float = Field(
        20, gt=0, description="Seconds until a call of the embedding model is given up."
    )
    vector_embedding_dimensions: int | None = Field(
        None, ge=1, le=4000, validation_alias=_named("VECTOR_EMBEDDING_DIMENSIONS")
    )

    # Mem0
    mem0_backend: Literal["pgvector", "platform"] = "pgvector"
    mem0_api_key: SecretStr | None = None
    mem0_host: str | None = None
    mem0_webhook_secret: SecretStr | None = Field(
        None, description="Secret in the URL of hosted Mem0's webhooks."
    )
    mem0_mode: Literal["shadow", "on"] = Field(
        "on", description="In the shadow, hosted Mem0's recall is only compared with ours."
    )

    # Upstash
    upstash_qstash_mode: Literal["off", "on"] = "off"
    upstash_qstash_token: SecretStr | None = None
    upstash_qstash_url: str | None = None
    upstash_qstash_destination: str | None = Field(
        None, description="URL that events are delivered to."
    )
    upstash_redis_mode: Literal["off", "on"] = "off"
    upstash_redis_rest_url: str | None = None
    upstash_redis_rest_token: SecretStr | None = None

    # Behaviour
    memory_files_bucket: str = Field(
        "memory", min_length=1, description="Private bucket of Supabase Storage."
    )
    memory_worker: bool = Field(True, description="Have the server run background jobs itself.")
    memory_extract_facts: bool = Field(True, description="Extract facts from conversations.")
    memory_extract_after: float = Field(
        2, ge=0, description="Seconds from a turn to the extraction of its facts."
    )
    memory_retention_days: float = Field(
        30, ge=0, description="Days that turns are kept; 0 for ever."
    )
    memory_decay_days: float = Field(
        0, ge=0, description="Days until untouched memories decay; 0 for never."
    )
    memory_receipt_days: float = Field(
        30, ge=0, le=36500, description="Days that recall receipts are kept; 0 for ever."
    )
    memory_history_days: float = Field(
        0, ge=0, le=36500, description="Days that earlier versions of memories are kept."
    )
    memory_as_of_days: float = Field(
        90, ge=0, le=36500, description="Days that earlier versions keep their vectors."
    )
    memory_audit_days: float = Field(
        0, ge=0, le=36500, description="Days that audit records are kept; digests stay."
    )
    memory_delivery_days: float = Field(
        0, ge=0, le=36500, description="Days that ended deliveries to adapters are kept."
    )
    memory_execution_days: float = Field(
        0, ge=0, le=36500, description="Days that records of runs and accepted writes are kept."
    )
    memory_checkpoint_days: float = Field(
        0, ge=0, le=36500, description="Days until an idle thread keeps its last state only."
    )
    memory_sweep_minutes: int = Field(
        5, ge=1, le=59, description="Minutes between two deletions of expired memories."
    )
    memory_statement_timeout: float = Field(
        30, gt=0, le=3600, description="Seconds after which a person's statement is cancelled."
    )
    memory_text_search: str = Field("english", description="Postgres' text-search configuration.")
    memory_company_ids: Literal["plain", "cl_rut", "uuid", "email", "slug"] = "plain"
    memory_prompt_tokens: int = Field(
        4_000, ge=0, description="Most tokens of memory in a system prompt."
    )
    memory_weight_relevance: float = Field(0.8, ge=0)
    memory_weight_recency: float = Field(0.1, ge=0)
    memory_weight_importance: float = Field(0.1, ge=0)
    memory_half_life_days: float = Field(
        30, gt=0, description="Days until the recency of a memory is halved."
    )
    memory_shadow_weights: dict[str, float] | None = Field(
        None, description="Weights of another ranking, which is compared with the one in use."
    )
    memory_http_rate: float = Field(
        20, ge=0, description="Requests per second of one user to /memory; 0 for no limit."
    )
    memory_http_burst: int = Field(
        200, ge=1, description="Requests of one user to /memory in a burst."
    )
    memory_http_body_bytes: int = Field(
        1024 * 1024, ge=1024, description="Bytes of the longest request body to /memory."
    )
    memory_hash_key: SecretStr | None = Field(
        None, min_length=16, description="Key of pseudonyms and digests."
    )
    memory_backup_passphrase: SecretStr | None = Field(
        None, min_length=12, description="Encrypts backups."
    )
    memory_backup_to: str | None = Field(
        None, description="Folder, or s3://bucket/prefix, of scheduled backups."
    )
    memory_backup_hour: int = Field(2, ge=0, le=23, description="Hour of the daily backup, in UTC.")
    memory_backup_keep_days: int = Field(
        30, ge=1, le=3650, description="Days that a week's backups are kept."
    )
    migrate_from_url: SecretStr | None = Field(
        None, description="Postgres that memories are migrated from."
    )
    local_user_id: str = Field(
        "00000000-0000-4000-8000-000000000001",
        validation_alias=AliasChoices("local_user_id", "LOCAL_USER_ID"),
        description="The one user of a local server without Supabase.",
    )

    @field_validator("database_url", "migrate_from_url")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url and not is_postgres(url.get_secret_value()):
            raise ValueError("must start with postgresql://")
        return url

    @field_validator(
        "supabase_url",
        "openai_base_url",
        "mem0_host",
        "upstash_qstash_url",
        "upstash_qstash_destination",
        "upstash_redis_rest_url",
    )
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("must start with https:// (or http://)")
        return url

    @field_validator("local_user_id")
    @classmethod
    def _is_uuid(cls, user_id: str) -> str:
        return str(UUID(user_id))

    @model_validator(mode="after")
    def _offline_dimensions(self) -> "Settings":
        if self.offline_embeddings and self.vector_embedding_dimensions not in (None, 64, 128, 256):
            raise ValueError(
                f"VECTOR_EMBEDDING_DIMENSIONS={self.vector_embedding_dimensions} does not fit the "
                "offline embedding model, which gives 256 (or 128, or 64): remove the line, or set "
                "OPENAI_API_KEY for a larger model"
            )
        return self

    @property
    def offline_embeddings(self) -> bool:
        """Return True if the offline model embeds: chosen, or no other one is configured."""
        if self.vector_embedding_model:
            return self.vector_embedding_model == OFFLINE
        return not (self.openai_api_key or self.openai_base_url)

    @property
    def offline_chat(self) -> bool:
        """Return True if the offline chat model answers: chosen, or no other one is configured."""
        if self.chat_model:
            return self.chat_model == OFFLINE
        return not (self.openai_api_key or self.openai_base_url or self.anthropic_api_key)

    @property
    def supabase_auth(self) -> bool:
        """Return True if users sign in with Supabase Auth."""
        return bool(self.supabase_url or self.supabase_jwt_secret)


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Return the settings of this process, read once. It reads files: call it in a thread.

    Raises:
        ConfigurationError: one sentence per wrong setting. Values are never shown: they may be
            secrets.
    """
    _check_env_file(Path(".env"))
    _check_names({**dotenv_values(".env"), **os.environ})
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigurationError(
            "; ".join(_explain(e["loc"], e["msg"]) for e in error.errors())
        ) from None


def _explain(location: tuple[int | str, ...], message: str) -> str:
    problem = message.removeprefix("Value error, ")
    return f"{str(location[0]).upper()}: {problem}" if location else problem


def _check_names(given: Mapping[str, str | None]) -> None:
    """Refuse two names of one setting with different values: one would be ignored."""
    for setting, others in OTHER_NAMES.items():
        names = [name for name in (setting, *others.split()) if given.get(name)]
        if len({given[name] for name in names}) > 1:
            raise ConfigurationError(
                f"{' and '.join(names)} are names of one setting and differ: keep {setting} only."
            )


def _check_env_file(path: Path) -> None:
    """Refuse a malformed `.env`: python-dotenv would skip its broken lines without an error."""
    if not path.is_file():
        return
    try:
        with path.open(encoding="utf-8") as file:
            broken = next(
                (binding.original.line for binding in parse_stream(file) if binding.error), None
            )
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text: save it as UTF-8.") from None
    if broken is not None:
        raise ConfigurationError(
            f"{path}, line {broken}, cannot be read: write NAME=value, with quotes closed."
        )
