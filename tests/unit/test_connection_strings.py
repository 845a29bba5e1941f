"""Connection strings of other libraries are understood, or refused by the name of a parameter."""

import pytest

from graphs.deployment.connection_strings import parsed
from graphs.memory.errors import ConfigurationError

WHOLE = {"user": "me", "password": "p@ss", "host": "h", "port": "5432", "dbname": "x"}
HERE = "me:p%40ss@h:5432/x"


@pytest.mark.parametrize(
    ("url", "more", "pooler"),
    [
        (f"postgresql+psycopg://{HERE}", {}, False),
        (f"postgresql+asyncpg://{HERE}?prepared_statement_cache_size=0", {}, False),
        (f"postgres://{HERE}?pgbouncer=true&connection_limit=1", {}, True),
        (f"postgresql://{HERE}?pgbouncer=false", {}, False),
        (f"postgresql://{HERE}?schema=public&sslmode=require", {"sslmode": "require"}, False),
        (f"postgresql://{HERE}?sslmode=require&supa=base-pooler.x", {"sslmode": "require"}, False),
        (f"postgresql://{HERE}?ssl=true", {"sslmode": "require"}, False),
        (f"postgresql://{HERE}?options=reference%3Dabc", {"options": "reference=abc"}, False),
        ("postgresql://me:p?s=s@h:5432/x?pgbouncer=true", {"password": "p?s=s"}, True),
        ("user=me password=p@ss host=h port=5432 dbname=x", {}, False),
    ],
)
def test_parameters_that_concern_other_libraries_only_are_dropped(
    url: str, more: dict[str, str], *, pooler: bool
) -> None:
    assert parsed(url, "DATABASE_URL") == (WHOLE | more, pooler)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmode=require&poolmode=x", "parameter 'poolmode'.*remove it"),
        ("sslaccept=strict", "parameter 'sslaccept'.*write sslmode=require"),
        ("schema=tenants", "schema=tenants.*remove"),
    ],
)
def test_a_parameter_that_nobody_knows_is_named(query: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"DATABASE_URL has the parameter.*{said}|{said}"):
        parsed(f"postgresql://{HERE}?{query}", "DATABASE_URL")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hun/x?ter2=x@h/x",
        "postgresql://me:hun@a?ter2=x@h/x",
        "postgresql://me:hun%ter2@h/x",
        "postgresql+psycopg://me:hunter2@ter2@h/x",
        "host=h passwort=hunter2",
    ],
)
def test_a_piece_of_a_password_is_never_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as refused:
        parsed(url, "DATABASE_URL")
    assert "ter2" not in str(refused.value)
