"""`graph-memory doctor`: its output shows no secrets, so that it can be posted anywhere."""

import json
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from typer.testing import CliRunner

from graphs.cli.doctor import describe, scrub, secrets_of
from graphs.cli.main import app
from graphs.deployment.settings import Settings
from tests.support.command import command_on, environment

PLANTED = (
    {
        "LOCAL_USER_ID": "7d3c1f0a-9f4e-4a51-8a0c-5c2d1b6e9f10",
        "SUPABASE_URL": "https://planted-project.supabase.co",
        "MEM0_HOST": "https://planted-host.example",
        "MEMORY_FILES_BUCKET": "planted-bucket",
    }
    | {
        name.upper(): f"planted-{name.replace('_', '-')}-Zq8"
        for name, field in Settings.model_fields.items()
        if name != "database_url" and SecretStr in getattr(field.annotation, "__args__", ())
    }
    | {
        "MIGRATE_FROM_URL": (
            "postgresql://planted:planted-migrate-from-url-Zq8@planted-host.example/base"
        )
    }
)


def test_nothing_secret_and_nobody_is_in_it(database: str) -> None:
    person = str(uuid4())
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO memory.users (id, display_name) VALUES (%s, 'Planted Person')", [person]
        )
        # `verify` reports it as an extra index.
        conn.execute(f'CREATE INDEX "for_{person}" ON memory.users (created_at)')
    with command_on(database, **PLANTED) as command:
        told = command("doctor")
        as_json = command("doctor", "--json")
    for ended in (told, as_json):
        assert ended.exit_code == 0, ended.output
        for secret in (*PLANTED.values(), person, "Planted Person", "planted-"):
            assert secret not in ended.output
    document = json.loads(as_json.stdout)
    assert document["settings"]["openai_api_key"] == "set"
    assert document["settings"]["mem0_webhook_secret"] == "set"
    assert document["settings"]["chat_model"] == "not set"
    assert document["settings"]["memory_retention_days"] == "30.0"
    assert document["checks"]["schema"].startswith("ok: version ")
    assert "for_[id] is extra" in document["checks"]["indexes"]
    assert "users" in document["tables"]
    assert document["packages"]["psycopg"] == psycopg.__version__
    assert "packages:\n  graph-native-memory: " in told.stdout


@pytest.mark.parametrize("url", ["postgresql://planted.user:Planted%21Password@127.0.0.1:1/base"])
def test_a_database_that_refuses_is_told_without_its_address(url: str) -> None:
    with environment({"DATABASE_URL": url}):
        ended = CliRunner().invoke(app, ["doctor"])
    assert ended.exit_code == 0
    assert "connection: wrong" in ended.stdout
    for part in ("planted.user", "Planted", "127.0.0.1"):
        assert part not in ended.stdout


secret_texts = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/:@?#[]%")
).map(
    "s3cr3t-{}".format  # a prefix that is in no name of a setting
)


@settings(max_examples=60, deadline=None)
@given(password=secret_texts, key=secret_texts, before=st.text(), after=st.text())
def test_whatever_the_secrets_are_no_text_keeps_them(
    password: str, key: str, before: str, after: str
) -> None:
    given_settings = Settings(
        _env_file=None,
        database_url=SecretStr(f"postgresql://someone:{password}@db.example:5432/base"),
        openai_api_key=SecretStr(key),
    )
    told = json.dumps(describe(given_settings))
    assert key not in told
    assert password not in told
    clean = scrub(
        f"{before}{password}{after} {key} {given_settings.local_user_id}",
        secrets_of(given_settings),
    )
    for secret in (password, key, given_settings.local_user_id):
        assert (
            secret not in clean.replace("[redacted]", "").replace("[id]", "")
            or secret in f"{before}{after}"
        )
