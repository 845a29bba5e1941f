"""Settings are read once, checked, and never show a secret."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from pydantic import SecretStr

from graphs.deployment.models import chat_model, check_chosen_model
from graphs.deployment.settings import OTHER_NAMES, Settings, load_settings
from graphs.memory.brain.entities import NORMALISERS
from graphs.memory.errors import ConfigurationError, InvalidValue


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load_settings.cache_clear()


def test_without_anything_the_deployment_is_offline_and_local() -> None:
    settings = load_settings()
    assert (settings.offline_chat, settings.offline_embeddings, settings.supabase_auth) == (
        True,
        True,
        False,
    )
    assert settings.database_url is None


def test_a_key_in_the_env_file_switches_to_the_hosted_models(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('# a comment\nexport OPENAI_API_KEY="sk-1"\nCHAT_MODEL=\n')
    settings = load_settings()
    assert (settings.offline_chat, settings.offline_embeddings) == (False, False)
    assert settings.chat_model is None, "an empty value counts as not set"
    assert "sk-1" not in repr(settings)


ALLOWED = [
    ("", "offline", True),
    ("", "openai:gpt-4.1-mini", False),
    ("", "gpt-4.1-mini", False),
    ("gpt-4.1-mini", "openai:gpt-4.1-mini", True),
    ("openai:gpt-4.1-mini", "gpt-4.1-mini", True),
    ("openai:gpt-4.1-mini", "openai:gpt-4.1", False),
    ("openai:*, groq:llama", "openai:o3", True),
    ("openai:*, groq:llama", "groq:llama", True),
    ("openai:*, groq:llama", "groq:llama-2", False),
    ("*", "anthropic:claude", True),
]


@pytest.mark.parametrize(("allowed", "name", "may"), ALLOWED)
def test_a_caller_chooses_among_the_models_that_the_deployment_allows(
    allowed: str, name: str, *, may: bool
) -> None:
    settings = Settings(chat_models_allowed=allowed)
    with nullcontext() if may else pytest.raises(InvalidValue, match="CHAT_MODELS_ALLOWED"):
        check_chosen_model(settings, name)


def test_the_deployments_own_model_may_be_named() -> None:
    check_chosen_model(Settings(chat_model="anthropic:claude"), "anthropic:claude")
    check_chosen_model(Settings(openai_api_key=SecretStr("sk-1")), "gpt-4.1-mini")


@pytest.mark.parametrize("name", ["openai:gpt-4.1", "nowhere:model", "groq:llama"])
def test_a_model_that_cannot_be_made_is_an_error_of_ours(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        chat_model(Settings(), name)


def test_the_environment_counts_more_than_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("DATABASE_POOL_SIZE=3\n")
    monkeypatch.setenv("DATABASE_POOL_SIZE", "7")
    assert load_settings().database_pool_size == 7


OTHERS = [(setting, name) for setting, names in OTHER_NAMES.items() for name in names.split()]


@pytest.mark.parametrize(("setting", "name"), OTHERS)
def test_other_names_of_a_setting_are_read_and_never_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, name: str
) -> None:
    given, another = {
        "DATABASE_URL": ("postgresql://a/b", "postgresql://a/c"),
        "OPENAI_BASE_URL": ("https://a", "https://b"),
        "VECTOR_EMBEDDING_DIMENSIONS": ("128", "64"),
    }.get(setting, ("sk-first", "sk-other"))
    (tmp_path / ".env").write_text(f"{name}={given}\n")
    value = getattr(load_settings(), setting.lower())
    assert str(value.get_secret_value() if isinstance(value, SecretStr) else value) == given
    for also in (given, another):
        monkeypatch.setenv(setting, also)
        load_settings.cache_clear()
        if also == given:
            load_settings()
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert f"{setting} and {name} are names of one setting" in str(refused.value)
    assert given not in str(refused.value)


@pytest.mark.parametrize("text", ["NAME 'x\n", "GOOD=1\nBAD='never closed\n"])
def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    (tmp_path / ".env").write_text(text)
    with pytest.raises(ConfigurationError, match=r"\.env, line \d"):
        load_settings()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load_settings()


def test_every_wrong_setting_is_named_and_no_value_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "hunter2")
    monkeypatch.setenv("DATABASE_POOL_SIZE", "0")
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert "DATABASE_URL" in str(refused.value)
    assert "DATABASE_POOL_SIZE" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().openai_api_key = SecretStr("x")  # type: ignore[misc]


def test_the_ids_of_companies_may_be_of_every_kind_that_is_known() -> None:
    for name in NORMALISERS:
        assert Settings.model_validate({"memory_company_ids": name}).memory_company_ids == name
    with pytest.raises(ValueError, match="cl_rut"):
        Settings.model_validate({"memory_company_ids": "iban"})
